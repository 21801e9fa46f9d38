"""Checks of the options that name a file or a folder to write, before any work is done."""

from pathlib import Path


def check_file(path: Path | None) -> Path | None:
    """Return the path of a file to write, or None; refuse one that cannot be written."""
    from nanochat.files.outputs import output_file

    return None if path is None else output_file(path)


def check_folder(path: Path | None) -> Path | None:
    """Return the path of a folder to write into, or None; refuse one that cannot be written."""
    from nanochat.files.outputs import output_folder

    return None if path is None else output_folder(path)
