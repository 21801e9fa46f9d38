"""Drivers that were taken for dead and wake up, and datasets that are gone, in real processes."""

import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepStoppedError
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Disc

# A driver whose machine is unknown to others, so that only its lease says that it lives.
_DRIVER = """
import sys
from fractal_ray.dataset import driver_lease
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.engine.test_taken_over import STAGES, Faulty
driver_lease.SECONDS, driver_lease._RENEW_SECONDS = 1.0, 0.2
driver_lease._machine = lambda: sys.argv[2]
spec = parse_spec(raw_spec(name="s", storage=sys.argv[1], stages=STAGES))
Sweep(spec, Faulty(float(sys.argv[3]))).run("local", keep_going=True)
"""
STAGES: list[dict[str, Any]] = [
    {"grid": {"points": 9}},
    {"zoom": {"depth": 2, "factor": 4, "points": 9}},
]


class Faulty(Disc):
    """A disc that raises at the points of one row."""

    def record(self, point: Any) -> Any:
        if point.iy == 4:
            raise ValueError(f"no value at {point.ix}")
        return super().record(point)


def drive(storage: Path, machine: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _DRIVER, str(storage), machine, str(seconds)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_driver_that_wakes_after_its_successor_has_ended_writes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    asleep = drive(tmp_path, "there", 0.1)
    wait_for(lambda: asleep.poll() is not None or store.part_count() > 0)
    with store.lock():  # so that the driver does not hold it while it sleeps
        asleep.send_signal(signal.SIGSTOP)
    time.sleep(1.2)  # longer than its lease
    try:
        successor = drive(tmp_path, "elsewhere", 0.0)
        assert successor.wait(timeout=60) == 0, successor.stderr
        state, rows = store.state(), store.read().num_rows
        frames = (tmp_path / "s" / "frames.json").read_bytes()
    finally:
        asleep.send_signal(signal.SIGCONT)
    _, text = asleep.communicate(timeout=60)
    assert "has taken over" in text
    assert asleep.returncode == 1
    assert (store.state(), store.read().num_rows) == (state, rows)
    assert (tmp_path / "s" / "frames.json").read_bytes() == frames
    assert successor.stderr is not None
    successor.stderr.close()
    assert store.last_generation() == 2


def test_a_dataset_that_is_deleted_during_a_run_ends_it(
    make_sweep: Callable[..., Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sweep = make_sweep(Disc(seconds=0.1), name="gone", points_per_tile=1)
    folder = Path(sweep.location)

    def delete() -> None:
        wait_for(lambda: sweep.store().part_count() > 0)
        shutil.rmtree(folder)

    thread = threading.Thread(target=delete)
    thread.start()
    with pytest.raises(SweepStoppedError, match="deleted, moved or unmounted") as stopped:
        sweep.run("local")
    thread.join()
    assert not folder.exists(), "nothing makes it again"
    (kept,) = tmp_path.glob("fractal-ray-rows-*")
    assert kept.stat().st_mode & 0o777 == 0o700
    rows = Store(str(kept)).read().num_rows
    assert rows > 0
    # The command of the message merges them into the sweep, which is begun again.
    command = str(stopped.value).rpartition("merge them: ")[2]
    assert shlex.split(command) == ["cp", "-R", f"{kept}/.", str(folder)]
    again = make_sweep(name="gone", stages=[{"grid": {"points": 2}}])
    again.run("local")
    subprocess.run(command, shell=True, check=True)
    progress = make_sweep(name="gone").run("local")
    assert progress.reused >= rows
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["gone"]
