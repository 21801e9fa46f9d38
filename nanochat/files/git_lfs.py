"""Pointers of git-lfs: short text files that stand in place of files that were not fetched."""

import shlex
from pathlib import Path

from nanochat.errors import NanochatError

# Hawser was the first name of git-lfs.
_BEGINNINGS = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)


def refuse_pointer(path: Path, name: str = "") -> None:
    """Refuse a file that is a pointer of git-lfs; the message has the command that fetches it.

    A file that cannot be opened is left to its reader.

    Parameters
    ----------
    name
        Name of the file in the message, in place of its path.
    """
    if is_pointer(path):
        raise NanochatError(pointer_message(path, name))


def is_pointer(path: Path) -> bool:
    """Return True for a pointer of git-lfs; False for a file that cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, _BEGINNINGS))).startswith(_BEGINNINGS)
    except OSError:
        return False


def pointer_message(path: Path, name: str = "") -> str:
    """Return the sentence about a pointer, with the command that fetches the file."""
    return (
        f"{name or path} is a pointer of git-lfs: the file itself was not fetched; run"
        f" `git -C {shlex.quote(str(path.parent))} lfs pull`"
    )
