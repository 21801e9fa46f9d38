"""The suite for planners: ours pass it, and each check catches planners that break its rule."""

import importlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import is_yes
from fractal_ray.plane.outcome import STORED, Outcome
from fractal_ray.planners.base import Planner
from fractal_ray.planners.bisect import BisectPlanner, segments_in
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.listed import ListedPlanner
from fractal_ray.planners.pairs import PairPlanner
from fractal_ray.planners.program import Program
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.side_by_side import SideBySide
from fractal_ray.planners.transects import TransectPlanner
from fractal_ray.spec.planning import make_program
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.testing import check_planner
from fractal_ray.testing.check_planner import (
    CHECKS,
    OutcomeOf,
    PlannerMaker,
    check_ask,
    check_determinism,
    check_done,
    check_factory_is_picklable,
    check_failed_points,
    check_no_point_is_repeated,
    check_order_independence,
    check_resume,
    disc_in,
)
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.testing import broken_planners as broken
from tests.fractal_ray.testing.broken_planners import FRAME

TRAINABLE = partial(is_yes, boundary="trainable")

Check = Callable[[PlannerMaker, OutcomeOf], None]
BROKEN: list[tuple[Check, Callable[[], Planner], str]] = [
    (check_ask, broken.NoFrame, "`frame` is a Frame"),
    (check_ask, broken.ReturnsTuple, "a list of fractal_ray.Point"),
    (check_ask, broken.ReturnsTooMany, "found: 8 points for n = 7"),
    (check_ask, broken.HidesItsBacklog, "a backlog of 0"),
    (check_ask, broken.NeverEnds, "with no result missing and `done` false"),
    (check_no_point_is_repeated, broken.Repeats, "returns no point twice"),
    (check_done, broken.DoneTooEarly, "true with 5 results missing"),
    (check_done, broken.DoneWithBacklog, "asks for nothing"),
    (check_determinism, broken.Unseeded, "in the same order"),
    (check_determinism, broken.GrowsWithEachPlanner, "of one factory"),
    (check_factory_is_picklable, broken.unpicklable_factory(), "picklable"),
    (check_factory_is_picklable, broken.ForgetfulFactory(), "picklable"),
    (check_order_independence, broken.StopsAtDivergence, "does not depend on the order"),
    (check_order_independence, broken.FollowsTheLastResult, "does not depend on the order"),
    (check_resume, broken.SkipsEarlyResults, "the missing points and no other"),
    (check_failed_points, broken.WaitsForFailed, "does not stop the planner|for results"),
    (check_failed_points, broken.RefusesFailed, "KeyError"),
    (check_failed_points, broken.ReplacesFailed, "place in the order"),
]


def list_points() -> ListedPlanner:
    return ListedPlanner(FRAME, [FRAME.point(2, 3, 5), FRAME.point(0, 1, 1), FRAME.point(1, 5, 2)])


def bisect_disc() -> BisectPlanner:
    frame = Frame(0, FRAME.x, FRAME.y, 8, 8)
    outcome = disc_in(frame)
    labels = np.array(
        [[outcome(frame.point(0, ix, iy)) is Outcome.TRAINED for ix in range(9)] for iy in range(9)]
    ).astype(np.int8)
    differ = [
        (iy, ix)
        for iy in range(8)
        for ix in range(8)
        if len(np.unique(labels[iy : iy + 2, ix : ix + 2])) == 2
    ]
    return BisectPlanner(frame, segments_in(frame, 0, labels, differ[:3]), TRAINABLE)


def two_frames() -> SideBySide:
    other = Frame(1, FRAME.x, FRAME.y, 3, 2)
    return SideBySide([RefinePlanner(FRAME, 2, TRAINABLE), GridPlanner(other)])


def two_stages() -> Program:
    return Program(
        [("0:grid", partial(GridPlanner, FRAME)), ("1:pairs", partial(PairPlanner, FRAME, 5))]
    )


PLANNERS: dict[str, Callable[[], Planner]] = {
    "grid": partial(GridPlanner, FRAME),
    "refine": partial(RefinePlanner, FRAME, 3, TRAINABLE),
    "refine with halo 2 and audit": partial(RefinePlanner, FRAME, 2, TRAINABLE, halo=2, audit=0.2),
    "transects": partial(TransectPlanner, FRAME, 3, 6, 0, TRAINABLE, dense=4),
    "pairs": partial(PairPlanner, FRAME, 20),
    "listed": list_points,
    "bisect": bisect_disc,
    "side by side": two_frames,
    "program": two_stages,
}

STAGES: dict[str, list[dict[str, object]]] = {
    "refine": [{"grid": {"points": 7}}, {"refine": {"levels": 2}}],
    "densest zoom": [
        {"grid": {"points": 7}},
        {"refine": {"levels": 1}},
        {"zoom": {"points": 5, "factor": 4, "windows": 2}},
        {"transects": {"count": 2, "levels": 4, "dense": 3}},
    ],
    "chain of boundary points": [
        {"grid": {"points": 7}},
        {"zoom": {"points": 5, "factor": 4, "depth": 2, "pick": "boundary-point"}},
    ],
    "diverse chain": [
        {"grid": {"points": 9}},
        {"zoom": {"points": 5, "factor": 4, "depth": 2, "windows": 2, "pick": "diverse"}},
        {"pairs": {"count": 4}},
    ],
}


@pytest.mark.parametrize("name", PLANNERS)
def test_our_planners(name: str) -> None:
    check_planner(PLANNERS[name])


@pytest.mark.parametrize("name", STAGES)
def test_programs_of_specs(name: str) -> None:
    check_planner(partial(make_program, parse_spec(raw_spec(stages=STAGES[name]))))


def test_the_outcomes_may_be_given() -> None:
    def half(point: Point) -> Outcome:
        return Outcome.TRAINED if point.x < 0.1 else Outcome.DIVERGED

    check_planner(partial(RefinePlanner, FRAME, 2, TRAINABLE), half)


def name_of(entry: tuple[Check, Callable[[], Planner], str]) -> str:
    """Return the name of a broken planner's class or of its factory."""
    return getattr(entry[1], "__name__", type(entry[1]).__name__)


@pytest.mark.parametrize(
    ("check", "make", "message"),
    BROKEN,
    ids=map(name_of, BROKEN),
)
def test_each_check_catches_a_broken_planner(
    check: Check, make: Callable[[], Planner], message: str
) -> None:
    with pytest.raises(AssertionError, match=rf"^contract 1: .*({message}).*") as caught:
        check(make, disc_in(FRAME))
    assert "; found: " in str(caught.value)
    assert "; allowed: " in str(caught.value)
    with pytest.raises(AssertionError, match=r"^contract 1: "):
        check_planner(make, disc_in(FRAME))


def test_every_check_has_a_broken_planner() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


def test_a_correct_planner_passes_every_check() -> None:
    check_planner(broken.Grid)


def test_a_planner_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("fractal_ray.testing.check_planner")
    monkeypatch.setattr(module, "_MOST_POINTS", 10)
    with pytest.raises(AssertionError, match="a planner ends; found: 10 points"):
        check_planner(broken.Grid)


def test_outcomes_of_the_disc() -> None:
    frame = Frame(0, Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0), 10, 10)
    assert {disc_in(frame)(point) for point in frame.points()} == set(STORED)
