"""Both engines: equal datasets in any order, with any tiles, and after any killed process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import psutil
import pyarrow as pa
import pytest
import ray

from fractal_ray.dataset.rows import POINTS_SCHEMA
from fractal_ray.dataset.store import Store
from fractal_ray.engine.progress import Progress
from fractal_ray.errors import SweepError, SweepStoppedError
from fractal_ray.sweep import Sweep
from nanochat.errors import Note
from tests.fractal_ray.sample_workloads import (
    Broken,
    Disc,
    Flaky,
    KilledOpening,
    Killer,
    Unopenable,
    Unpicklable,
    Untidy,
)

Maker = Callable[..., Sweep]

# What may differ between two runs of the same point: when, how long, which try.
_CIRCUMSTANCES = ("created_at", "seconds", "side_by_side", "attempt", "host", "device")


def contents(table: pa.Table) -> list[dict[str, Any]]:
    """Read rows without their circumstances, in one order; floats by their bits."""
    names = [name for name in table.column_names if name not in _CIRCUMSTANCES]
    rows = table.select(names).sort_by("point_id").to_pylist()
    return [{name: repr(value) for name, value in row.items()} for row in rows]


def run(sweep: Sweep, engine: Any = "local") -> list[dict[str, Any]]:
    sweep.run(engine)
    return contents(sweep.table())


def family() -> list[psutil.Process]:
    """List this process and everything that it has started."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


@pytest.fixture
def expected(make_sweep: Maker) -> list[dict[str, Any]]:
    """Run a sweep on the local engine without a break and return its rows."""
    return run(make_sweep(name="expected"))


@pytest.mark.parametrize("tile", ["auto", 1, 7, 100])
def test_local_gives_the_same_with_any_tile(
    make_sweep: Maker, expected: list[dict[str, Any]], tile: Any
) -> None:
    assert run(make_sweep(name="tiles", points_per_tile=tile)) == expected


@pytest.mark.usefixtures("ray_session")
class TestRay:
    """Tests on a Ray that they share."""

    @pytest.mark.parametrize("tile", ["auto", 1, pytest.param(7, marks=pytest.mark.slow)])
    def test_the_same_as_local_with_any_tile(
        self, make_sweep: Maker, expected: list[dict[str, Any]], tile: Any
    ) -> None:
        assert run(make_sweep(name="r", points_per_tile=tile), "ray") == expected

    def test_a_trial_per_point(self, make_sweep: Maker, expected: list[dict[str, Any]]) -> None:
        sweep = make_sweep(name="p", trials="points")
        assert run(sweep, "ray") == expected
        assert (Path(sweep.location) / "tune" / "points").is_dir(), "Tune's own tables"

    @pytest.mark.parametrize("times", [1, 9])
    def test_a_trial_per_point_that_fails(
        self, make_sweep: Maker, tmp_path: Path, times: int
    ) -> None:
        stages = [{"grid": {"points": 4}}]
        sweep = make_sweep(Flaky(tmp_path, times), name="p", trials="points", stages=stages)
        progress = sweep.run("ray", keep_going=True)
        assert (progress.gave_up, progress.done) == ((0, 16) if times == 1 else (8, 8))
        assert progress.failures == 8 * min(times, 3)

    @pytest.mark.slow
    def test_a_trial_per_point_whose_worker_dies(
        self, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        sweep = make_sweep(Killer(tmp_path, times=1), name="p", trials="points")
        assert run(sweep, "ray") == expected

    @pytest.mark.parametrize("trials", ["slots", pytest.param("points", marks=pytest.mark.slow)])
    @pytest.mark.parametrize(
        ("workload", "words"),
        [
            (Unopenable(), "weights are unreadable"),
            (KilledOpening(), "the worker process was lost"),
            pytest.param(Unpicklable(), "the worker process was lost", marks=pytest.mark.slow),
        ],
    )
    def test_workers_that_never_get_to_work_end_the_sweep(
        self, make_sweep: Maker, workload: Any, words: str, trials: str
    ) -> None:
        with pytest.raises(SweepStoppedError, match=words):
            make_sweep(workload, name="u", trials=trials).run("ray")

    @pytest.mark.slow
    def test_storage_that_refuses_for_good_is_the_reason_given(
        self, make_sweep: Maker, tmp_path: Path
    ) -> None:
        patience = {"storage_patience": 0}
        sweep = make_sweep(Disc(seconds=0.15), name="full", points_per_tile=2, resources=patience)
        points = Path(sweep.location) / "points"

        def refuse_everything() -> None:
            for _ in range(300):
                time.sleep(0.1)
                if points.exists():
                    # A file where a folder must be refuses every write, even to root.
                    points.rename(tmp_path / "kept")
                    points.write_text("")
                    return

        thread = threading.Thread(target=refuse_everything)
        thread.start()
        with pytest.raises(SweepStoppedError, match="refused"):
            sweep.run("ray")
        thread.join()

    @pytest.mark.slow
    def test_a_dispatcher_that_cannot_come_back_ends_the_sweep(
        self, make_sweep: Maker, tmp_path: Path
    ) -> None:
        sweep = make_sweep(Disc(seconds=0.3), name="lost", points_per_tile=1)
        points = Path(sweep.location) / "points"

        def lose_everything() -> None:
            for _ in range(300):
                time.sleep(0.1)
                if points.exists():
                    points.rename(tmp_path / "kept")
                    points.write_text("")
                    (process,) = [p for p in family() if "ray::Dispatcher" in p.name()]
                    process.kill()
                    return

        thread = threading.Thread(target=lose_everything)
        thread.start()
        with pytest.raises(SweepStoppedError, match="could not be rebuilt"):
            sweep.run("ray")
        thread.join()

    @pytest.mark.slow
    def test_a_dispatcher_that_dies_again_and_again_ends_the_sweep(self, make_sweep: Maker) -> None:
        sweep = make_sweep(Disc(seconds=1), name="dying", points_per_tile=41)
        over, killed = threading.Event(), set[int]()

        def kill_each() -> None:
            while not over.wait(0.1):
                for process in family():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if "ray::Dispatcher" in process.name() and process.pid not in killed:
                            killed.add(process.pid)
                            over.wait(2)  # it has begun by then
                            process.kill()

        thread = threading.Thread(target=kill_each)
        thread.start()
        try:
            with pytest.raises(SweepStoppedError, match="died 3 times in a row without a written"):
                sweep.run("ray")
        finally:
            over.set()
            thread.join()

    def test_it_goes_on_where_local_stopped(
        self, make_sweep: Maker, expected: list[dict[str, Any]]
    ) -> None:
        first = make_sweep(name="m", stages=[{"grid": {"points": 5}}])
        first.run("local")
        second = make_sweep(name="m")
        progress = second.run("ray")
        assert (progress.reused, progress.done) == (25, 81)
        ids = {row["point_id"]: row["losses"] for row in contents(second.table())}
        assert ids == {row["point_id"]: row["losses"] for row in expected}

    def test_killed_workers_cost_nothing_but_time(
        self, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        sweep = make_sweep(Killer(tmp_path, times=2), name="k", points_per_tile=5)
        assert run(sweep, "ray") == expected
        failures = sweep.store().read_failures().to_pylist()
        assert {row["kind"] for row in failures} == {"lost_worker"}

    def test_more_slots_than_room_still_end(
        self, make_sweep: Maker, expected: list[dict[str, Any]]
    ) -> None:
        assert run(make_sweep(name="s", resources={"cpu": 1, "slots": 5}), "ray") == expected

    def test_no_room_at_all_is_said(self, make_sweep: Maker) -> None:
        with pytest.raises(SweepError, match=r"no node .* has room .* gpu=1 \(the most on a node"):
            make_sweep(name="g", resources={"gpu": 1}).run("ray")

    @pytest.mark.parametrize("trials", ["slots", "points"])
    def test_named_slots_without_room_say_what_is_missing(
        self, make_sweep: Maker, trials: str
    ) -> None:
        sweep = make_sweep(name=trials, trials=trials, resources={"cpu": 64, "slots": 2})
        reasons: list[str] = []

        def view(progress: Progress) -> None:
            if progress.trouble and not reasons:
                reasons.append(progress.trouble)
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            sweep.run("ray", view=view)
        missing = "cpu=64 (the most on a node is 2)"
        assert reasons[0].startswith("no room for 5 s: no node has room for a slot of")
        assert reasons[0].endswith(missing)

    def test_a_killed_dispatcher_is_rebuilt_from_the_dataset(
        self, make_sweep: Maker, expected: list[dict[str, Any]]
    ) -> None:
        sweep = make_sweep(Disc(seconds=0.15), name="d", points_per_tile=2)
        killed = threading.Event()

        def kill() -> None:
            for _ in range(300):
                time.sleep(0.1)
                if Path(sweep.location).exists() and sweep.table().num_rows >= 8:
                    (process,) = [p for p in family() if "ray::Dispatcher" in p.name()]
                    process.kill()
                    killed.set()
                    return

        thread = threading.Thread(target=kill)
        thread.start()
        found = run(sweep, "ray")
        thread.join()
        assert killed.is_set()
        assert found == expected

    @pytest.mark.slow
    def test_an_existing_cluster_is_joined_and_left_running(
        self, make_sweep: Maker, tmp_path: Path
    ) -> None:
        address = ray.get_runtime_context().gcs_address
        command = [
            *(sys.executable, "-m", "fractal_ray", "run", "sweeps/quickstart.yaml", "--json"),
            *("--set", "stages.0.grid.points=2", "--set", "workload.recipe.num_tokens=500"),
            *("--set", "label.window=1"),
            *("--storage", str(tmp_path), "--address", address),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["points"] == 4
        assert ray.get(ray.remote(lambda: "alive").remote()) == "alive"

    def test_listens_on_loopback_only(self) -> None:
        addresses = set()
        for process in family():
            with contextlib.suppress(psutil.NoSuchProcess):
                connections = process.net_connections("inet")
                addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
        assert addresses, "Ray listens somewhere"
        # gRPC shows 127.0.0.1 as ::ffff:127.0.0.1
        exposed = {ip for ip in addresses if not ip_address(ip.removeprefix("::ffff:")).is_loopback}
        assert not exposed

    def test_refuses_whoever_has_no_token(self) -> None:
        with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
            nodes = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
            for metadata in ((), (("authorization", f"Bearer {'f' * 64}"),)):
                with pytest.raises(grpc.RpcError) as caught:
                    nodes(b"", timeout=10, metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            token = os.environ["RAY_AUTH_TOKEN"]
            assert nodes(b"", timeout=10, metadata=(("authorization", f"Bearer {token}"),))


def test_failures_are_retried_and_recorded_apart(
    make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    sweep = make_sweep(Flaky(tmp_path, times=2), name="f", points_per_tile=10)
    assert run(sweep) == expected
    failures = sweep.store().read_failures().to_pylist()
    assert {row["kind"] for row in failures} == {"error"}
    assert all("no route to host" in row["traceback"] for row in failures)
    assert not any(row["gave_up"] for row in failures)


def test_points_given_up_are_unknown_and_tried_again_next_time(
    make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    sweep = make_sweep(Flaky(tmp_path, times=4), name="f", points_per_tile=10)
    progress = sweep.run("local", keep_going=True)
    assert progress.gave_up == 27
    raster = sweep.raster()
    assert (raster.outcome[::3] == -1).all()
    assert (raster.outcome[1::3] >= 0).all()
    assert run(make_sweep(Flaky(tmp_path, times=4), name="f")) == expected


def test_a_bug_ends_the_sweep_with_its_traceback(make_sweep: Maker) -> None:
    with pytest.raises(SweepStoppedError) as caught:
        make_sweep(Broken(), name="b").run("local")
    assert "TypeError: unsupported operand" in str(caught.value)
    assert "in record" in str(caught.value), "the whole traceback"


@pytest.mark.parametrize("tile", [1, 7])
def test_an_exception_after_the_last_record_loses_nothing(
    make_sweep: Maker, expected: list[dict[str, Any]], tile: int
) -> None:
    sweep = make_sweep(Untidy(), name="u", points_per_tile=tile)
    assert run(sweep) == expected
    assert "could not tidy up" in sweep.store().read_failures().to_pylist()[0]["error"]


def test_a_bug_ends_a_resumed_sweep_too(make_sweep: Maker) -> None:
    make_sweep(name="b", stages=[{"grid": {"points": 3}}]).run("local")
    broken = make_sweep(Broken(), name="b")
    with pytest.raises(SweepStoppedError, match="unsupported operand"):
        broken.run("local")
    assert broken.store().read_failures().num_rows < 10


def test_skipping_a_corrupt_part_runs_its_points_again(
    make_sweep: Maker, expected: list[dict[str, Any]]
) -> None:
    make_sweep(name="c", stages=[{"grid": {"points": 5}}]).run("local")
    sweep = make_sweep(name="c")
    (part,) = Path(sweep.location).rglob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(SweepError, match=part.name):
        sweep.run("local")
    data = part.read_bytes()
    with pytest.warns(Note) as notes:
        progress = sweep.run("local", skip_corrupt=True)
    assert (progress.reused, progress.done) == (0, 81)
    aside = part.with_name(f"{part.name}.corrupt")
    assert aside.read_bytes() == data, "left for whoever wants to mend it"
    (line,) = [str(note.message) for note in notes]
    assert line.startswith("1 damaged part set aside") and f"{part} (unknown rows)" in line
    assert contents(sweep.store().read()) == expected


def test_a_full_disk_is_the_reason_given(
    make_sweep: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store, table: Any, folder: str) -> None:
        raise OSError(28, "No space left on device")

    sweep = make_sweep(name="full", resources={"storage_patience": 0})
    monkeypatch.setattr(Store, "write_part", refuse)
    with pytest.raises(SweepStoppedError, match="No space left on device"):
        sweep.run("local")


def test_an_interrupted_joining_of_parts_is_finished_by_the_next_run(make_sweep: Maker) -> None:
    sweep = make_sweep(name="c")
    sweep.run("local")
    table = sweep.table()
    store = sweep.store()
    for part in store.parts("points"):
        store._delete(part)
    for start in range(0, 81, 20):
        piece = table.slice(start, 20).select(POINTS_SCHEMA.names)
        store.write_part(piece, f"{sweep.location}/points/frame=0/level=0")
    assert store.part_count() == 5
    sweep.run("local")
    assert store.part_count() == 1
    assert contents(sweep.table()) == contents(table)


def test_a_complete_sweep_opens_nothing(make_sweep: Maker) -> None:
    make_sweep(name="c").run("local")
    assert make_sweep(Unopenable(), name="c").run("local").reused == 81


def test_ctrl_c_keeps_what_was_finished(make_sweep: Maker) -> None:
    class Interrupted(Disc):
        def record(self, point: Any) -> Any:
            if (point.ix, point.iy) == (5, 5):
                raise KeyboardInterrupt
            return super().record(point)

    sweep = make_sweep(Interrupted(), name="i", points_per_tile=3)
    with pytest.raises(KeyboardInterrupt):
        sweep.run("local")
    assert 0 < sweep.table().num_rows < 81
    assert make_sweep(name="i").run("local").done == 81
