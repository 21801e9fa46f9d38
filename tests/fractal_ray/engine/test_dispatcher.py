"""The dispatcher by itself: leases, attempts, tile sizes, writing, coming back."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fractal_ray.dataset.compaction import compact
from fractal_ray.dataset.driver_lease import hold_lease
from fractal_ray.dataset.store import Store
from fractal_ray.engine.base import Place, RunFailure, Tile, TileResult, describe, evaluate_tile
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.program import Program
from tests.fractal_ray.sample_workloads import Disc


class Clock:
    """A clock that tests move on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def program(side: int, integer: bool, zooms: list[Zoom]) -> Program:
    x = Axis("unembedding_lr", "log", 1.0, 3.0, integer) if integer else _axis("unembedding_lr")
    frame = Frame(0, x, _axis("matrix_lr"), side - 1, side - 1)
    return Program([("0:grid", lambda: GridPlanner(frame))])


def _axis(name: str) -> Axis:
    return Axis(name, "log", 1e-4, 1.0)


def make(folder: Path, side: int = 3, clock: Clock | None = None, **changes: Any) -> Dispatcher:
    integer = changes.pop("integer", False)
    spec = DispatcherSpec(
        program=functools.partial(program, side, integer),
        location=str(folder),
        metadata={},
        fingerprint="disc",
        recipe=dict(Disc.recipe),
        x_param="unembedding_lr",
        y_param="matrix_lr",
        rule=LabelRule(Criterion(), "trainable"),
        **changes,
    )
    return Dispatcher(spec, clock or Clock())


def worker() -> Disc:
    disc = Disc()
    return disc.open(disc.prepare().shared, "cpu")


def finish(dispatcher: Dispatcher, slot: int = 0) -> int:
    """Work until the dispatcher says stop; return the number of points run."""
    runner, result, count = worker(), None, 0
    for _ in range(1000):
        reply = dispatcher.exchange(slot, result)
        if not isinstance(reply, Tile):
            assert reply == "stop"
            return count
        result = evaluate_tile(runner, reply)
        count += len(reply.points)
    raise AssertionError("never stops")


def tile(dispatcher: Dispatcher, slot: int) -> Tile:
    reply = dispatcher.take(slot)
    assert isinstance(reply, Tile)
    return reply


def failed(taken: Tile, error: str = "OSError: no route") -> TileResult:
    failures = tuple(RunFailure(error, f"trace of {error}") for _ in taken.points)
    return TileResult(taken.id, failures, 0.1, "host", "cpu")


def rows(dispatcher: Dispatcher, folder: Path) -> list[dict[str, Any]]:
    dispatcher.close()
    return Store(str(folder)).read().to_pylist()


def test_every_point_is_run_once_and_written(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, side=5)
    assert finish(dispatcher) == 25
    found = rows(dispatcher, tmp_path)
    assert {(row["ix"], row["iy"]) for row in found} == {(i, j) for i in range(5) for j in range(5)}
    assert {row["attempt"] for row in found} == {1}
    assert {row["seed"] for row in found} == {7}
    assert {row["stage"] for row in found} == {"0:grid"}


def test_a_record_that_cannot_be_written_fails_and_loses_no_other(tmp_path: Path) -> None:
    runner, result = worker(), None
    with hold_lease(Store(str(tmp_path))) as claim:
        changes = {"points_per_tile": 3, "max_attempts": 1, "keep_going": True, "claim": claim}
        dispatcher = make(tmp_path, side=3, **changes)
        while isinstance(reply := dispatcher.exchange(0, result), Tile):
            runner.evaluate = lambda points: (
                replace(runner.record(point), diverged_step=2**70 if point.ix == point.iy else 5)
                for point in points
            )
            result = evaluate_tile(runner, reply)
        progress = dispatcher.close()
    assert (progress.done, progress.failures, progress.gave_up) == (6, 3, 3)
    store = Store(str(tmp_path))
    assert store.read().num_rows == 6
    error = "TypeError: the record of this run cannot be written: OverflowError: "
    for row in store.read_failures().to_pylist():
        assert row["ix"] == row["iy"]
        assert row["error"].startswith(error)
        assert row["run"] == claim.token


def test_a_second_dispatcher_runs_only_what_is_missing(tmp_path: Path) -> None:
    first = make(tmp_path, side=5, points_per_tile=4)
    runner = worker()
    first.deliver(0, evaluate_tile(runner, tile(first, 0)))
    tile(first, 0)  # in flight when the first one dies
    first.flush()
    second = make(tmp_path, side=5)
    assert finish(second) == 21
    progress = second.progress()
    assert (progress.done, progress.reused, progress.total) == (25, 4, 25)
    assert len(rows(second, tmp_path)) == 25
    assert finish(make(tmp_path, side=5)) == 0


def test_a_lost_lease_is_run_again_in_halves(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=5)
    lost = tile(dispatcher, 0)
    dispatcher.release(0, "killed")
    again = [tile(dispatcher, slot) for slot in (1, 2)]
    assert [one.points for one in again] == [lost.points[:3], lost.points[3:]]


def test_a_lost_node_is_nobodys_fault(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=1, max_attempts=2)
    for slot in range(8):
        dispatcher.opening(slot, Place(f"node {slot}", f"card {slot}"))
        tile(dispatcher, slot)
        dispatcher.release(slot, "gone", "lost_node")
    assert finish(dispatcher, 100) == 9
    assert dispatcher.close().gave_up == 0
    dispatcher = make(tmp_path / "ten", side=1, points_per_tile=1, max_attempts=2)
    for _ in range(11):
        tile(dispatcher, 0)
        dispatcher.release(0, "gone", "lost_node")
    assert dispatcher.progress().gave_up == 0
    dispatcher.flush()
    kinds = {row["kind"] for row in Store(str(tmp_path)).read_failures().to_pylist()}
    assert kinds == {"lost_node"}


def test_a_slot_that_comes_back_empty_handed_has_lost_its_lease(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=2)
    lost = tile(dispatcher, 0)
    assert tile(dispatcher, 0).points == lost.points[:1]
    assert dispatcher.progress().failures == 1


def test_a_result_of_a_released_lease_is_dropped(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=9)
    late = evaluate_tile(worker(), tile(dispatcher, 0))
    dispatcher.release(0, "timed out")
    dispatcher.deliver(0, late)
    assert dispatcher.progress().done == 0
    assert finish(dispatcher) == 9
    assert len(rows(dispatcher, tmp_path)) == 9


def test_a_point_that_kills_its_worker_is_found_and_given_up(tmp_path: Path) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, points_per_tile=9, max_attempts=3, clock=clock)
    runner = worker()
    for _ in range(100):
        reply = dispatcher.take(0)
        if reply == "wait":  # for the back-off to pass
            clock.now += 1
            continue
        if not isinstance(reply, Tile):
            break
        if any((point.ix, point.iy) == (1, 1) for point in reply.points):
            dispatcher.release(0, "killed")
        else:
            dispatcher.deliver(0, evaluate_tile(runner, reply))
    progress = dispatcher.progress()
    assert progress.finished
    assert progress.error is None
    assert (progress.done, progress.gave_up) == (8, 1)
    assert {(row["ix"], row["iy"]) for row in rows(dispatcher, tmp_path)} == {
        (i, j) for i in range(3) for j in range(3)
    } - {(1, 1)}
    failures = Store(str(tmp_path)).read_failures().to_pylist()
    alone = [row for row in failures if (row["ix"], row["iy"]) == (1, 1)]
    assert [row["gave_up"] for row in alone][-3:] == [False, False, True]
    assert {row["kind"] for row in failures} == {"lost_worker"}


def test_a_failure_is_tried_again_and_never_becomes_an_outcome(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=1)
    runner = worker()
    dispatcher.deliver(0, evaluate_tile(runner, tile(dispatcher, 0)))
    taken = tile(dispatcher, 0)
    dispatcher.deliver(0, failed(taken))
    assert dispatcher.progress().done == 1
    assert finish(dispatcher) == 8
    (row,) = [r for r in rows(dispatcher, tmp_path) if r["attempt"] == 2]
    assert (row["ix"], row["iy"]) == (taken.points[0].ix, taken.points[0].iy)
    (failure,) = Store(str(tmp_path)).read_failures().to_pylist()
    assert failure["traceback"] == "trace of OSError: no route"
    assert failure["attempt"] == 1


def test_three_first_points_that_fail_alike_end_the_sweep(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=1)
    for slot in range(3):
        taken = tile(dispatcher, slot)
        dispatcher.deliver(slot, failed(taken, "TypeError: a bug"))
    assert dispatcher.take(9) == "stop"
    error = dispatcher.progress().error
    assert error is not None
    assert "trace of TypeError: a bug" in error


def test_workers_that_cannot_open_end_the_sweep_unless_some_can(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=1)
    failure = RunFailure("OSError: unreadable", "trace")
    dispatcher.opening(1, Place("node", "card"))
    tile(dispatcher, 1)  # this one could, and is at work
    pauses = [dispatcher.open_failed(0, failure, "a") for _ in range(8)]
    assert pauses == [0, 0, 5, 10, 20, 40, 60, 60]
    assert dispatcher.progress().error is None
    dispatcher.release(1, "the worker process was lost")
    assert dispatcher.open_failed(0, failure, "a") is None
    assert "trace" in (dispatcher.progress().error or "")


def test_a_node_lost_while_its_slots_load_does_not_end_the_sweep(tmp_path: Path) -> None:
    dispatcher = make(tmp_path)
    for slot in range(8):
        dispatcher.release(slot, "the node is gone")
    assert dispatcher.progress().error is None
    assert finish(dispatcher) == 9


def test_a_slot_that_dies_loading_again_and_again_ends_the_sweep(tmp_path: Path) -> None:
    dispatcher = make(tmp_path)
    for _ in range(3):
        dispatcher.release(1, "the worker process was lost")
    assert "memory" in (dispatcher.progress().error or "")


def test_tiles_grow_to_the_time_asked_for(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, side=40, tile_seconds=2.0)
    runner, sizes = worker(), []
    for _ in range(6):
        taken = tile(dispatcher, 0)
        sizes.append(len(taken.points))
        slow = evaluate_tile(runner, taken)
        seconds = 0.1 * len(taken.points)
        dispatcher.deliver(0, TileResult(slow.tile_id, slow.results, seconds, "h", "cpu"))
    assert sizes[:3] == [1, 4, 16]
    assert all(19 <= size <= 20 for size in sizes[3:])


def test_the_last_points_are_shared_out(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, side=4)
    runner = worker()
    sizes = []
    for slot in (0, 1, 0, 1, 0, 1):
        taken = tile(dispatcher, slot)
        sizes.append(len(taken.points))
        result = evaluate_tile(runner, taken)
        dispatcher.deliver(slot, TileResult(result.tile_id, result.results, 1e-6, "h", "cpu"))
    assert max(sizes) <= 4, "no slot takes more than half of what is left to both"


def test_nodes_that_share_their_values_share_one_run(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, side=6, integer=True)
    assert finish(dispatcher) == 18  # x is one of 1, 2, 3
    progress = dispatcher.progress()
    assert (progress.done, progress.total, progress.shared_nodes) == (18, 18, 18)
    assert len(rows(dispatcher, tmp_path)) == 18


def test_rows_wait_for_at_most_the_flush_time(tmp_path: Path) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, side=5, clock=clock, points_per_tile=5, flush_seconds=2.0)
    runner = worker()
    dispatcher.deliver(0, evaluate_tile(runner, tile(dispatcher, 0)))
    assert Store(str(tmp_path)).part_count() == 0
    clock.now = 2.0
    dispatcher.progress()
    assert Store(str(tmp_path)).read().num_rows == 5


def test_storage_that_refuses_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, side=5, clock=clock, points_per_tile=5, storage_patience=60.0)
    runner = worker()
    with monkeypatch.context() as patch:

        def refuse(self: Store, table: Any, folder: str) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(Store, "write_part", refuse)
        dispatcher.deliver(0, evaluate_tile(runner, tile(dispatcher, 0)))
        clock.now = 10
        progress = dispatcher.progress()
        assert "No space left" in progress.trouble
        assert progress.error is None
    clock.now = 20
    assert dispatcher.progress().trouble == ""
    assert Store(str(tmp_path)).read().num_rows == 5


def test_storage_that_refuses_for_good_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, clock=clock, points_per_tile=5, storage_patience=60.0)
    dispatcher.deliver(0, evaluate_tile(worker(), tile(dispatcher, 0)))

    def refuse(self: Store, table: Any, folder: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write_part", refuse)
    for clock.now in (10, 80):
        dispatcher.progress()
    assert "No space left" in (dispatcher.progress().error or "")
    assert dispatcher.take(0) == "stop"


class TestMemory:
    """Points that need more memory than the worker has."""

    def test_a_tile_is_split_and_later_ones_are_smaller(self, tmp_path: Path) -> None:
        dispatcher = make(tmp_path, side=6, points_per_tile=8)
        first = tile(dispatcher, 0)
        dispatcher.deliver(0, short_of_memory(first))
        again = [tile(dispatcher, slot) for slot in (1, 2)]
        assert [one.points for one in again] == [first.points[:4], first.points[4:]]
        assert len(tile(dispatcher, 3).points) == 4

    def test_what_was_finished_before_memory_ran_out_is_kept(self, tmp_path: Path) -> None:
        dispatcher = make(tmp_path, side=3, points_per_tile=9)
        first = tile(dispatcher, 0)
        dispatcher.deliver(0, short_of_memory(first, after=3))
        assert dispatcher.progress().done == 3
        assert tile(dispatcher, 0).points == first.points[3:6]

    def test_a_point_gets_a_card_for_itself_when_nothing_else_is_left(self, tmp_path: Path) -> None:
        dispatcher = make(tmp_path, side=2, points_per_tile=1)
        for slot, card in enumerate(["A", "A", "A", "B"]):
            dispatcher.opening(slot, Place("node", card))
        greedy = tile(dispatcher, 0)
        dispatcher.deliver(0, short_of_memory(greedy))
        runner, tiles = worker(), {slot: tile(dispatcher, slot) for slot in (1, 2, 3)}
        assert dispatcher.take(0) == "wait", "the others of its card are at work"
        for slot, taken in tiles.items():
            dispatcher.deliver(slot, evaluate_tile(runner, taken))
        assert [dispatcher.take(slot) for slot in (1, 2)] == ["rest", "rest"]
        assert dispatcher.take(0) == "wait", "they were told, and have not said that they do"
        assert [dispatcher.take(slot) for slot in (1, 2)] == ["rest", "rest"]
        again = tile(dispatcher, 0)
        assert again.points == greedy.points
        assert [dispatcher.take(slot) for slot in (1, 2, 3)] == ["rest", "rest", "wait"]
        dispatcher.deliver(0, evaluate_tile(runner, again))
        assert [dispatcher.take(slot) for slot in range(4)] == ["stop"] * 4
        assert dispatcher.progress().gave_up == 0

    def test_it_waits_for_the_worker_that_is_replaced(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, side=2, points_per_tile=4, clock=clock)
        for slot in (0, 1):
            assert dispatcher.opening(slot, Place("node", "card"))
        taken = tile(dispatcher, 0)
        dispatcher.deliver(0, short_of_memory(taken, after=3))
        dispatcher.retire(0)
        dispatcher.release(0, "replaced")
        assert dispatcher.take(1) == "wait", "the new process of slot 0 will load the model"
        assert dispatcher.opening(0, Place("node", "card"))
        assert dispatcher.take(1) == "rest"
        assert dispatcher.take(1) == "rest"
        assert tile(dispatcher, 0).points == taken.points[3:]

    def test_it_does_not_wait_for_one_that_never_comes_back(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, side=2, points_per_tile=4, clock=clock)
        for slot in (0, 1):
            dispatcher.opening(slot, Place("node", "card"))
        dispatcher.deliver(0, short_of_memory(tile(dispatcher, 0), after=3))
        dispatcher.release(0, "gone")
        assert dispatcher.take(1) == "wait"
        clock.now = 121
        assert len(tile(dispatcher, 1).points) == 1

    def test_tiles_grow_again(self, tmp_path: Path) -> None:
        dispatcher = make(tmp_path, side=50, points_per_tile=8)
        dispatcher.deliver(0, short_of_memory(tile(dispatcher, 0)))
        runner, sizes = worker(), []
        for _ in range(150):
            taken = tile(dispatcher, 0)
            sizes.append(len(taken.points))
            dispatcher.deliver(0, evaluate_tile(runner, taken))
        assert max(sizes[:90]) == 4
        assert sizes[-1] == 8

    def test_what_fails_alone_as_well_is_a_failure_and_no_outcome(self, tmp_path: Path) -> None:
        dispatcher = make(tmp_path, side=2, points_per_tile=1)
        runner = worker()
        for _ in range(20):
            reply = dispatcher.take(0)
            if reply == "stop":
                break
            assert isinstance(reply, Tile)
            (point,) = reply.points
            greedy = (point.ix, point.iy) == (1, 1)
            dispatcher.deliver(
                0, short_of_memory(reply) if greedy else evaluate_tile(runner, reply)
            )
        progress = dispatcher.progress()
        assert (progress.finished, progress.done, progress.gave_up) == (True, 3, 1)
        assert len(rows(dispatcher, tmp_path)) == 3
        failures = Store(str(tmp_path)).read_failures().to_pylist()
        assert [(row["kind"], row["gave_up"]) for row in failures] == [
            ("out_of_memory", False),
            ("out_of_memory", True),
        ]

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (MemoryError("no"), "out_of_memory"),
            (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
            (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
            (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "out_of_memory"),
            (ValueError("out of memory"), "error"),
            (RuntimeError("shape mismatch"), "error"),
        ],
    )
    def test_which_exceptions_want_memory(self, error: Exception, kind: str) -> None:
        assert describe(error).kind == kind


class TestSilence:
    """Workers that hang."""

    def test_a_silent_worker_is_handed_over_and_its_points_run_again(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, points_per_tile=4, clock=clock, lease_seconds=30)
        dispatcher.opening(0, Place("node", "card"), "the handle")
        lost = tile(dispatcher, 0)
        clock.now = 30
        assert dispatcher.take_hung() == []
        clock.now = 31
        assert dispatcher.take_hung() == ["the handle"]
        assert dispatcher.take_hung() == []
        assert "silent for 30 s" in dispatcher.progress().trouble
        dispatcher.release(0, "killed")  # its end is expected, and is no loss while loading
        assert tile(dispatcher, 1).points == lost.points[:2]
        dispatcher.deliver(0, evaluate_tile(worker(), lost))
        assert dispatcher.progress().done == 0, "what it says later is dropped"

    def test_one_that_hangs_on_loading_is_replaced_and_three_times_is_enough(
        self, tmp_path: Path
    ) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, clock=clock, lease_seconds=30)
        for _ in range(3):
            assert dispatcher.progress().error is None
            dispatcher.opening(0, Place("node", "card"), "the handle")
            clock.now += 31
            assert dispatcher.take_hung() == ["the handle"]
            dispatcher.release(0, "killed")
        assert "silent for 30 s" in (dispatcher.progress().error or "")

    def test_points_longer_than_an_hour_get_the_time(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, points_per_tile=1, clock=clock)
        patience = []
        for _ in range(3):
            dispatcher.opening(0, Place("node", "card"), "the handle")
            began = clock.now
            clock.now += 120  # the back-off of a point that failed
            tile(dispatcher, 0)
            began = clock.now
            while not dispatcher.take_hung():
                clock.now += 100
            patience.append(clock.now - began)
            dispatcher.release(0, "killed")
        assert patience == [3700, 7300, 14500]

    def test_the_patience_is_for_a_tile(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, side=9, points_per_tile=4, clock=clock)
        dispatcher.opening(0, Place("node", "card"), "the handle")
        first = evaluate_tile(worker(), tile(dispatcher, 0))
        dispatcher.deliver(0, TileResult(first.tile_id, first.results, 400.0, "host", "cpu"))
        tile(dispatcher, 0)
        clock.now = 20 * 400.0
        assert dispatcher.take_hung() == []
        clock.now += 1
        assert dispatcher.take_hung() == ["the handle"]

    def test_one_that_waits_for_its_card_does_not_hang(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, side=2, points_per_tile=4, clock=clock, lease_seconds=9000)
        dispatcher.opening(0, Place("node", "card"), "0")
        dispatcher.deliver(0, short_of_memory(tile(dispatcher, 0), after=3))
        assert len(tile(dispatcher, 0).points) == 1
        assert not dispatcher.opening(1, Place("node", "card"), "1")
        clock.now = 8999
        assert not dispatcher.opening(1, Place("node", "card"), "1")
        clock.now = 9000
        assert dispatcher.take_hung() == []

    def test_without_a_limit_the_slowest_point_decides(self, tmp_path: Path) -> None:
        clock = Clock()
        dispatcher = make(tmp_path, points_per_tile=1, clock=clock)
        dispatcher.opening(0, Place("node", "card"), "the handle")
        first = evaluate_tile(worker(), tile(dispatcher, 0))
        clock.now = 3600
        assert dispatcher.take_hung() == []
        dispatcher.deliver(0, TileResult(first.tile_id, first.results, 100.0, "host", "cpu"))
        tile(dispatcher, 0)
        clock.now = 3600 + 2000
        assert dispatcher.take_hung() == []
        clock.now = 3600 + 2001
        assert dispatcher.take_hung() == ["the handle"]


def test_a_replaced_worker_is_no_lost_one(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=1)
    for _ in range(5):
        dispatcher.deliver(0, evaluate_tile(worker(), tile(dispatcher, 0)))
        dispatcher.retire(0)
        dispatcher.release(0, "the worker process was lost")
    assert dispatcher.progress().failures == 0
    assert finish(dispatcher) == 4


@pytest.mark.parametrize("keep_going", [True, False])
def test_three_points_that_fail_alike_for_good_end_the_sweep(
    tmp_path: Path, keep_going: bool
) -> None:
    dispatcher = make(tmp_path, side=4, points_per_tile=1, keep_going=keep_going)
    runner = worker()
    for _ in range(100):
        reply = dispatcher.take(0)
        if not isinstance(reply, Tile):
            break
        (point,) = reply.points
        broken = failed(reply, f"IndexError: {point.ix}, 0x7f{point.iy:x}, {point.x:g}")
        dispatcher.deliver(0, broken if point.iy % 2 else evaluate_tile(runner, reply))
    progress = dispatcher.progress()
    if keep_going:
        assert (progress.error, progress.gave_up, progress.done) == (None, 8, 8)
    else:
        assert progress.gave_up == 3
        assert "--keep-going" in (progress.error or "")
        assert "trace of IndexError" in (progress.error or "")


def test_two_kinds_of_devices_are_told_and_may_be_forbidden(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, points_per_tile=1)
    on = [evaluate_tile(worker(), tile(dispatcher, slot)) for slot in (0, 1)]
    dispatcher.deliver(0, on[0])
    assert dispatcher.progress().trouble == ""
    other = TileResult(on[1].tile_id, on[1].results, 1.0, "h", "NVIDIA A100-SXM4-80GB")
    dispatcher.deliver(1, other)
    assert "NVIDIA A100-SXM4-80GB and cpu" in dispatcher.progress().trouble
    assert len(rows(dispatcher, tmp_path)) == 2
    alone = make(tmp_path, points_per_tile=1, homogeneous=True)
    taken = tile(alone, 0)
    third = evaluate_tile(worker(), taken)
    alone.deliver(0, TileResult(taken.id, third.results, 1.0, "h", "NVIDIA L4"))
    assert "homogeneous" in (alone.progress().error or "")
    assert len(rows(alone, tmp_path)) == 2


def test_another_driver_that_takes_over_ends_the_sweep(tmp_path: Path) -> None:
    clock = Clock()
    with hold_lease(Store(str(tmp_path))) as claim:
        dispatcher = make(tmp_path, points_per_tile=1, clock=clock, claim=claim)
        dispatcher.deliver(0, evaluate_tile(worker(), tile(dispatcher, 0)))
        other = json.loads((tmp_path / "driver.json").read_text()) | {"token": "x", "pid": 77}
        (tmp_path / "driver.json").write_text(json.dumps(other))
        clock.now = 10
        assert "process 77" in (dispatcher.progress().error or "")
        assert dispatcher.take(0) == "stop"
    assert Store(str(tmp_path)).read().num_rows == 0
    assert json.loads((tmp_path / "driver.json").read_text())["pid"] == 77


def short_of_memory(taken: Tile, after: int = 0) -> TileResult:
    done = evaluate_tile(worker(), Tile(0, taken.points[:after])).results
    failure = RunFailure("OutOfMemoryError: 1 GiB", "trace", "out_of_memory")
    return TileResult(taken.id, done, 0.1, "host", "cpu", (after, failure))


def test_a_lost_point_is_tried_again_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, side=1, points_per_tile=1, max_attempts=3, clock=clock)
    for wait in (1.0, 2.0):
        tile(dispatcher, 0)
        dispatcher.release(0, "killed")
        clock.now += 0.99 * wait
        assert dispatcher.take(0) == "wait"
        clock.now += 0.01 * wait + 1e-6


def test_keep_going_goes_on_where_a_sweep_was_stopped(tmp_path: Path) -> None:
    def work(dispatcher: Dispatcher) -> None:
        runner = worker()
        while isinstance(reply := dispatcher.take(0), Tile):
            (point,) = reply.points
            bad = failed(reply, "ValueError: a bug")
            dispatcher.deliver(0, bad if point.ix >= 3 else evaluate_tile(runner, reply))
        dispatcher.close()

    first = make(tmp_path, side=5, points_per_tile=1)
    work(first)
    assert "--keep-going" in (first.progress().error or "")
    again = make(tmp_path, side=5, points_per_tile=1, keep_going=True)
    work(again)
    progress = again.progress()
    assert (progress.error, progress.done, progress.gave_up) == (None, 15, 10)


def test_a_budget_waits_for_what_is_run_again(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, side=5, points_per_tile=4, budget=Budget(points=10))
    runner = worker()
    tiles = [tile(dispatcher, slot) for slot in range(3)]
    dispatcher.deliver(0, evaluate_tile(runner, tiles[0]))
    dispatcher.deliver(1, evaluate_tile(runner, tiles[1]))
    dispatcher.release(2, "killed")
    assert not dispatcher.progress().finished
    assert finish(dispatcher) == 2
    progress = dispatcher.progress()
    assert (progress.done, bool(progress.spent)) == (10, True)


def test_fewer_records_than_points_are_failures_of_the_workload(tmp_path: Path) -> None:
    class Short(Disc):
        def evaluate(self, points: Any) -> Any:
            yield from super().evaluate(points[1:])

    short = Short().open(Disc().prepare().shared, "cpu")
    dispatcher = make(tmp_path, points_per_tile=3)
    dispatcher.deliver(0, evaluate_tile(short, tile(dispatcher, 0)))
    assert "2 records for a tile of 3 points" in (dispatcher.progress().error or "")


def test_who_was_taken_over_writes_nothing_in_the_end(tmp_path: Path) -> None:
    with hold_lease(Store(str(tmp_path))) as claim:
        dispatcher = make(tmp_path, points_per_tile=1, claim=claim)
        dispatcher.deliver(0, evaluate_tile(worker(), tile(dispatcher, 0)))
        other = json.loads((tmp_path / "driver.json").read_text()) | {"token": "x", "pid": 77}
        (tmp_path / "driver.json").write_text(json.dumps(other))
        dispatcher.rescue()
        assert "process 77" in (dispatcher.close().error or "")
    assert Store(str(tmp_path)).read().num_rows == 0


def test_small_parts_are_joined_on_the_way(tmp_path: Path) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, side=15, points_per_tile=1, clock=clock, flush_seconds=1.0)
    runner, most = worker(), 0
    for _ in range(225):
        dispatcher.deliver(0, evaluate_tile(runner, tile(dispatcher, 0)))
        clock.now += 1
        most = max(most, Store(str(tmp_path)).part_count())
    assert most <= 101
    assert Store(str(tmp_path)).read().num_rows >= 223


def test_large_parts_are_left_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    dispatcher = make(tmp_path, side=4, points_per_tile=4)
    for _ in range(4):
        dispatcher.deliver(0, evaluate_tile(worker(), tile(dispatcher, 0)))
        dispatcher.flush()
    compact(store, smaller_than=1)
    assert store.part_count() == 4
    compact(store, smaller_than=10**9)
    assert store.part_count() == 1


def test_it_is_said_when_no_worker_comes(tmp_path: Path) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, clock=clock)
    clock.now = 60
    assert dispatcher.progress().trouble == ""
    clock.now = 61
    assert "no worker has come up for 61 s" in dispatcher.progress().trouble
    dispatcher.opening(0, Place("node", "card"))
    assert dispatcher.progress().trouble == ""
    dispatcher.release(0, "killed")
    clock.now = 130
    assert "no worker has come up for 69 s" in dispatcher.progress().trouble
