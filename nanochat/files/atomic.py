"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from nanochat.files.file_systems import sync_folder


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
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
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
