"""Conformance suite for planners: the contract of `fractal_ray/planners/base.py`.

Every check drives new planners from the factory through whole sweeps. The outcome of a point is a
function of the point alone, as it is for a workload.
"""

import pickle
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner
from fractal_ray.testing.contract import fail

PlannerMaker = Callable[[], Planner]
OutcomeOf = Callable[[Point], Outcome | None]

_MOST_POINTS = 100_000
_BATCHES = (1, 3, 17)


def check_planner(make: PlannerMaker, outcome: Callable[[Point], Outcome] | None = None) -> None:
    """Test a planner against the contract.

    Parameters
    ----------
    make
        Factory of new planners without arguments; picklable, because the cluster's dispatcher makes
        the planner again after a restart.
    outcome
        Outcome of each point; None for a disc in the middle of the planner's first frame, which
        trains, with a ring of diverged runs in the corners.

    Raises
    ------
    AssertionError
        For the first broken rule.

    Examples
    --------
    >>> from functools import partial
    >>> from fractal_ray import Axis, Frame
    >>> from fractal_ray.planners.grid import GridPlanner
    >>> from fractal_ray.testing import check_planner
    >>> side = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0)
    >>> check_planner(partial(GridPlanner, Frame(0, *side, cells_x=4, cells_y=4)))
    """
    outcome = outcome or disc_in(make().frame)
    for check in CHECKS:
        check(make, outcome)


def disc_in(frame: Frame) -> Callable[[Point], Outcome]:
    """Return outcomes that depend on a point's place in `frame`: a disc that trains."""

    def outcome(point: Point) -> Outcome:
        x, y = frame.x.fraction(point.x) - 0.5, frame.y.fraction(point.y) - 0.5
        radius = (x * x + y * y) ** 0.5
        if radius < 0.3:
            return Outcome.TRAINED
        return Outcome.NOT_IMPROVED if radius < 0.6 else Outcome.DIVERGED

    return outcome


# Checks, in the order in which `check_planner` runs them --------------------------------------


def check_factory_is_picklable(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that a pickled copy of the factory makes a planner that asks for the same points."""
    rule = "the factory of a planner is picklable"
    allowed = "a function or class of a module, or functools.partial of one with plain arguments"
    try:
        copy = pickle.loads(pickle.dumps(make))
    except Exception as error:
        fail(rule, found=f"{type(error).__name__}: {error}", allowed=allowed)
    _compare(rule, _Drive(make(), outcome).run(), _Drive(copy(), outcome).run())


def check_ask(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check `frame`, `backlog` and the list that `ask` returns, whenever a planner is asked."""
    planner = make()
    if not isinstance(planner.frame, Frame):
        fail("`frame` is a Frame", found=repr(planner.frame), allowed="fractal_ray.Frame")
    _Drive(planner, outcome, batch=7, strict=True).run()


def check_no_point_is_repeated(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that `ask` returns each point once."""
    points = _Drive(make(), outcome).run()
    counts = Counter(points)
    repeated = sorted((point for point in counts if counts[point] > 1), key=_address)
    if repeated:
        fail(
            "`ask` returns no point twice",
            found=f"{_some(repeated)} again",
            allowed="each point once, also where an earlier request has no result yet",
        )


def check_done(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that a planner is done when all results are in, not before, and then asks nothing."""
    rule = "`done` is true when every point has its result and none is left to ask for"
    planner = make()
    drive = _Drive(planner, outcome, batch=5)
    while drive.ask():
        if planner.done:
            fail(rule, found=f"true with {len(drive.out)} results missing", allowed="false")
        drive.tell()
    if planner.backlog or planner.ask(1):
        fail(
            "a planner that is done asks for nothing",
            found=f"a backlog of {planner.backlog}, or points",
            allowed="`ask` returns [] and `backlog` is 0 once `done` is true",
        )


def check_determinism(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that two planners of one factory ask for the same points in the same order."""
    rule = "two planners of one factory ask for the same points in the same order"
    first, second = (_Drive(make(), outcome, batch=4).run() for _ in range(2))
    _compare(rule, first, second)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one != other:
            fail(
                rule,
                found=f"request {number} is {one}, then {other}",
                allowed="no clock, no global state, random numbers from a fixed seed",
            )


def check_order_independence(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that neither the order of results nor the size of requests changes the points."""
    rule = "the set of points does not depend on the order of results or on the size of requests"
    reference = _Drive(make(), outcome).run()
    for batch in _BATCHES:
        _compare(rule, reference, _Drive(make(), outcome, batch=batch).run())
        for seed in range(3):
            shuffled = _Drive(make(), outcome, batch=batch, rng=random.Random(seed))
            _compare(rule, reference, shuffled.run())


def check_resume(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that a new planner that gets the known results runs exactly the missing points."""
    rule = "a new planner that gets the known results runs the missing points and no other"
    reference = _Drive(make(), outcome).run()
    for stop in sorted({0, 1, len(reference) // 3, 2 * len(reference) // 3, len(reference)}):
        before = _Drive(make(), outcome, batch=3, rng=random.Random(stop), most_results=stop)
        before.run()
        after = _Drive(make(), outcome, batch=3, known=set(before.results))
        after.run()
        _compare(rule, reference, [*before.results, *after.ran])


def check_failed_points(make: PlannerMaker, outcome: OutcomeOf) -> None:
    """Check that points that failed for good neither stop a planner nor make the order matter."""
    rule = "a point that is told as None does not stop the planner"

    def some_fail(point: Point) -> Outcome | None:
        failed = random.Random(repr((point.x, point.y))).random() < 0.3
        return None if failed else outcome(point)

    for outcomes in (some_fail, _all_fail):
        try:
            reference = _Drive(make(), outcomes).run()
            shuffled = _Drive(make(), outcomes, batch=5, rng=random.Random(1)).run()
        except AssertionError:
            raise
        except Exception as error:
            fail(
                rule,
                found=f"{type(error).__name__}: {error}",
                allowed="the planner goes on with the points that it can decide without it",
            )
        _compare(f"{rule}, and its place in the order does not matter", reference, shuffled)


CHECKS = (
    check_ask,
    check_no_point_is_repeated,
    check_done,
    check_determinism,
    check_factory_is_picklable,
    check_order_independence,
    check_resume,
    check_failed_points,
)
"""All checks, the simple rules first: each is a function of the factory and the outcomes."""


# A planner driven through a sweep -------------------------------------------------------------


@dataclass
class _Drive:
    """Run of one planner: requests of `batch` points, results in order or shuffled by `rng`.

    Points in `known` get their result as soon as they are asked for, as they do when a sweep
    resumes. `most_results` ends the run early.
    """

    planner: Planner
    outcome: OutcomeOf
    batch: int = 64
    rng: random.Random | None = None
    known: set[Point] = field(default_factory=set)
    most_results: int | None = None
    strict: bool = False
    points: list[Point] = field(default_factory=list)
    ran: list[Point] = field(default_factory=list)
    results: list[Point] = field(default_factory=list)
    out: list[Point] = field(default_factory=list)

    def run(self) -> list[Point]:
        """Return all points that the planner asked for, in the order of its requests."""
        while self.ask():
            self.tell()
        return self.points

    def ask(self) -> bool:
        """Ask once; return False at the end of the run."""
        if self.planner.done and not self.out:
            return False
        if self.most_results is not None and len(self.results) >= self.most_results:
            return False
        n = self.batch if self.rng is None else self.rng.randint(1, self.batch)
        backlog = self.planner.backlog
        points = self.planner.ask(n)
        if self.strict:
            _check_answer(points, n, backlog)
        if not points and not self.out:
            fail(
                "a planner that is not done has points to ask for or waits for results",
                found=f"`ask({n})` returned [] with no result missing and `done` false",
                allowed="`done` becomes true, or `ask` returns points",
            )
        self.points += points
        if len(self.points) > _MOST_POINTS:
            fail("a planner ends", found=f"{_MOST_POINTS:,} points", allowed="fewer")
        self.out += [point for point in points if point not in self.known]
        self.ran += [point for point in points if point not in self.known]
        if reused := [point for point in points if point in self.known]:
            self.planner.tell([(point, self.outcome(point)) for point in reused])
        return True

    def tell(self) -> None:
        """Tell results that are out: all of them in order, or some of them shuffled."""
        count = len(self.out)
        if self.rng is not None:
            self.rng.shuffle(self.out)
            count = self.rng.randint(min(1, count), count)
        if self.most_results is not None:
            count = min(count, self.most_results - len(self.results))
        batch, self.out = self.out[:count], self.out[count:]
        self.results += batch
        self.planner.tell([(point, self.outcome(point)) for point in batch])


def _check_answer(points: object, n: int, backlog: int) -> None:
    rule = "`ask(n)` returns a list of min(n, backlog) points"
    if not isinstance(points, list) or not all(isinstance(point, Point) for point in points):
        fail(rule, found=repr(points)[:200], allowed="a list of fractal_ray.Point")
    if len(points) != min(n, backlog):
        fail(
            rule,
            found=f"{len(points)} points for n = {n} and a backlog of {backlog}",
            allowed=f"{min(n, backlog)} points",
        )


def _compare(rule: str, reference: Sequence[Point], points: Sequence[Point]) -> None:
    """Fail where two runs did not end with the same set of points."""
    missing = sorted(set(reference) - set(points), key=_address)
    extra = sorted(set(points) - set(reference), key=_address)
    if missing or extra:
        fail(
            rule,
            found=f"without {_some(missing)}, and with {_some(extra)} besides",
            allowed="the points of the first run",
        )
    if len(points) != len(set(points)):
        fail(rule, found="points that ran twice", allowed="each point once")


def _address(point: Point) -> tuple[int, int, int, int]:
    return point.frame, point.level, point.iy, point.ix


def _some(points: list[Point]) -> str:
    """Name the first of `points`."""
    if not points:
        return "no point"
    more = f" and {len(points) - 1:,} more" if len(points) > 1 else ""
    return f"{points[0]}{more}"


def _all_fail(point: Point) -> None:
    """Return None, the result of a point that has failed for good."""
