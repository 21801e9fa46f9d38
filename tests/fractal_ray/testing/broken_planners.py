"""Planners that break one rule of the contract each."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Result
from fractal_ray.planners.grid import GridPlanner

FRAME = Frame(0, Axis("x", "linear", -1.0, 1.0), Axis("y", "log", 1e-3, 1.0), 4, 3)


class Grid(GridPlanner):
    """The grid of `FRAME`, which keeps the contract."""

    def __init__(self) -> None:
        super().__init__(FRAME)


# `frame`, `backlog` and `ask` -----------------------------------------------------------------


class NoFrame(Grid):
    def __init__(self) -> None:
        super().__init__()
        self.frame: Any = "the frame"


class ReturnsTuple(Grid):
    def ask(self, n: int) -> Any:
        return tuple(super().ask(n))


class ReturnsTooMany(Grid):
    def ask(self, n: int) -> list[Point]:
        return super().ask(n + 1)


class HidesItsBacklog(Grid):
    """A planner that has points to ask for and reports none."""

    def __init__(self) -> None:
        super().__init__()
        self._left = self.backlog
        self.backlog = 0

    @property
    def done(self) -> bool:
        return not self._left and not self._waiting

    def ask(self, n: int) -> list[Point]:
        self.backlog = self._left
        points = super().ask(n)
        self._left, self.backlog = self.backlog, 0
        return points


class Repeats(Grid):
    """A planner that asks for the first corner again at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._todo = itertools.chain(FRAME.points(), [FRAME.point(0, 0, 0)])
        self.backlog += 1


class NeverEnds(Grid):
    """A planner that waits for results that it already has."""

    @property
    def done(self) -> bool:
        return False


# `done` ---------------------------------------------------------------------------------------


class DoneTooEarly(Grid):
    """A planner that is done when it has asked for all points, before their results."""

    @property
    def done(self) -> bool:
        return not self.backlog


class DoneWithBacklog(Grid):
    """A planner that is done after ten results and still has points to ask for."""

    @property
    def done(self) -> bool:
        return len(self.results) >= 10 and not self._waiting


# Determinism and pickling ---------------------------------------------------------------------


class Unseeded(Grid):
    """A planner that asks in the order of random numbers without a seed."""

    def __init__(self) -> None:
        super().__init__()
        points = list(FRAME.points())
        random.SystemRandom().shuffle(points)
        self._todo = iter(points)


class GrowsWithEachPlanner(Grid):
    """A planner that leaves out none, one or two points, in turn."""

    planners = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        left_out = next(self.planners) % 3
        self._todo = itertools.islice(FRAME.points(), left_out, None)
        self.backlog -= left_out


def unpicklable_factory() -> Any:
    """Return a factory that pickle refuses."""
    return lambda: Grid()


class Reduced(Grid):
    """A planner that leaves out a row once its pickled factory is read again."""

    def __init__(self, rows: int = 3) -> None:
        GridPlanner.__init__(self, Frame(0, FRAME.x, FRAME.y, 4, rows))


class ForgetfulFactory:
    """A factory that loses its setting on the way to another process."""

    rows = 3

    def __getstate__(self) -> dict[str, Any]:
        return {"rows": 2}

    def __call__(self) -> Reduced:
        return Reduced(self.rows)


# Order, resume and failures -------------------------------------------------------------------


class StopsAtDivergence(Grid):
    """A planner that asks for no more points once a run has diverged."""

    def tell(self, results: Sequence[Result]) -> None:
        super().tell(results)
        if any(outcome is Outcome.DIVERGED for _, outcome in results):
            self.backlog, self._todo = 0, iter(())


class FollowsTheLastResult(Grid):
    """A planner that asks for one finer point beside the last result that it is told."""

    def tell(self, results: Sequence[Result]) -> None:
        super().tell(results)
        if not self.backlog and not self._waiting and results[-1][0].level == 0:
            last = results[-1][0]
            finer = FRAME.point(1, 2 * last.ix, max(1, 2 * last.iy - 1))
            self._todo, self.backlog = iter([finer]), 1


class SkipsEarlyResults(Grid):
    """A planner that stops if a result comes while it has asked for few points."""

    def tell(self, results: Sequence[Result]) -> None:
        super().tell(results)
        if len(results) == 1 and self.backlog > 10:
            self.backlog, self._todo = 0, iter(())


class WaitsForFailed(Grid):
    """A planner that waits for ever for a point that has failed."""

    def tell(self, results: Sequence[Result]) -> None:
        super().tell([result for result in results if result[1] is not None])


class RefusesFailed(Grid):
    """A planner that raises for a point that has failed."""

    def tell(self, results: Sequence[Result]) -> None:
        labels = {Outcome.TRAINED: 1, Outcome.NOT_IMPROVED: 0, Outcome.DIVERGED: 0}
        [labels[outcome] for _, outcome in results]  # type: ignore[index]
        super().tell(results)


class ReplacesFailed(Grid):
    """A planner that asks for another point in place of the first that failed."""

    replaced = False

    def tell(self, results: Sequence[Result]) -> None:
        super().tell(results)
        for point, outcome in results:
            if outcome is None and not self.replaced:
                other = FRAME.point(2, 4 * point.ix, max(1, 4 * point.iy - 1))
                self._todo, self.backlog = itertools.chain(self._todo, [other]), self.backlog + 1
                self.replaced = True
