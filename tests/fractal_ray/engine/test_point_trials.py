"""`trials: points`: tiles for trials whose workers have not come up, and their failed starts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.dataset.store import Store
from fractal_ray.engine.base import Place, RunFailure, Tile, evaluate_tile
from fractal_ray.engine.cluster.point_trials import PointSearcher
from fractal_ray.engine.cluster.slot import Slot
from fractal_ray.engine.dispatcher import Dispatcher
from tests.fractal_ray.engine.test_dispatcher import Clock, finish, make, short_of_memory, worker
from tests.fractal_ray.sample_workloads import Disc, Unopenable

LOST = "the worker process was lost"
PLACE = Place("node", "card")


def reserve(dispatcher: Dispatcher, slot: int) -> Tile:
    reply = dispatcher.reserve(slot)
    assert isinstance(reply, Tile)
    return reply


def open_on(dispatcher: Dispatcher, slot: int, place: Place = PLACE) -> Tile:
    """Reserve a tile for a slot and let its worker come up and load the workload."""
    reserved = reserve(dispatcher, slot)
    assert dispatcher.opening(slot, place, f"handle {slot}")
    dispatcher.opened(slot)
    return reserved


def lose_start(dispatcher: Dispatcher, slot: int, kind: Any = "lost_worker") -> None:
    """Reserve a tile for a slot and lose its worker before it has loaded the workload."""
    reserve(dispatcher, slot)
    dispatcher.opening(slot, PLACE)
    dispatcher.release(slot, LOST, kind)


@pytest.fixture
def dispatcher(tmp_path: Path) -> Dispatcher:
    return make(tmp_path, points_per_tile=1, max_attempts=1)


def test_three_starts_lost_in_a_row_end_the_sweep(dispatcher: Dispatcher) -> None:
    for slot in range(3):
        assert dispatcher.progress().error is None
        lose_start(dispatcher, slot)
    progress = dispatcher.progress()
    assert "the workers of 3 trials in a row died" in (progress.error or "")
    assert LOST in (progress.error or "")
    assert dispatcher.reserve(3) == "stop"


def test_a_failed_start_counts_against_no_point(dispatcher: Dispatcher, tmp_path: Path) -> None:
    first = reserve(dispatcher, 0)
    dispatcher.opening(0, PLACE)
    dispatcher.release(0, LOST)
    again = open_on(dispatcher, 1)
    assert again.points == first.points
    dispatcher.deliver(1, evaluate_tile(worker(), again))
    assert finish(dispatcher, 2) == 8
    progress = dispatcher.close()
    assert (progress.done, progress.failures, progress.gave_up) == (9, 0, 0)
    assert set(Store(str(tmp_path)).read().column("attempt").to_pylist()) == {1}


def test_a_loss_after_loading_counts_against_the_point(dispatcher: Dispatcher) -> None:
    for slot in range(3):
        open_on(dispatcher, slot)
        dispatcher.release(slot, LOST)
    assert dispatcher.progress().gave_up == 3


def test_starts_lost_at_once_count_once(dispatcher: Dispatcher) -> None:
    for first in (0, 4):  # two nodes, with four trials each
        for slot in range(first, first + 4):
            reserve(dispatcher, slot)
        for slot in range(first, first + 4):
            dispatcher.release(slot, LOST)
    assert dispatcher.progress().error is None
    lose_start(dispatcher, 8)
    assert "died" in (dispatcher.progress().error or "")


def test_the_loss_of_a_node_counts_as_no_failed_start(dispatcher: Dispatcher) -> None:
    for slot in range(9):
        lose_start(dispatcher, slot, "lost_node")
    assert dispatcher.progress().error is None
    assert finish(dispatcher, 9) == 9


def test_a_worker_that_has_loaded_keeps_the_sweep_going(dispatcher: Dispatcher) -> None:
    at_work = open_on(dispatcher, 0)
    for slot in range(1, 9):
        lose_start(dispatcher, slot)
    assert dispatcher.progress().error is None
    dispatcher.deliver(0, evaluate_tile(worker(), at_work))
    dispatcher.retire(0)
    dispatcher.release(0, "the trial has ended")
    for slot in range(10, 13):
        assert dispatcher.progress().error is None, "a result resets the count"
        lose_start(dispatcher, slot)
    assert dispatcher.progress().error is not None


def test_an_exception_on_loading_counts_against_no_point(dispatcher: Dispatcher) -> None:
    failure = RunFailure("OSError: unreadable", "trace")
    at_work = open_on(dispatcher, 0)
    pauses = []
    for slot in range(1, 6):
        reserve(dispatcher, slot)
        dispatcher.opening(slot, PLACE)
        pauses.append(dispatcher.open_failed(slot, failure, "a"))
        dispatcher.release(slot, "ReplacedError: unreadable", "error", "trace")
    assert pauses == [0, 0, 5, 10, 20]
    dispatcher.deliver(0, evaluate_tile(worker(), at_work))
    assert finish(dispatcher, 0) == 8
    assert dispatcher.progress().failures == 0


def test_a_tile_that_waits_for_its_worker_does_not_hang(tmp_path: Path) -> None:
    clock = Clock()
    dispatcher = make(tmp_path, points_per_tile=1, clock=clock, lease_seconds=30)
    first = reserve(dispatcher, 0)
    clock.now = 100  # the cluster had no room
    assert dispatcher.take_hung() == []
    dispatcher.opening(0, PLACE, "handle")
    clock.now = 131
    assert dispatcher.take_hung() == ["handle"], "it hangs on loading"
    dispatcher.release(0, "killed")
    assert dispatcher.progress().failures == 0
    assert open_on(dispatcher, 1).points == first.points
    clock.now = 161
    assert dispatcher.take_hung() == []
    clock.now = 162
    assert dispatcher.take_hung() == ["handle 1"]
    assert dispatcher.progress().failures == 1


def test_a_point_alone_waits_for_all_other_trials_and_they_for_it(tmp_path: Path) -> None:
    dispatcher = make(tmp_path, side=2, points_per_tile=1)
    greedy = {slot: open_on(dispatcher, slot) for slot in (0, 1)}
    for slot, taken in greedy.items():
        dispatcher.deliver(slot, short_of_memory(taken))
        dispatcher.release(slot, "ReplacedError: out of memory", "error")
    others = {slot: open_on(dispatcher, slot) for slot in (2, 3)}
    assert dispatcher.reserve(4) == "wait"
    for slot, taken in others.items():
        dispatcher.deliver(slot, evaluate_tile(worker(), taken))
    assert reserve(dispatcher, 5).points == greedy[0].points
    assert dispatcher.reserve(6) == "rest", "the second one would wait for the first for ever"
    dispatcher.release(5, LOST)
    again = open_on(dispatcher, 7)
    assert again.points == greedy[0].points
    dispatcher.deliver(7, evaluate_tile(worker(), again))
    assert open_on(dispatcher, 8).points == greedy[1].points
    assert dispatcher.progress().gave_up == 0


def suggest(searcher: PointSearcher, trial: str) -> dict[str, Any]:
    config = searcher.suggest(trial)
    assert isinstance(config, dict)
    return config


def test_each_trial_is_a_new_slot_and_gives_its_point_back(dispatcher: Dispatcher) -> None:
    searcher = PointSearcher(dispatcher, "unembedding_lr", "matrix_lr")
    first, second = suggest(searcher, "a"), suggest(searcher, "b")
    assert (first["slot"], second["slot"]) == (0, 1)
    searcher.on_trial_complete("a")  # Tune stopped it before its worker came up
    third = suggest(searcher, "c")
    assert (third["ix"], third["iy"]) == (first["ix"], first["iy"])
    progress = dispatcher.progress()
    assert (progress.failures, progress.trouble) == (0, "")


class TestSlot:
    """The worker's calls around the loading of the workload."""

    @pytest.fixture
    def slot(self, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
        def announce(slot: Slot) -> None:
            dispatcher.opening(slot._slot, PLACE)

        monkeypatch.setattr(Slot, "_announce", announce)
        keys = {"KEY_OF_DRIVER": "hush"}
        monkeypatch.setattr(Dispatcher, "keys", lambda self: keys, raising=False)
        monkeypatch.setenv("KEY_OF_DRIVER", "")
        yield Slot.__new__(Slot)

    def set_up(self, slot: Slot, workload: Any, dispatcher: Any) -> None:
        searcher = PointSearcher(dispatcher, "unembedding_lr", "matrix_lr")
        slot.setup(
            suggest(searcher, "a"),
            workload=workload,
            shared=Disc().prepare().shared,
            dispatcher=dispatcher,
            device="cpu",
            tiles_per_worker=None,
        )

    def test_a_worker_has_the_keys_before_it_opens_the_workload(
        self, slot: Slot, dispatcher: Dispatcher
    ) -> None:
        class Reader(Disc):
            def open(self, shared: Any, device: str) -> Disc:
                assert os.environ["KEY_OF_DRIVER"] == "hush"
                return super().open(shared, device)

        self.set_up(slot, Reader(), dispatcher)
        assert slot._unopened is None

    def test_a_loss_after_setup_is_the_fault_of_the_point(
        self, slot: Slot, dispatcher: Dispatcher
    ) -> None:
        self.set_up(slot, Disc(), dispatcher)
        dispatcher.release(0, LOST)
        assert dispatcher.progress().failures == 1

    def test_a_loss_after_a_reset_is_the_fault_of_the_point(
        self, slot: Slot, dispatcher: Dispatcher
    ) -> None:
        self.set_up(slot, Disc(), dispatcher)
        assert slot.step()["outcome"]
        reserved = reserve(dispatcher, 1)
        (point,) = reserved.points
        names = {"params": ["x", "y"], "x": point.x, "y": point.y}
        place = {"frame": 0, "level": 0, "ix": point.ix, "iy": point.iy}
        assert slot.reset_config({"slot": 1, "tile": reserved.id, **names, **place})
        dispatcher.release(1, LOST)
        assert dispatcher.progress().failures == 1

    def test_a_workload_that_does_not_open_is_not_reported_as_open(
        self, slot: Slot, dispatcher: Dispatcher
    ) -> None:
        self.set_up(slot, Unopenable(), dispatcher)
        dispatcher.release(0, LOST)
        progress = dispatcher.progress()
        assert (progress.failures, progress.done) == (0, 0)
