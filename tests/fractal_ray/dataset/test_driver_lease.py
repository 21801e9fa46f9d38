"""One driver a sweep."""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.dataset import driver_lease
from fractal_ray.dataset import store as store_module
from fractal_ray.dataset.driver_lease import (
    FILE,
    DatasetGoneError,
    Driver,
    TakenOverError,
    check_claim,
    hold_lease,
    is_alive,
    read,
    writing,
)
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from nanochat.files import file_systems

HOLDER = """
import sys, time
from fractal_ray.dataset.driver_lease import hold_lease
from fractal_ray.dataset.store import Store
with hold_lease(Store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_held_while_it_lasts_and_free_afterwards(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new"))
    with hold_lease(store) as claim:
        check_claim(store, claim)
        first = read(store)
        assert first is not None
        assert (first.generation, first.ended) == (1, False)
    last = read(store)
    assert last is not None
    assert (last.generation, last.ended) == (1, True)
    with hold_lease(store) as claim:
        assert claim.generation == 2


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    mine = f"process {os.getpid()} of .* on "
    with hold_lease(store), pytest.raises(SweepError, match=mine), hold_lease(store):
        pass
    last = read(store)
    assert last is not None
    assert last.generation == 1, "the refused one has not changed the other's file"


def test_a_killed_driver_of_this_machine_is_in_nobodys_way(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(SweepError, match=f"process {process.pid}"), hold_lease(store):
        pass
    process.kill()
    process.wait(timeout=10)
    process.stdout.close()
    with hold_lease(store):
        assert read(store).pid == os.getpid()  # type: ignore[union-attr]


def test_a_driver_that_wakes_after_its_successor_has_ended_may_not_write(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with hold_lease(store) as asleep:
        (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace(asleep.token, "dead"))
        facts = json.loads((tmp_path / FILE).read_text()) | {"started": "1"}
        (tmp_path / FILE).write_text(json.dumps(facts))
        with hold_lease(store) as successor:
            assert successor.generation == asleep.generation + 1
        with pytest.raises(TakenOverError, match="has taken over"), writing(store, asleep):
            pass
    last = read(store)
    assert last is not None
    assert last.claim == successor, "the record stays after the end"


@pytest.mark.parametrize("loss", ["the record", "the folder"])
def test_a_driver_whose_record_is_gone_may_not_write(tmp_path: Path, loss: str) -> None:
    store = Store(str(tmp_path / "sweep"))
    with hold_lease(store) as claim:
        if loss == "the folder":
            shutil.rmtree(tmp_path / "sweep")
        else:
            (tmp_path / "sweep" / FILE).unlink()
        gone = pytest.raises(DatasetGoneError, match="deleted, moved or unmounted")
        with gone, writing(store, claim):
            pass
    assert (tmp_path / "sweep").exists() == (loss == "the record"), "it is not made again"
    assert read(store) is None


def test_a_record_that_is_gone_is_not_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lease, "_RENEW_SECONDS", 0.02)
    with hold_lease(Store(str(tmp_path))):
        (tmp_path / FILE).unlink()
        time.sleep(0.2)
        assert not (tmp_path / FILE).exists()


def test_nobody_takes_over_while_rows_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOCK_SECONDS", 0.1)
    store = Store(str(tmp_path))
    refused = pytest.raises(SweepError, match=r"another process has held .*\.lock for")
    with hold_lease(store) as claim, writing(store, claim), refused, hold_lease(store):
        pass


def test_the_generation_grows_where_the_record_was_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "points" / "frame=0" / "level=0"
    folder.mkdir(parents=True)
    (folder / "part-01700000000000000000-g7-0123456789abcdef.parquet").write_bytes(b"")
    with hold_lease(Store(str(tmp_path))) as claim:
        assert claim.generation == 8


def test_the_record_of_an_earlier_version_counts(tmp_path: Path, there: Driver) -> None:
    facts = asdict(there) | {"renewed": time.time()}
    for name in ("generation", "ended"):
        del facts[name]
    (tmp_path / FILE).write_text(json.dumps(facts))
    with pytest.raises(SweepError, match="on node-7"), hold_lease(Store(str(tmp_path))):
        pass


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Make a driver on another machine."""
    monkeypatch.setattr(driver_lease, "_RENEW_SECONDS", 0.1)
    with hold_lease(Store(str(tmp_path))):
        me = read(Store(str(tmp_path)))
    assert me is not None
    return replace(me, machine="another boot", host="node-7", pid=1, token="theirs")


def write(folder: Path, driver: Driver, age: float) -> None:
    facts = asdict(driver) | {"renewed": time.time() - age}
    Store(str(folder)).put(FILE, json.dumps(facts).encode())


def test_one_on_another_machine_is_believed_for_a_minute(tmp_path: Path, there: Driver) -> None:
    write(tmp_path, there, 55)
    with pytest.raises(SweepError, match="on node-7"), hold_lease(Store(str(tmp_path))):
        pass
    write(tmp_path, there, 61)
    with hold_lease(Store(str(tmp_path))) as claim:
        check_claim(Store(str(tmp_path)), claim)


@pytest.mark.parametrize("age", [3600.0, -3600.0], ids=["its clock is late", "early"])
def test_one_whose_clock_is_wrong_is_seen_to_live(
    tmp_path: Path, there: Driver, age: float
) -> None:
    over = threading.Event()

    def renew() -> None:
        while not over.wait(0.02):
            write(tmp_path, there, age)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        time.sleep(0.1)
        assert is_alive(Store(str(tmp_path)), read(Store(str(tmp_path))) or there)
    finally:
        over.set()
        thread.join()
    assert not is_alive(Store(str(tmp_path)), read(Store(str(tmp_path))) or there)


def test_the_same_process_number_started_later_is_another(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with hold_lease(store):
        me = read(store)
    assert me is not None
    if not me.machine:
        pytest.skip("process start times are read from /proc, which is not here")
    assert is_alive(store, me)
    assert not is_alive(store, replace(me, started="1"))


def test_one_that_was_taken_over_leaves_the_file_alone(tmp_path: Path, there: Driver) -> None:
    with hold_lease(Store(str(tmp_path))):
        write(tmp_path, there, 0)
        time.sleep(0.4)  # four times as long as it takes to renew it
        assert read(Store(str(tmp_path))).token == "theirs"  # type: ignore[union-attr]
    assert read(Store(str(tmp_path))) is not None


@pytest.mark.parametrize("renewed", ["null", '"soon"'])
def test_a_file_with_other_things_in_it_is_replaced(
    tmp_path: Path, there: Driver, renewed: str
) -> None:
    facts = json.dumps(asdict(there) | {"renewed": 0}).replace(
        '"renewed": 0', f'"renewed": {renewed}'
    )
    (tmp_path / FILE).write_text(facts)
    with hold_lease(Store(str(tmp_path))):
        pass


def test_a_lock_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(SweepError, match="cannot write"), hold_lease(Store(str(tmp_path))):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_the_file_decides(
    tmp_path: Path, there: Driver, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(file_systems, "_noted", set())
    monkeypatch.setattr(driver_lease, "_SETTLE_SECONDS", 0.3)
    store = Store(str(tmp_path))
    with pytest.warns(UserWarning, match="only driver.json keeps two drivers") as notes:
        with hold_lease(store) as claim:
            check_claim(store, claim)
        late = threading.Timer(0.1, write, (tmp_path, there, 0))  # it wrote at the same time
        late.start()
        with pytest.raises(SweepError, match="is being run by"), hold_lease(store):
            pass
        late.join()
    assert len(notes) == 1


def test_it_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_lease, "_RENEW_SECONDS", 0.02)
    store = Store(str(tmp_path))
    with hold_lease(store):
        first = read(store)
        assert first is not None
        deadline = time.monotonic() + 10
        while (now := read(store)) is None or now.renewed == first.renewed:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{half")
    with hold_lease(Store(str(tmp_path))) as claim:
        assert json.loads((tmp_path / FILE).read_text())["token"] == claim.token


def _try(folder: str, start: float, answers: "multiprocessing.Queue[bool]", over: Any) -> None:
    time.sleep(max(0.0, start - time.time()))
    try:
        with hold_lease(Store(folder)):
            answers.put(True)
            over.wait(30)
    except SweepError:
        answers.put(False)


@pytest.mark.parametrize("left", [False, True], ids=["nobody before", "an old one before"])
def test_of_several_at_once_one_wins(tmp_path: Path, left: bool) -> None:
    if left:
        with hold_lease(Store(str(tmp_path))):
            old = (tmp_path / FILE).read_text()
        (tmp_path / FILE).write_text(json.dumps(json.loads(old) | {"started": "1"}))
    context = multiprocessing.get_context("fork")
    answers, over = context.Queue(), context.Event()
    arguments = (str(tmp_path), time.time() + 0.3, answers, over)
    tries = [context.Process(target=_try, args=arguments) for _ in range(6)]
    for process in tries:
        process.start()
    assert sorted(answers.get(timeout=30) for _ in tries) == [False] * 5 + [True]
    over.set()
    for process in tries:
        process.join(timeout=30)
