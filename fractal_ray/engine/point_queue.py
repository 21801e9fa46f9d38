"""The points of a sweep on their way from the planner to a result.

The planner names points. A point in the dataset is answered at once; another one is pending until
it has an outcome or is given up. Pending points run, wait for a retry, or are held because the
budget has no room for them.
"""

from collections import deque

import numpy as np
import pyarrow as pa

from fractal_ray.dataset.relabel import outcomes_by_id
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.retries import PendingPoint, Retries
from fractal_ray.engine.tally import Tally
from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import PointIdentity
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.planners.program import Program


class PointQueue:
    """Source of the points to run, and receiver of their outcomes.

    Parameters
    ----------
    spec
        Identity, label rule and budget of the sweep.
    program
        The planner.
    rows
        Rows of the dataset with columns point_id, stage, seconds and `RULE_COLUMNS`.
    """

    def __init__(self, spec: DispatcherSpec, program: Program, rows: pa.Table) -> None:
        self._budget = spec.budget
        self._program = program
        self._rule = spec.rule
        self._identity = PointIdentity(spec.fingerprint, spec.recipe, spec.x_param, spec.y_param)
        self._outcomes: dict[str, Outcome] = outcomes_by_id(rows, spec.rule)
        self._training_seconds = float(np.sum(rows.column("seconds").to_numpy()))
        self._pending: dict[str, PendingPoint] = {}
        self._held: deque[PendingPoint] = deque()  # the budget has no room for them
        self.retries = Retries(spec.max_attempts)
        self.tally = Tally()
        self.tally.reused = len(self._outcomes)
        stages = zip(
            *(rows.column(name).to_pylist() for name in ("point_id", "stage")), strict=True
        )
        for point_id, stage in stages:
            self.tally.add_run(point_id, stage, self._outcomes[point_id])

    @property
    def resumed(self) -> bool:
        """True if the dataset has rows, or a point has finished."""
        return bool(self._outcomes)

    @property
    def done(self) -> bool:
        """True if the planner is done and no point is pending."""
        return not self.retries and not self._pending and self._program.done

    @property
    def pending(self) -> int:
        """Number of points that the planner has asked for and that have no outcome yet."""
        return len(self._pending)

    @property
    def running(self) -> int:
        """Number of pending points that do not wait for a retry."""
        return len(self._pending) - len(self.retries)

    def is_spent(self, *, leases: bool) -> bool:
        """Return True if the budget forbids every point that is left.

        Parameters
        ----------
        leases
            True while workers hold tiles.
        """
        return bool(self._held) and not leases and not self.retries and self._room() == 0

    def take(self, n: int, tiles: int, now: float) -> list[PendingPoint]:
        """Return up to `n` points to run, and hold those that the budget has no room for.

        Parameters
        ----------
        n
        tiles
            Number of tiles handed out so far.
        now
            Time of the dispatcher's clock.
        """
        points = self._collect(n, tiles, now)
        room = self._room(len(points))
        if room is not None:
            self.put_back(points[room:])
        return points[:room]

    def put_back(self, points: list[PendingPoint]) -> None:
        """Hold points that were taken; the next call of `take` returns them first."""
        self._held.extendleft(reversed(points))

    def succeed(self, pending: PendingPoint, record: RunRecord) -> None:
        """Remember a finished run and answer the planner."""
        point = pending.point
        outcome = self._rule.outcome(
            record.outcome, record.losses, point.x, point.y, record.val_loss
        )
        self._training_seconds += record.seconds
        del self._pending[pending.id]
        self._outcomes[pending.id] = outcome
        self.tally.add_run(pending.id, pending.stage, outcome)
        self._answer(pending.id, [point, *pending.aliases], outcome)

    def give_up(self, pending: PendingPoint) -> None:
        """Answer the planner that a point has no outcome."""
        del self._pending[pending.id]
        self._program.tell([(point, None) for point in (pending.point, *pending.aliases)])
        self.tally.give_up(pending.id)

    def _room(self, taken: int = 0) -> int | None:
        """Return how many points the budget allows besides those that run; None for any number.

        `taken` points are pending but do not run yet, so they do not count as running.
        """
        begun = len(self._outcomes) + len(self._pending) - len(self._held) - taken
        return self._budget.room(begun, self._training_seconds)

    def _collect(self, n: int, tiles: int, now: float) -> list[PendingPoint]:
        """Return up to `n` points without an outcome; answer the planner for the others."""
        if due := self.retries.take(tiles, now):
            return due
        pending = [self._held.popleft() for _ in range(min(n, len(self._held)))]
        while len(pending) < n:
            stage = self._program.stage
            points = self._program.ask(n - len(pending))
            if not points:
                break
            admitted = (self._admit(point, stage) for point in points)
            pending += [entry for entry in admitted if entry is not None]
        return pending or self.retries.take(tiles, now, early=True)

    def _admit(self, point: Point, stage: str) -> PendingPoint | None:
        """Return a new pending point; None for one that has an outcome or is pending already."""
        point_id = self._identity(point)
        if point_id in self._outcomes:
            self._answer(point_id, [point], self._outcomes[point_id])
            return None
        if point_id in self._pending:
            self._pending[point_id].aliases.append(point)
            return None
        pending = self._pending[point_id] = PendingPoint(point, point_id, stage)
        return pending

    def _answer(self, point_id: str, points: list[Point], outcome: Outcome) -> None:
        # Read before the answer, which may end the stage.
        stage, frames = self._program.stage, self._program.frames
        told = self._rule.told(outcome)
        self._program.tell([(point, told) for point in points])
        for point in points:
            self.tally.answer(point_id, stage, frames, point, outcome)
