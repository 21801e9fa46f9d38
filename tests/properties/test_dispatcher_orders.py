"""Whatever happens to workers, in any order: every point ends exactly once, and nothing hangs."""

import itertools
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_ray.dataset.store import Store
from fractal_ray.engine.base import Place, RunFailure, Tile, TileResult, evaluate_tile
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.dispatcher import Dispatcher
from tests.fractal_ray.engine.test_dispatcher import Clock, make, worker

STEPS = 6000
NO_ROOM = RunFailure("OutOfMemoryError: no", "trace", "out_of_memory")


@dataclass
class Worker:
    """One slot: gone, loading, ready, or with a tile; the end of its process is reported later.

    With `trials: points` it has a number for each trial, and its tile before it comes up.
    """

    card: str
    number: int
    state: str = "gone"
    tile: Tile | None = None
    why: str = ""


class World:
    """Workers on few cards that are killed, hang or run out of memory, and their dispatcher.

    The dispatcher may be started again.
    """

    def __init__(self, draw: random.Random, folder: Path) -> None:
        self.draw, self.clock = draw, Clock()
        side = draw.choice([2, 4, 6])
        self.points = side * side
        self.budget = draw.choice([None, None, draw.randint(1, self.points)])
        self.greedy = {
            (draw.randrange(side), draw.randrange(side)) for _ in range(draw.choice([0, 1, 2]))
        }
        cards = draw.choice([1, 2])
        self.trials = draw.choice([False, False, True])
        self.numbers = itertools.count()
        self.workers = [
            Worker(f"card {k % cards}", next(self.numbers))
            for k in range(draw.choice([1, 2, 3, 4]))
        ]
        self.kills = draw.choice([0, 3, 8])
        self.failed_starts = 2  # one more in a row would end the sweep
        size = 1 if self.trials else draw.choice([None, 1, 3, 8])
        lease = draw.choice([None, 100.0])
        self.new = lambda: make(
            folder,
            side=side,
            clock=self.clock,
            points_per_tile=size,
            flush_seconds=0.0,
            lease_seconds=lease,
            budget=Budget(points=self.budget),
        )
        self.dispatcher: Dispatcher = self.new()

    def run(self) -> None:
        """Let random workers act until the sweep is over."""
        for _ in range(STEPS):
            if self.dispatcher.finished:
                return
            self.clock.now += 2 * self.draw.random()
            self.act(self.draw.choice(self.workers))
            if self.draw.random() < 0.002:
                self.dispatcher = self.new()
        raise AssertionError("the sweep does not end")

    def act(self, one: Worker) -> None:
        """Do one thing to one worker."""
        if one.state == "dead":
            self.dispatcher.release(one.number, "lost", one.why)  # type: ignore[arg-type]
            self.leave(one)
        elif one.state == "gone" and self.trials and one.tile is None:
            self.take(one, self.dispatcher.reserve(one.number))
            if one.tile is None:
                one.number = next(self.numbers)
        elif self.kills and self.draw.random() < 0.02:
            self.trouble(one)
        elif one.state == "gone":
            if self.dispatcher.opening(one.number, Place("node", one.card), one):
                one.state = "loading"
        elif one.state == "loading":
            self.dispatcher.opened(one.number)
            one.state = "ready"
        elif one.tile is None:
            self.take(one, self.dispatcher.take(one.number))
        else:
            self.work(one, one.tile)

    def trouble(self, one: Worker) -> None:
        """Kill a worker, or let the clock run so long that all tiles hang."""
        hang = one.state == "ready" and one.tile is not None and self.draw.random() < 0.5
        workers = self.workers if hang else [one]
        if starts := [each for each in workers if each.state in ("gone", "loading")]:
            if self.failed_starts < len(starts):
                return
            self.failed_starts -= len(starts)
        self.kills -= 1
        if hang:
            self.clock.now += 4000
            for hung in self.dispatcher.take_hung():
                hung.state, hung.why = "dead", "lost_worker"
        else:
            one.state = "dead"
            one.why = self.draw.choice(["lost_worker", "lost_node", "out_of_memory"])

    def work(self, one: Worker, tile: Tile) -> None:
        """Run a worker's tile; it runs out of memory at a greedy point unless it is alone."""
        lease = self.dispatcher._workers.leases.get(one.number)
        alone = lease is not None and lease.alone
        done = next(
            (k for k, p in enumerate(tile.points) if (p.ix, p.iy) in self.greedy and not alone),
            None,
        )
        if done is None:
            self.deliver(one, evaluate_tile(worker(), tile))
            return
        before = evaluate_tile(worker(), Tile(tile.id, tile.points[:done])).results
        result = TileResult(tile.id, before, 0.1, "host", "cpu", (done, NO_ROOM))
        self.dispatcher.deliver(one.number, result)
        self.dispatcher.retire(one.number)
        one.state, one.why = "dead", "lost_worker"

    def deliver(self, one: Worker, result: TileResult) -> None:
        """Deliver a result; then take the next tile, or end the trial."""
        if not self.trials:
            self.take(one, self.dispatcher.exchange(one.number, result))
            return
        self.dispatcher.deliver(one.number, result)
        self.dispatcher.retire(one.number)
        self.dispatcher.release(one.number, "the trial has ended")
        self.leave(one)

    def leave(self, one: Worker) -> None:
        """Let a worker's process end; the next trial has another number."""
        one.state, one.tile = "gone", None
        one.number = next(self.numbers) if self.trials else one.number

    def take(self, one: Worker, reply: object) -> None:
        one.tile = reply if isinstance(reply, Tile) else None


@settings(max_examples=60, derandomize=True)
@given(st.integers(0, 10**9))
def test_every_point_ends_once_whatever_happens_to_workers(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(random.Random(seed), Path(folder))
        world.run()
        progress = world.dispatcher.close()
        store = Store(folder)
        ids = store.read(["point_id"]).column("point_id").to_pylist()
        assert progress.error is None
        assert len(set(ids)) == len(ids)
        wanted = world.points if world.budget is None else world.budget
        assert len(ids) + progress.gave_up == wanted
