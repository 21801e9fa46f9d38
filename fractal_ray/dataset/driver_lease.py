"""The lease of the only driver of a sweep: its process, its start time and its generation.

Two drivers would spend the budget twice. A driver renews its record while it lives, so a killed
driver blocks the sweep for a short time only: a dead process of this machine is noticed at once,
and a dead process of another machine when its lease is over.

Each driver has a generation, one more than the last one's. Its record stays after the end, and it
writes only while its record is there and no later one is: a driver that was taken for dead and
wakes up writes nothing, even if its successor has ended. On a file system the record is
`driver.json`, and a lock is held while a generation is taken and while rows are written. An object
store has neither locks nor conditional writes: each driver has an object of its own in `drivers/`,
and the one that sorts last counts.
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
from typing import NamedTuple

import pyarrow as pa

from fractal_ray.dataset.store import Store
from fractal_ray.errors import StorageError, SweepError

FILE = "driver.json"
_NUMBER = int | float
_KINDS = {
    **dict.fromkeys(("token", "host", "user", "machine", "started"), str),
    **dict.fromkeys(("pid", "generation", "ended"), int),
    **dict.fromkeys(("since", "renewed"), _NUMBER),
}
FOLDER = "drivers"
"""Folder of the records on an object store."""
SECONDS = 60.0
"""Length of a lease; a driver that does not renew its lease in this time counts as dead."""
_RENEW_SECONDS = 10.0
_SETTLE_SECONDS = 1.0


class Claim(NamedTuple):
    """Right of one driver to write a dataset."""

    generation: int
    token: str


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
    generation
        Number of this driver among those of the dataset; 0 in records of versions without it.
    ended
        True after the end of the run.
    """

    token: str
    host: str
    pid: int
    user: str
    machine: str
    started: str
    since: float
    renewed: float
    generation: int = 0
    ended: bool = False

    def __str__(self) -> str:
        """Return the process as text for messages."""
        return f"process {self.pid} of {self.user} on {self.host}"

    @property
    def claim(self) -> Claim:
        """Generation and token."""
        return Claim(self.generation, self.token)


@contextmanager
def hold_lease(store: Store) -> Iterator[Claim]:
    """Hold the lease of a sweep, and yield the claim for `writing`.

    Raises
    ------
    SweepError
        If another driver holds it.
    """
    me = _take(store)
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(store, me, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield me.claim
    finally:
        stop.set()
        thread.join()
        ignored = contextlib.suppress(OSError, pa.ArrowException, LeaseLostError)
        with ignored, writing(store, me.claim):
            _put(store, replace(me, ended=True))


class LeaseLostError(RuntimeError):
    """The error for a driver that may not write any more."""


class TakenOverError(LeaseLostError):
    """The error for a sweep that another driver has taken over; the message names that driver."""


class DatasetGoneError(LeaseLostError):
    """The error for a dataset that was deleted, moved or unmounted during a run."""


@contextmanager
def writing(store: Store, claim: Claim | None) -> Iterator[None]:
    """Let the holder of a claim write; on a file system nobody takes over meanwhile.

    Parameters
    ----------
    store
    claim
        None for a driver without a lease, which may write.

    Raises
    ------
    TakenOverError, DatasetGoneError
        If the claim does not hold.
    OSError, pyarrow.ArrowException
        When storage fails.
    """
    if claim is None:
        yield
        return
    check_claim(store, claim)  # first without the lock, which would make a folder that is gone
    with store.lock():
        check_claim(store, claim)
        yield


def check_claim(store: Store, claim: Claim) -> None:
    """Raise TakenOverError or DatasetGoneError unless the last record is that of a claim."""
    driver = read(store)
    if driver is None:
        raise DatasetGoneError(
            f"{store.location} was deleted, moved or unmounted while the sweep ran: its record of"
            " this driver is gone. This driver stops"
        )
    if driver.claim != claim:
        raise TakenOverError(
            f"{driver} has taken over {store.location}; this driver stops. Points that are not"
            " written yet are run by that process, or by the next one"
        )


def read(store: Store) -> Driver | None:
    """Return the last driver; None without a record, or if it is damaged."""
    if store.is_remote and (names := store.names(FOLDER)):
        return _read_record(store, f"{FOLDER}/{max(names)}")
    return _read_record(store, FILE)


def is_alive(store: Store, driver: Driver) -> bool:
    """Return True if the last driver is still alive.

    A process of this machine is looked up. The clock of another machine may be wrong: if the lease
    is over, or lies in the future, the record is watched for as long as a living driver needs to
    renew it.
    """
    if driver.ended:
        return False
    me = _this_process()
    if driver.machine and driver.machine == me.machine and driver.host == me.host:
        return _started(driver.pid) == driver.started
    if 0 <= time.time() - driver.renewed < SECONDS:
        return True
    time.sleep(_RENEW_SECONDS * 1.5)
    return read(store) not in (driver, None)


def _take(store: Store) -> Driver:
    """Write the record of this process, and return it."""
    with store.alone() as alone:
        other = read(store)
        if other is not None and is_alive(store, other):
            _refuse(store, other)
        last = max(store.last_generation(), other.generation if other is not None else 0)
        me = replace(_this_process(), generation=last + 1)
        try:
            _put(store, me)
        except OSError as error:
            raise SweepError(f"cannot write to {store.location}: {error}") from error
    if not alone:  # a second driver may have written at the same time
        time.sleep(_SETTLE_SECONDS)
        if (other := read(store)) is not None and other.claim != me.claim:
            _refuse(store, other)
        _delete_earlier(store, me)
    return me


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
            try:
                with writing(store, me.claim):
                    _put(store, me)
            except LeaseLostError:
                return  # the writer of rows finds it out too


def _put(store: Store, driver: Driver) -> None:
    """Write a record, with the time."""
    facts = {**asdict(driver), "renewed": time.time()}
    store.put(_name(store, driver), (json.dumps(facts, indent=2) + "\n").encode())


def _name(store: Store, driver: Driver) -> str:
    if store.is_remote:
        return f"{FOLDER}/{driver.generation:08d}-{driver.token}.json"
    return FILE


def _delete_earlier(store: Store, me: Driver) -> None:
    """Delete the records of earlier generations from an object store."""
    for name in store.names(FOLDER):
        if f"{FOLDER}/{name}" < _name(store, me):
            with contextlib.suppress(OSError, pa.ArrowException):
                store.delete_file(f"{FOLDER}/{name}")


def _read_record(store: Store, name: str) -> Driver | None:
    """Return the driver of a record; None without it, or if it is damaged."""
    try:
        driver = Driver(**json.loads(store.read_text(name) or "null"))
        if not all(isinstance(getattr(driver, key), kind) for key, kind in _KINDS.items()):
            return None
        return replace(driver, since=float(driver.since), renewed=float(driver.renewed))
    except StorageError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


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
