"""Checks of the paths that commands write to, and errors of writing as one line."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from nanochat.errors import NanochatError, shortened, user_path


@contextlib.contextmanager
def writing(name: object, as_error: type[ValueError] = NanochatError) -> Iterator[None]:
    """Turn a failure to write a file into one line with its name; other errors pass.

    Errors of the network pass too, because rows may be fetched while they are written.

    Examples
    --------
    >>> with writing("map.png"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    nanochat.errors.NanochatError: cannot write map.png: No space left on device
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError | TimeoutError | as_error):
            raise
        raise as_error(
            f"cannot write {shortened(name)}: {shortened(error.strerror or error)}"
        ) from error


def output_file(path: str | Path, as_error: type[ValueError] = NanochatError) -> Path:
    """Return the path of a file to write, with ``~`` replaced; refuse one that cannot be written.

    Parameters
    ----------
    path
        The path as given; its folders need not exist.
    as_error
        Class of the error to raise.

    Raises
    ------
    NanochatError
        For a folder, a device, a name that is too long, and a place where nothing can be written.
        `as_error` replaces the class.
    """
    file = user_path(path, as_error)
    with writing(path, as_error):
        if file.is_dir():
            raise OSError(errno.EISDIR, "it is a folder; name a file in it")
        if file.exists() and not file.is_file():
            raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
        _check_folder(file.parent)
    return file


def output_folder(path: str | Path, as_error: type[ValueError] = NanochatError) -> Path:
    """Return the path of a folder to write into, like `output_file`; it need not exist."""
    folder = user_path(path, as_error)
    with writing(path, as_error):
        _check_folder(folder)
    return folder


def _check_folder(folder: Path) -> None:
    """Raise OSError if a folder can neither be made nor be written to."""
    above = folder.absolute()
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise OSError(errno.ENOTDIR, f"{above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f"{above} may not be written to")
