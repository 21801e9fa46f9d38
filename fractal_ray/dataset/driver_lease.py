"""The lease of the only driver of a sweep, in `driver.json`: its process, and its start time.

Two drivers would spend the budget twice. A driver renews the file while it lives, so a killed
driver blocks the sweep for a short time only: a dead process of this machine is noticed at once,
and a dead process of another machine when its lease is over. Before it writes rows, a driver checks
that it still holds the lease.
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
"""Length of a lease; a driver that does not renew its lease in this time counts as dead."""
_RENEW_SECONDS = 10.0
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Driver:
    """The process that runs a sweep.

    Parameters
    ----------
    token
        Random id of this run.
    host, pid, user
        Host, process id and user.
    machine
        Boot and process namespace, within which `pid` is unique; "" if not known.
    started
        Ticks since boot at the start of the process, because a later process may reuse its `pid`.
    since, renewed
        Start of the run and last renewal of the lease, in seconds since 1970.
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
        """Return the process as text for messages."""
        return f"process {self.pid} of {self.user} on {self.host}"


@contextmanager
def hold_lease(store: Store) -> Iterator[str]:
    """Hold the lease of a sweep, and yield the token of this run for `taken_by`.

    Raises
    ------
    SweepError
        If another driver holds it.
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
            if (driver := read(store)) is not None and driver.token == me.token:
                store.delete_file(FILE)


class TakenOverError(RuntimeError):
    """The error for a sweep that another driver runs now; the message names that driver."""


def refuse_if_taken(store: Store, token: str) -> None:
    """Raise TakenOverError if another driver has taken the sweep over.

    Parameters
    ----------
    store
    token
        Token of this driver; "" for one without a lease, which passes.
    """
    if token and (other := taken_by(store, token)):
        raise TakenOverError(
            f"{other} has taken over {store.location}; this driver stops, and that process will run"
            " the points that are not written yet"
        )


def taken_by(store: Store, token: str) -> Driver | None:
    """Return the other driver that has taken the sweep over; None without one."""
    driver = read(store)
    return None if driver is None or driver.token == token else driver


def read(store: Store) -> Driver | None:
    """Return the driver named in `driver.json`; None without the file, or if it is damaged."""
    try:
        driver = Driver(**json.loads(store.read_text(FILE) or "null"))
        return replace(driver, since=float(driver.since), renewed=float(driver.renewed))
    except (ValueError, TypeError):
        return None


def is_alive(store: Store, driver: Driver) -> bool:
    """Return True if the driver named in driver.json is still alive.

    A process of this machine is looked up. The clock of another machine may be wrong: if the lease
    is over, or lies in the future, the file is watched for as long as a living driver needs to
    renew it.
    """
    me = _this_process()
    if driver.machine and driver.machine == me.machine and driver.host == me.host:
        return _started(driver.pid) == driver.started
    if 0 <= time.time() - driver.renewed < SECONDS:
        return True
    time.sleep(_RENEW_SECONDS * 1.5)
    return read(store) not in (driver, None)


def _take(store: Store, me: Driver) -> None:
    with store.alone() as alone:
        other = read(store)
        if other is not None and is_alive(store, other):
            _refuse(store, other)
        store.write_file(FILE, _to_bytes(me))
    if not alone:  # a second driver may have written at the same time
        time.sleep(_SETTLE_SECONDS)
        if other := taken_by(store, me.token):
            _refuse(store, other)


def _refuse(store: Store, other: Driver) -> None:
    ago = max(0.0, time.time() - other.renewed)
    raise SweepError(
        f"{store.location} is being run by {other}, last seen {ago:.0f} s ago; nothing was"
        f" changed. Watch it with `fractal-ray status --watch {shlex.quote(store.location)}`, or"
        " stop it. If it was killed, repeat this command"
        f" {SECONDS:.0f} s after it was last seen."
    )


def _renew(store: Store, me: Driver, stop: threading.Event) -> None:
    while not stop.wait(_RENEW_SECONDS):
        with contextlib.suppress(OSError, pa.ArrowException):  # storage may refuse for a while
            if taken_by(store, me.token):
                return  # the writer of rows checks the lease before it writes
            store.put(FILE, _to_bytes(me))


def _to_bytes(driver: Driver) -> bytes:
    return (json.dumps({**asdict(driver), "renewed": time.time()}, indent=2) + "\n").encode()


def _this_process() -> Driver:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
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
        return ""  # not Linux: only the time of the last renewal decides


def _started(pid: int) -> str:
    """Return the start time of a process; "" if it has ended or is a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] == "Z" else after_name[19]
