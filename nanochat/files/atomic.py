"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from nanochat.files.file_systems import sync_folder

_LONGEST_NAME = 180  # bytes; the temporary name is longer by about 40


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file under a temporary name in its folder, then rename it.

    Parameters
    ----------
    path
        Replaced if it exists. Its folder is made if it does not.
    write
        Gets the file, opened for bytes. If it raises, nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name differs in each process and thread, so that two writers do not mix their bytes.
    temporary = temporary_beside(path, f"{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_beside(path: Path, end: str) -> Path:
    """Return a hidden path beside a file, for its content until that is complete.

    Its name holds that of the file unless that would make it too long for a file system.

    Examples
    --------
    >>> temporary_beside(Path("map.png"), "1f.tmp").name
    '.map.png.1f.tmp'
    """
    name = path.name if len(os.fsencode(path.name)) <= _LONGEST_NAME else "long-name"
    return path.with_name(f".{name}.{end}")
