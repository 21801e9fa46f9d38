"""Private folders for the sessions of a Ray of our own, and the removal of those left behind.

Ray makes its session folder, with its logs and sockets, writable by every user of the machine.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fractal_ray.errors import SweepError

_PREFIX = "fray-"  # short, because Ray appends 67 bytes for its sockets
_RANDOM = 8  # characters that `mkdtemp` appends
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes; the kernel's limit, without NUL
# The longest path below Ray's folder: the process id may have seven digits, and Ray may append a
# number to the name.
_BELOW = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store_10"
_REMOVAL_TRIES, _REMOVAL_PAUSE = 10, 0.2


@contextmanager
def session_folder() -> Iterator[str]:
    """Make a folder of mode 0700 for a session of Ray, and remove it at the end.

    The folder lies below the first of RAY_TMPDIR, TMPDIR and the system's temporary folders that
    leaves room for the paths of Ray's sockets. Folders that killed processes of this user left
    there are removed first.

    Yields
    ------
    str
        A path below the private folder. Ray makes that folder, with mode 0777.

    Raises
    ------
    SweepError
        When no temporary folder can be written or is short enough.
    """
    bases = _bases()
    for base in bases:
        _remove_abandoned(base)
    folder, lock = _make(bases)
    try:
        yield str(folder / "r")
    finally:
        _remove(folder)
        os.close(lock)


def note_on_open_folder(folder: Path) -> str | None:
    """Return a warning if other users of this machine can write to a session folder of Ray.

    They can if each folder on the way lets them through; Ray makes its own ones with mode 0777.
    """
    try:
        closed = not folder.stat().st_mode & stat.S_IWOTH or any(
            not parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents
        )
    except OSError:  # that of another machine, or gone
        return None
    if closed:
        return None
    return (
        f"warning: other users of this machine can write to {folder}, and so read the logs of this"
        " Ray and change the code of its jobs; start Ray with --temp-dir below a folder of mode"
        " 0700 (docs/cluster.md)"
    )


def _bases() -> list[Path]:
    paths = [os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp", "/var/tmp"]
    return list(dict.fromkeys(Path(path).absolute() for path in paths if path))


def _make(bases: list[Path]) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock."""
    reasons: list[str] = []
    for base in bases:
        spare = _LONGEST_SOCKET - len(os.fsencode(f"{base}/{_PREFIX}/r{_BELOW}")) - _RANDOM
        if spare < 0:
            reasons.append(f"{base} is {-spare} bytes too long")
            continue
        try:
            return _make_locked(base)
        except OSError as error:
            reasons.append(f"{base}: {error.strerror}")
    raise SweepError(
        f"Ray needs a temporary folder with a short path for its sockets: {'; '.join(reasons)}."
        " Set RAY_TMPDIR to a folder that you may write to, for example RAY_TMPDIR=/tmp"
    )


def _make_locked(base: Path) -> tuple[Path, int]:
    base.mkdir(parents=True, exist_ok=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = os.open(folder, os.O_RDONLY)
        # Another process that looks for abandoned folders may have been quicker.
        if _lock(lock) is not False and folder.exists():
            return folder, lock
        os.close(lock)


def _lock(descriptor: int) -> bool | None:
    """Take a lock; return False if another process has it, and None without support for locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(base: Path) -> None:
    """Remove folders of this user whose process has ended: nobody holds their lock."""
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _lock(lock):
                    _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder; processes that end at the moment may still write to it."""
    for _ in range(_REMOVAL_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_PAUSE)
