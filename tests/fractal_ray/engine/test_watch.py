"""`status --watch`: from the dataset alone it shows the numbers that the run shows."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileInfo, FileType
from typer.testing import CliRunner

from fractal_ray.analysis.status import read_status
from fractal_ray.analysis.summary import analyze
from fractal_ray.cli.main import app
from fractal_ray.cli.screen import one_line
from fractal_ray.dataset.compaction import compact
from fractal_ray.dataset.driver_lease import hold_lease, read
from fractal_ray.dataset.header import HEADER
from fractal_ray.dataset.rows import Failure, Origin
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.progress import Progress
from fractal_ray.engine.watch import Watch
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.sample_workloads import Disc

MakeSweep = Callable[..., Sweep]

PLANS: dict[str, list[dict[str, Any]]] = {
    "grids that share nodes": [{"grid": {"points": 9}}, {"grid": {"points": 17}}],
    "refined": [{"grid": {"points": 9}}, {"refine": {"levels": 3}}],
    "lines and pairs": [
        {"grid": {"points": 5}},
        {"transects": {"count": 3, "levels": 5, "dense": 3}},
        {"pairs": {"count": 20, "distances": [2, 3]}},
    ],
    "chosen frame by frame": [
        {"grid": {"points": 9}},
        {"zoom": {"points": 5, "factor": 4, "depth": 2, "windows": 2}},
        {"refine": {"levels": 1}},
    ],
    "around a point of the border": [
        {"grid": {"points": 9}},
        {"zoom": {"points": 5, "factor": 4, "depth": 2, "pick": "boundary-point"}},
    ],
}


def counts(progress: Progress) -> dict[str, Any]:
    """Select the counts on which run and watch agree, and the small map."""
    names = ("stage", "total", "done", "outcomes", "failures", "gave_up", "finished")
    names += ("shared_nodes", "bisection_points", "map")
    return {name: getattr(progress, name) for name in names}


@pytest.mark.parametrize("plan", PLANS)
def test_it_ends_where_the_run_ends(make_sweep: MakeSweep, plan: str) -> None:
    sweep = make_sweep(stages=PLANS[plan])
    watch = Watch(sweep)
    assert watch.look().done == 0
    for points in (30, 70, 110):
        stopped = sweep.run("local", budget=Budget(points))
        seen, fresh = watch.look(), Watch(sweep).look()
        assert not seen.finished
        assert fresh.stage == seen.stage == stopped.stage
        status = read_status(sweep)
        assert stopped.done == seen.done == fresh.done == points == status.points + status.others
        assert stopped.outcomes == fresh.outcomes == seen.outcomes == status.outcomes
        assert "so far" in status.lines()[0] or status.planned is not None
    done = sweep.run("local")
    assert done.finished
    status = read_status(sweep)
    assert done.done == done.total == len(set(sweep.table()["point_id"].to_pylist()))
    assert done.done == status.points + status.others == analyze(sweep)[0].points
    assert (done.outcomes, done.bisection_points) == (status.outcomes, status.bisection_points)
    assert status.finished
    assert "so far" not in "".join(status.lines())
    for last in (watch.look(), Watch(sweep).look(), sweep.run("local")):
        assert counts(last) == counts(done)
    assert (done.bisection_points > 20) == plan.startswith("around")
    assert (done.shared_nodes > 0) == (plan not in ("refined", "lines and pairs"))


def test_a_point_that_frames_share_is_one_run(make_sweep: MakeSweep) -> None:
    """Count a shared point once, and name the nodes that share a run beside it."""
    sweep = make_sweep(stages=[{"grid": {"points": 9}}, {"grid": {"points": 17}}])
    watch = Watch(sweep)
    for points in (60, 150):
        stopped = sweep.run("local", budget=Budget(points))
        for seen in (watch.look(), Watch(sweep).look()):
            assert seen.stage == stopped.stage
            assert seen.done == sum(seen.outcomes.values()) == points
    for last in (sweep.run("local"), watch.look(), Watch(sweep).look()):
        assert (last.done, last.total, last.finished) == (289, 289, True)
        assert last.shared_nodes == 81
        assert one_line(last).startswith("289/289 points (")
        assert "), 81 nodes share a run with another node, 0 failures, " in one_line(last)
        assert last.outcomes == read_status(sweep).outcomes


def test_rate_and_time_to_go_are_those_of_what_arrives(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(Disc(seconds=0.01))
    sweep.run("local", budget=Budget(21))
    now = [100.0]
    watch = Watch(sweep, clock=lambda: now[0])
    first = watch.look()
    assert (first.done, first.total, first.reused, first.eta) == (21, 81, 21, None)
    sweep.run("local", budget=Budget(41))
    now[0] = 110.0
    seen = watch.look()
    assert seen.rate == 2.0
    assert seen.eta == 20.0
    assert seen.slots == 1, "0.2 s of training in 10 s"
    now[0] = 175.0
    assert "no run has arrived for 65 s" in watch.look().trouble
    sweep.run("local")
    last = watch.look()
    assert (last.finished, last.trouble, last.eta) == (True, "", 0.0)


def test_a_part_is_read_once_and_joining_changes_nothing(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep()
    store = sweep.store()
    sweep.run("local", budget=Budget(20))
    table = store.read()
    rows = table.drop_columns(["frame", "level"])
    (whole,) = Path(store.root).rglob("part-*.parquet")
    for start in range(0, 20, 5):
        store.write_part(rows.slice(start, 5), str(whole.parent))
    whole.unlink()
    read: list[str] = []
    opened = pq.ParquetFile
    monkeypatch.setattr(
        "fractal_ray.dataset.parts.pq.ParquetFile",
        lambda file: (read.append("part"), opened(file))[1],
    )
    watch = Watch(sweep)
    before = counts(watch.look())
    assert (before["done"], len(read)) == (20, 4)
    watch.look()
    assert len(read) == 4
    old = sorted(whole.parent.iterdir())
    kept = [part.read_bytes() for part in old]
    compact(store)
    old[0].write_bytes(kept[0])  # what a kill between joining and deleting leaves
    assert counts(watch.look()) == before
    # A listing that is older than the joining: the part is gone when it is to be read.
    listed = store.listed("points")
    gone = FileInfo(str(whole.parent / "part-0-gone.parquet"), FileType.File)
    monkeypatch.setattr(
        "fractal_ray.dataset.store.Store.listed",
        lambda self, kind: [*listed, gone] if kind == "points" else [],
    )
    assert counts(watch.look()) == before


@pytest.mark.parametrize("seen_to_begin", [True, False])
def test_points_given_up_end_the_watch_and_are_tried_again(
    make_sweep: MakeSweep, tmp_path: Path, seen_to_begin: bool
) -> None:
    storage = str(tmp_path / "two words")
    sweep = make_sweep(stages=[{"grid": {"points": 4}}], storage=storage)
    sweep.run("local")
    store = sweep.store()
    rows = store.read().drop_columns(["frame", "level"])
    (whole,) = Path(store.root).rglob("part-*.parquet")
    store.write_part(rows.slice(2), str(whole.parent))
    whole.unlink()
    for row in rows.slice(0, 2).to_pylist():
        point = Point(0, 0, row["ix"], row["iy"], row["x"], row["y"])
        origin = Origin(row["point_id"], "0:grid", point, 7, "host", "cpu", 3, "disc")
        store.append_failures([Failure(origin, "error", "no room", "", gave_up=True)])
    watch = Watch(sweep)
    seen = watch.look()
    assert (seen.finished, seen.done, seen.gave_up, seen.failures) == (True, 14, 2, 2)
    told = CliRunner().invoke(app, ["status", "--watch", sweep.location])
    assert told.exit_code == 1
    assert f"see why: fractal-ray status --errors '{sweep.location}';" in told.stderr
    if seen_to_begin:  # another run, which tries the given up points again
        with hold_lease(store):
            for again in (watch.look(), Watch(sweep).look()):
                numbers = (again.finished, again.done, again.gave_up, again.total)
                assert numbers == (False, 14, 0, 16)
    store.write_part(rows.slice(0, 2), str(whole.parent))
    seen = watch.look()
    assert (seen.finished, seen.done, seen.gave_up) == (True, 16, 0)


@pytest.mark.parametrize("hours", [-10, 10])
def test_wrong_clocks_do_not_keep_a_watch_from_its_end(make_sweep: MakeSweep, hours: int) -> None:
    class Bad(Disc):
        def record(self, point: Point) -> RunRecord:
            if (point.ix, point.iy) == (1, 1):
                raise ValueError("no")
            return super().record(point)

    sweep = make_sweep(Bad(), stages=[{"grid": {"points": 3}}])
    sweep.run("local", keep_going=True)
    wrong = time.time() + 3600 * hours
    os.utime(Path(sweep.location) / HEADER, (wrong, wrong))
    seen = Watch(sweep).look()
    assert (seen.finished, seen.done, seen.gave_up) == (True, 8, 1)


def test_points_that_the_present_run_gave_up_are_lost_while_it_goes_on(
    make_sweep: MakeSweep,
) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": 3}}])
    sweep.run("local", budget=Budget(8))
    store = sweep.store()
    ran = {(row["ix"], row["iy"]) for row in store.read(["ix", "iy"]).to_pylist()}
    ((ix, iy),) = {(ix, iy) for ix in range(3) for iy in range(3)} - ran
    point = sweep.frames[0].frame.point(0, ix, iy)
    origin = Origin("id", "0:grid", point, 7, "host", "cpu", 3, "disc")
    now = [0.0]
    with hold_lease(store):
        driver = read(store)
        assert driver is not None
        failure = Failure(origin, "error", "no", "", True)
        store.append_failures([replace(failure, run="an earlier run")])
        watch = Watch(sweep, clock=lambda: now[0])
        assert not watch.look().finished
        now[0] += 1000  # a driver that no longer renews its lease
        assert watch.look().finished
        store.put("driver.json", json.dumps({**asdict(driver), "renewed": 1.0}).encode())
        assert not watch.look().finished
        store.append_failures([replace(failure, run=driver.token)])
        for seen in (watch.look(), Watch(sweep).look()):
            assert (seen.finished, seen.gave_up) == (True, 1)


def test_runs_are_labelled_as_the_spec_says_now(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    before = sweep.run("local").outcomes
    label = {"threshold": 0.6}
    other = Sweep(parse_spec(raw_spec(label=label, storage=sweep.spec.storage)))
    now = Watch(other).look().outcomes
    assert now["trained"] < before["trained"]
    assert now["diverged"] == before["diverged"]


def test_a_part_that_cannot_be_read_is_named(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.run("local", budget=Budget(10))
    (part,) = Path(sweep.location).rglob("part-*.parquet")
    part.with_name("part-0-bad.parquet").write_bytes(b"nothing")
    with pytest.raises(SweepError, match=r"part-0-bad.parquet cannot be read.*\n.*--skip-corrupt"):
        Watch(sweep).look()
    assert Watch(Sweep(sweep.spec, skip_corrupt=True)).look().done == 10


def test_storage_that_refuses_for_a_while(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep()
    sweep.run("local", budget=Budget(10))
    watch = Watch(sweep)
    watch.look()

    def refuse(self: object, kind: str) -> list[str]:
        raise OSError("timed out")

    with monkeypatch.context() as patch:
        patch.setattr("fractal_ray.dataset.store.Store.listed", refuse)
        assert watch.look().trouble == "the dataset cannot be read, trying again: timed out"
        with pytest.raises(SweepError, match=r"cannot read .*: timed out"):
            Watch(sweep).look()
    assert watch.look().trouble == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--watch", "--errors"), "--errors cannot be watched"),
        (("--every", "3"), "--every sets how often --watch looks"),
        (("--watch", "--every", "0"), "0.1 to 86400 seconds; given 0"),
    ],
)
def test_options_that_do_not_go_together(given: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["status", "nowhere.yaml", *given])
    assert isinstance(done.exception, SweepError)
    assert message in str(done.exception)


def test_a_spec_that_is_not_the_datasets(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep(storage=str(tmp_path / "two words"))
    sweep.run("local", budget=Budget(10))
    axes = raw_spec()["axes"] | {"x": {"param": "unembedding_lr", "min": 1e-3, "max": 1.0}}
    spec = tmp_path / "disc.yaml"
    spec.write_text(json.dumps(raw_spec(axes=axes, storage=sweep.spec.storage)))
    done = CliRunner().invoke(app, ["status", "--watch", str(spec)])
    assert isinstance(done.exception, SweepError)
    assert f"fractal-ray status --watch '{sweep.location}'" in str(done.exception)


# Real processes ---------------------------------------------------------------------------------

RUN = """
import json, sys
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Disc
Sweep(parse_spec(json.loads(sys.argv[1])), Disc(seconds=0.05)).run("local")
"""


@contextmanager
def started(*arguments: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen([sys.executable, *arguments], env=environment, **streams)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def watching(folder: str, *arguments: str) -> tuple[str, ...]:
    return ("-m", "fractal_ray", "status", folder, "--watch", "--every", "0.3", *arguments)


def read_to_end(terminal: int) -> str:
    """Read a pseudo-terminal until nobody holds its other end."""
    said = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # how Linux says so
            break
        if not more:
            break
        said += more
    return said.decode()


def test_a_sweep_in_another_process_through_a_pipe_and_on_a_terminal(tmp_path: Path) -> None:
    raw = raw_spec(storage=str(tmp_path))
    folder = str(tmp_path / "disc")
    outer, inner = pty.openpty()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        started(*watching(folder), **pipes) as lines,
        started(*watching(folder, "--json"), **pipes) as objects,
        started(*watching(folder), stdin=inner, stdout=inner, stderr=inner) as screen,
    ):
        os.close(inner)
        assert lines.stderr is not None
        assert lines.stderr.readline().decode() == f"waiting: there is no sweep at {folder} yet\n"
        with started("-c", RUN, json.dumps(raw)) as run:
            shown = read_to_end(outer)
            os.close(outer)
            plain, _ = lines.communicate(timeout=60)
            told, _ = objects.communicate(timeout=60)
            assert run.wait(timeout=60) == 0
        ends = [process.wait(timeout=60) for process in (lines, objects, screen)]
    assert ends == [0, 0, 0]
    last = plain.decode().splitlines()[-1]
    assert last.startswith("81/81 points (")
    assert last.endswith("0:00 to go")
    for part in (f"waiting: there is no sweep at {folder} yet", "81/81 points", "points/s"):
        assert part in shown.replace("\r\n", "\n")
    assert "▀" in shown, "the map"
    states = [json.loads(line) for line in told.decode().splitlines()]
    done = [state["done"] for state in states]
    assert done == sorted(done)
    assert done[-1] == 81
    assert len(set(done)) > 1, "it was seen to grow"
    assert states[-1]["finished"]
    assert states[-1]["rate"] > 0


def test_ctrl_c_ends_it_quietly(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep()
    sweep.run("local", budget=Budget(10))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        started(*watching(sweep.location, "--json"), **pipes) as running,
        started(*watching(str(tmp_path / "none")), **pipes) as waiting,
    ):
        assert running.stdout is not None
        assert waiting.stderr is not None
        state = json.loads(running.stdout.readline())
        waiting.stderr.readline()
        assert (state["done"], state["total"], state["finished"]) == (10, 81, False)
        for process in (running, waiting):
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 130
            assert errors == b""
