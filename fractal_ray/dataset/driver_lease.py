"""One driver a sweep: `driver.json` says who runs it, and until when that is to be believed.

Two drivers would spend the budget twice. The file is renewed while its driver lives, so one that
was killed is in nobody's way for long: a process of this machine that is gone is seen at once, one
elsewhere when its time is over. Whoever writes rows asks first whether it still holds the sweep.
"""

import contextlib
import getpass
import json
import os
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError

FILE = "driver.json"
SECONDS = 60.0
"""For which a driver that is not heard of is believed to live."""
_RENEW_SECONDS = 10.0
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Driver:
    """Who runs a sweep.

    Parameters
    ----------
    token
        Of this run.
    host, pid, user
        The process.
    machine
        Boot and process namespace, within which `pid` means something; "" where not known.
    started
        Ticks since boot at which the process started: another one may have its number later.
    since, renewed
        Seconds since 1970.
    """

    token: str
    host: str
    pid: int
    user: str
    machine: str
    started: str
    since: float
    renewed: float

    def __str__(self) -> str:
        """For a reader."""
        return f"process {self.pid} of {self.user} on {self.host}"


@contextmanager
def hold_lease(store: Store) -> Iterator[str]:
    """Be a sweep's one driver; yields the token that `taken_by` knows this run by.

    Raises
    ------
    SweepError
        When another one is.
    """
    me = _this_process()
    _take(store, me)
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(store, me, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield me.token
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(OSError, pa.ArrowException):
            if (found := read(store)) is not None and found.token == me.token:
                store.delete_file(FILE)


class TakenOverError(RuntimeError):
    """Another driver runs the sweep now; the message says who."""


def refuse_if_taken(store: Store, token: str) -> None:
    """Raise TakenOverError where another driver has taken the sweep over.

    Parameters
    ----------
    store
    token
        Of this driver; "" for one that never held the sweep, and is not asked.
    """
    if token and (other := taken_by(store, token)):
        raise TakenOverError(
            f"{other} has taken over {store.location}; this driver stops, and what it did not write"
            " yet will be run there"
        )


def taken_by(store: Store, token: str) -> Driver | None:
    """The other driver that has taken the sweep over, if there is one."""
    found = read(store)
    return None if found is None or found.token == token else found


def read(store: Store) -> Driver | None:
    """Who runs the sweep, as far as its file says; None for nobody, or where it is damaged."""
    try:
        found = Driver(**json.loads(store.read_text(FILE) or "null"))
        return replace(found, since=float(found.since), renewed=float(found.renewed))
    except (ValueError, TypeError):
        return None


def is_alive(store: Store, driver: Driver) -> bool:
    """Whether a driver has to be reckoned with.

    One of this machine is looked for. Of one elsewhere the clock may be wrong: where its time is
    over, or still to come, the file is watched for as long as a living one needs to renew it.
    """
    me = _this_process()
    if driver.machine and driver.machine == me.machine and driver.host == me.host:
        return _started(driver.pid) == driver.started
    if 0 <= time.time() - driver.renewed < SECONDS:
        return True
    time.sleep(_RENEW_SECONDS * 1.5)
    return read(store) not in (driver, None)


def _take(store: Store, me: Driver) -> None:
    with store.alone():
        other = read(store)
        if other is not None and is_alive(store, other):
            _refuse(store, other)
        store.write_file(FILE, _to_bytes(me))
    if store.is_remote:  # where nothing keeps two from doing this at once
        time.sleep(_SETTLE_SECONDS)
        if other := taken_by(store, me.token):
            _refuse(store, other)


def _refuse(store: Store, other: Driver) -> None:
    ago = max(0.0, time.time() - other.renewed)
    raise SweepError(
        f"{store.location} is being run by {other}, heard of {ago:.0f} s ago; nothing was"
        f" changed. Watch it with `fractal-ray status --watch {shlex.quote(store.location)}`, or"
        " stop it. If it was killed, the same command works"
        f" {SECONDS:.0f} s after it was last heard of."
    )


def _renew(store: Store, me: Driver, stop: threading.Event) -> None:
    while not stop.wait(_RENEW_SECONDS):
        with contextlib.suppress(OSError, pa.ArrowException):  # storage may refuse for a while
            if taken_by(store, me.token):
                return  # the writer sees it before it writes
            store.put(FILE, _to_bytes(me))


def _to_bytes(driver: Driver) -> bytes:
    return (json.dumps({**asdict(driver), "renewed": time.time()}, indent=2) + "\n").encode()


def _this_process() -> Driver:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    pid, now = os.getpid(), time.time()
    return Driver(
        secrets.token_hex(8), socket.gethostname(), pid, user, _machine(), _started(pid), now, now
    )


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""  # not Linux: time decides


def _started(pid: int) -> str:
    """When the process started, "" for one that is gone or a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] == "Z" else after_name[19]
