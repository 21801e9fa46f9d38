"""Syncs of folders, and locks, on file systems that may refuse them.

Shares of VirtualBox, some mounts of SMB and FUSE, and NFS without a lock service refuse one or
both. Work continues there without them; one note per file system says what is missing.
"""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanochat.errors import Note

_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_REFUSES_SYNC = _UNSUPPORTED | {
    errno.EINVAL,
    errno.EBADF,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTTY,
    errno.EROFS,
}
"""Answers of a file system that does not sync folders. EIO and ENOSPC are faults, not answers."""
_REFUSES_LOCK = _UNSUPPORTED | {errno.ENOLCK}

_noted: set[str] = set()
"""Notes that this process has given."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _REFUSES_SYNC:
            raise
        _note(
            folder,
            f"does not sync folders ({error.strerror}): files are written whole, but the last"
            " ones may be lost in a power cut",
        )
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, consequence: str, *, timeout: float = -1) -> Iterator[bool]:
    """Hold a lock against other processes, and yield True; yield False where there are no locks.

    Parameters
    ----------
    path
        File of the lock; its folder exists.
    consequence
        Text for the note where the file system has no locks.
    timeout
        Seconds to wait for the lock; negative for no limit.

    Raises
    ------
    filelock.Timeout
        If another process holds the lock for longer.
    OSError
        If the file of the lock cannot be made.
    """
    from filelock import FileLock

    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except NotImplementedError as error:  # filelock's older answer to ENOSYS
        reason = str(error)
    except OSError as error:
        if not refuses_locks(error):
            raise
        reason = str(error.strerror)
    else:
        try:
            yield True
        finally:
            lock.release()
        return
    _note(path.parent, f"has no file locks ({reason}): {consequence}")
    yield False


def refuses_locks(error: BaseException) -> bool:
    """Return True for the answer of a file system that has no locks."""
    return isinstance(error, OSError) and error.errno in _REFUSES_LOCK


def _note(folder: Path, text: str) -> None:
    """Warn once per process and file system.

    Python's own filter for repeated warnings is not enough: libraries reset it at any time.
    """
    mount = folder.absolute()
    while not mount.is_mount() and mount != mount.parent:
        mount = mount.parent
    note = f"the file system at {mount} {text}"
    if note not in _noted:
        _noted.add(note)
        warnings.warn(note, Note, stacklevel=4)
