"""Drivers that sleep beyond their lease at many moments of a sweep: no run is repeated for them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.dataset.store import Store
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Prepared
from fractal_ray.workloads.maps.workload import MapWorkload

TILE = 8
# Other processes cannot look up a driver whose machine they do not know: only its lease counts.
_DRIVER = """
import sys
from fractal_ray.dataset import driver_lease
from tests.cluster.test_races import sweep_in
driver_lease.SECONDS, driver_lease._RENEW_SECONDS = 1.0, 0.2
driver_lease._machine = lambda: sys.argv[2]
sweep_in(sys.argv[1], sys.argv[3], float(sys.argv[4])).run("local", keep_going=True)
"""


class Logged(MapWorkload):
    """A known set whose runs are logged in a file; points of one row fail.

    Parameters
    ----------
    log
        File that gets one line for each run.
    seconds
        Slept per point.
    """

    def __init__(self, log: str, seconds: float) -> None:
        super().__init__("weierstrass")
        self.log, self.seconds = log, seconds

    device = "cpu"

    def prepare(self) -> Prepared:
        """Return the fingerprint of the set."""
        return super().prepare()

    def open(self, shared: None, device: str) -> Any:
        """Make the set."""
        self.runner = super().open(shared, device)
        return self

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Run one point after the other."""
        for point in points:
            time.sleep(self.seconds)
            if point.iy == 4:
                raise ValueError(f"no value at {point.ix}")
            with Path(self.log).open("a") as file:
                file.write(f"{point.x!r} {point.y!r}\n")
            yield from self.runner.evaluate([point])


def sweep_in(storage: str, log: str, seconds: float) -> Sweep:
    """Return a sweep with a grid, a refinement and zooms."""
    spec = parse_spec(
        {
            "name": "s",
            "workload": {"kind": "map", "set": "weierstrass"},
            "axes": {
                "x": {"param": "x", "scale": "linear", "min": 0, "max": 1},
                "y": {"param": "y", "scale": "linear", "min": -2, "max": 2},
            },
            "stages": [
                {"grid": {"points": 9}},
                {"refine": {"levels": 3}},
                {"zoom": {"depth": 3, "factor": 4, "points": 9}},
            ],
            "points_per_tile": TILE,
            "storage": storage,
        }
    )
    return Sweep(spec, Logged(log, seconds))


def drive(storage: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _DRIVER, str(storage), name, str(storage / name), str(seconds)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def rows(store: Store) -> list[dict[str, Any]]:
    table = store.read(["point_id", "frame", "level", "ix", "iy", "outcome"])
    return sorted(table.to_pylist(), key=lambda row: row["point_id"])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Run the sweep without a break and return its points."""
    folder = tmp_path_factory.mktemp("whole")
    sweep = sweep_in(str(folder), str(folder / "log"), 0.0)
    sweep.run("local", keep_going=True)
    return rows(sweep.store())


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.97])
def test_a_driver_that_wakes_late_repeats_no_run(
    tmp_path: Path, expected: list[dict[str, Any]], share: float
) -> None:
    store = Store(str(tmp_path / "s"))
    asleep = drive(tmp_path, "asleep", 0.004)
    wanted = int(share * len(expected))
    wait_for(lambda: asleep.poll() is not None or len(lines(tmp_path / "asleep")) >= wanted)
    with store.lock():  # so that the driver does not hold it while it sleeps
        asleep.send_signal(signal.SIGSTOP)
        table = store.read(["x", "y"])  # rows of the last two seconds wait in memory
    written = {f"{row['x']!r} {row['y']!r}" for row in table.to_pylist()}
    before = len(lines(tmp_path / "asleep"))
    time.sleep(1.2)  # longer than its lease
    try:
        successor = drive(tmp_path, "successor", 0.0)
        _, text = successor.communicate(timeout=60)
        assert successor.returncode == 0, text
        frames = (tmp_path / "s" / "frames.json").read_bytes()
        state = store.state()
        assert rows(store) == expected
    finally:
        os.kill(asleep.pid, signal.SIGCONT)
    _, text = asleep.communicate(timeout=60)
    assert "has taken over" in text
    after = lines(tmp_path / "asleep")[before:]
    again = written & {*lines(tmp_path / "successor"), *after}
    print(
        f"{len(expected)} runs, asleep after {before} with {len(written)} written: {len(after)}"
        f" more, {len(again)} of the written ones again"
    )
    assert not again
    assert len(after) <= TILE, "the tile in flight"
    assert (store.state(), (tmp_path / "s" / "frames.json").read_bytes()) == (state, frames)
