"""Functions on Ray: their files reach workers, and a yield keeps a long run alive."""

import threading
from pathlib import Path

import pytest

from fractal_ray.dataset.store import Store
from fractal_ray.engine.progress import Progress
from fractal_ray.engine.workers import Workers
from fractal_ray.errors import SweepError
from fractal_ray.workloads.function import ship
from tests.fractal_ray.workloads.function.conftest import (
    CELL,
    MakeSweep,
    Notebook,
    load,
    sweep_of,
    write,
)

pytestmark = pytest.mark.timeout(120)

LONG = """
import time
from pathlib import Path
from late import late
class Data:
    def __init__(self): self.losses = [2.0, 1.0, 0.5]
def prepare(): return Data()
def train(params, shared):
    with open("data.txt") as file: length = len(file.read())
    for loss in shared.losses * 2:
        if params["lr"] == 0 and params["decay"] == 0.5: time.sleep(0.7)
        yield loss + late() + length + params["lr"]
        if params["lr"] == 0 and params["decay"] == 1.0 and Path({marker!r}).exists():
            Path({marker!r}).unlink()
            time.sleep(600)
"""


@pytest.mark.usefixtures("ray_session")
class TestRay:
    """Tests on a Ray that they share."""

    def test_workers_run_the_files_that_the_driver_read(
        self, make_sweep: MakeSweep, tmp_path: Path
    ) -> None:
        """One run takes longer than the lease, which its yields renew; another one hangs."""
        write(tmp_path, late="def late(): return 1.0\n")
        (tmp_path / "data.txt").write_text("123")
        marker = tmp_path / "marker"
        sweep = make_sweep(LONG.format(marker=str(marker)), files=["data.txt"])
        sweep.run("local")
        marker.touch()
        again = load(tmp_path, "name=ray", "resources.lease_seconds=3", "points_per_tile=1")

        def break_files(progress: Progress) -> None:
            write(tmp_path, late="raise RuntimeError('read on a worker')\n")
            (tmp_path / "data.txt").unlink(missing_ok=True)

        assert again.run("ray", view=break_files).done == 9
        rows = [
            sorted(map(str, each.table().select(["point_id", "losses"]).to_pylist()))
            for each in (sweep, again)
        ]
        assert rows[0] == rows[1]
        (failure,) = Store(again.location).read_failures().to_pylist()
        assert failure["kind"] == "timed_out"
        assert (failure["x"], failure["y"]) == (0.0, 1.0)
        assert "train.py:train may run that long without a sign of life" in failure["error"]
        assert "raise resources.lease_seconds, or yield the losses" in failure["error"]

    def test_a_notebook_function_runs_on_ray_or_says_what_it_cannot_send(
        self, notebook: Notebook, tmp_path: Path
    ) -> None:
        write(tmp_path, helper="def scale(): return 0.1\n")
        local = sweep_of(notebook(CELL), tmp_path, name="local")
        local.run("local")
        sweep = sweep_of(notebook(CELL), tmp_path)
        assert sweep.run("ray").done == 9
        assert list(sweep.points["final_loss"]) == list(local.points["final_loss"])
        lock = threading.Lock()
        held = notebook("def train(params):\n    with LOCK: return [1.0]\n")
        held.__globals__["LOCK"] = lock
        with pytest.raises(
            SweepError, match="train cannot be sent to workers: global LOCK, <unlocked"
        ):
            sweep_of(held, tmp_path, name="held").run("ray")
        assert sweep_of(held, tmp_path, name="held").run("local").done == 9


def test_a_function_that_a_worker_cannot_import_is_named(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    text = f"from pathlib import Path\nassert not Path({str(marker)!r}).exists(), 'no library'\n"
    workload = make_sweep(f"{text}def train(params): return [1.0]\n").workload()
    prepared = workload.prepare()
    marker.touch()
    monkeypatch.setattr(ship, "_LOADED", {})
    with pytest.raises(ImportError, match=r"train\.py cannot be imported: AssertionError: no lib"):
        workload.open(prepared.shared, "cpu")


def test_progress_begins_a_lease_anew() -> None:
    from fractal_ray.engine.base import Place, Tile

    now = [0.0]
    workers = Workers(lambda: now[0], 10.0)
    workers.opening(0, Place("", "a"), None)
    workers.mark_ready(0)
    workers.lease(0, Tile(1, ()), [])
    now[0] = 9.0
    workers.renew(0)
    workers.renew(7)
    now[0] = 18.0
    assert workers.hanging() == []
    now[0] = 20.0
    assert [slot for slot, _ in workers.hanging()] == [0]
