"""Pairs: their places, their counts, and the dimensions that they measure."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.pairs import FINEST, Disagreements, PairPlanner, disagreements
from fractal_ray.workloads.maps.known_sets import known_set

UNIT = Frame(0, Axis("a", "linear", 0.0, 1.0), Axis("b", "linear", 0.0, 1.0), 1, 1)
LOG = Frame(3, Axis("a", "log", 1e-6, 1e-1), Axis("b", "log", 1e-3, 1.0), 4, 4)


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def all_points(planner: Planner) -> list[Point]:
    points = planner.ask(planner.backlog)
    planner.tell([(point, None) for point in points])
    assert planner.done
    return points


def unit(points: list[Point], frame: Frame) -> np.ndarray:
    """Compute (pairs, 2 ends, 2 sides) unit coordinates."""

    def along(axis: Axis, value: float) -> float:
        place = math.log if axis.scale == "log" else float
        return (place(value) - place(axis.min)) / (place(axis.max) - place(axis.min))

    flat = [(along(frame.x, point.x), along(frame.y, point.y)) for point in points]
    return np.array(flat).reshape(-1, 2, 2)


@pytest.mark.parametrize("frame", [UNIT, LOG])
def test_pairs_lie_in_the_frame_at_their_distance(frame: Frame) -> None:
    points = all_points(PairPlanner(frame, 200, [1, 4, 12], 5))
    assert all(frame.x.min <= point.x <= frame.x.max for point in points)
    assert all(frame.y.min <= point.y <= frame.y.max for point in points)
    assert len({(point.level, point.ix, point.iy) for point in points}) == len(points) == 1200
    ends = unit(points, frame)
    distance = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    expected = [2.0**-point.level for point in points[::2]]
    assert distance == pytest.approx(expected, abs=1e-12)
    assert [(p.level, p.ix) for p in points[::2]] == [(p.level, p.ix) for p in points[1::2]]


def test_first_ends_and_directions_are_uniform() -> None:
    ends = unit(all_points(PairPlanner(UNIT, 4000, [6])), UNIT)
    # Three standard errors of 4000 draws over 16 squares and 8 directions, near enough.
    squares, _, _ = np.histogram2d(*ends[:, 0].T, bins=4, range=[[0, 1], [0, 1]])
    assert np.abs(squares / 250 - 1).max() < 0.2
    dx, dy = (ends[:, 1] - ends[:, 0]).T
    directions, _ = np.histogram(np.arctan2(dy, dx), bins=8, range=(-np.pi, np.pi))
    assert np.abs(directions / 500 - 1).max() < 0.14


def test_a_seed_gives_its_pairs_and_more_keeps_them() -> None:
    points = all_points(PairPlanner(LOG, 20, [3, 5], 1))
    assert points == all_points(PairPlanner(LOG, 20, [3, 5], 1))
    assert set(points) < set(all_points(PairPlanner(LOG, 30, [4, 5, 3], 1)))
    assert not {(p.x, p.y) for p in points} & {
        (p.x, p.y) for p in all_points(PairPlanner(LOG, 20, [3, 5], 2))
    }


def test_pairs_depend_on_where_a_frame_is_and_not_on_its_number() -> None:
    places = [(p.x, p.y) for p in all_points(PairPlanner(LOG, 5))]
    again = Frame(9, LOG.x, LOG.y, 64, 64)
    assert [(p.x, p.y) for p in all_points(PairPlanner(again, 5))] == places
    zoomed = Frame(3, LOG.x, Axis("b", "log", 1e-3, 0.5), 4, 4)
    assert not {p.x for p in all_points(PairPlanner(zoomed, 5))} & {x for x, _ in places}


def test_values_are_these_bits_everywhere() -> None:
    first, second = PairPlanner(LOG, 1, [7], 0).ask(2)
    assert (first.x.hex(), first.y.hex()) == ("0x1.f7d9c8fd4e400p-20", "0x1.4c2b8232c1b99p-2")
    assert (second.x.hex(), second.y.hex()) == ("0x1.e36a023274038p-20", "0x1.5c7893c9b57a5p-2")


def test_all_distances_advance_alike() -> None:
    levels = [point.level for point in PairPlanner(UNIT, 50).ask(100)]
    assert [levels.count(k) for k in range(3, 13)] == [10] * 10


def test_disagreements_count_whole_pairs_only() -> None:
    def end(level: int, number: int, which: int) -> Point:
        return Point(0, level, number, which, 0.0, 0.0)

    yes, no, diverged = Outcome.TRAINED, Outcome.NOT_IMPROVED, Outcome.DIVERGED
    results: list[Result] = [
        (end(5, 0, 1), no),
        (end(3, 0, 0), yes),
        (end(3, 0, 1), no),
        (end(3, 1, 0), no),
        (end(3, 1, 1), diverged),
        (end(3, 2, 0), yes),
        (end(3, 2, 1), None),
        (end(3, 3, 0), None),
        (end(3, 3, 1), None),
        (end(5, 0, 0), yes),
        (end(6, 0, 0), yes),
    ]
    expected = [Disagreements(3, 2, 1), Disagreements(5, 1, 1), Disagreements(6, 0, 0)]
    assert disagreements(results, trained) == expected
    assert disagreements(results[::-1], trained) == expected

    def stable(outcome: Outcome) -> bool:
        return outcome is not diverged

    assert disagreements(results, stable)[0] == Disagreements(3, 2, 1)
    assert disagreements(results, stable)[1] == Disagreements(5, 1, 0)


@pytest.mark.parametrize("name", ["disc", "weierstrass", "basilica"])
def test_dimension_within_a_twentieth_at_60_000_runs(name: str) -> None:
    known = known_set(name)
    left, right, low, high = known.window
    frame = Frame(0, Axis("x", "linear", left, right), Axis("y", "linear", low, high), 1, 1)
    points = PairPlanner(frame, 3000).ask(60_000)
    x, y = np.array([(point.x, point.y) for point in points]).T
    outcomes = [Outcome.TRAINED if one else Outcome.DIVERGED for one in known.trained(x, y)]
    found = disagreements(zip(points, outcomes, strict=True), trained)
    assert [one.known for one in found] == [3000] * 10
    level, share = np.array([(k.level, k.disagree / 3000) for k in found if k.disagree]).T
    weight = np.sqrt(share / (1 - share))
    alpha = -np.polyfit(level, np.log2(share), 1, w=weight)[0]
    assert 2 - alpha == pytest.approx(known.dimension, abs=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairPlanner(UNIT, 0), "count must be at least 1"),
        (lambda: PairPlanner(UNIT, 1, []), "must not be empty or repeat"),
        (lambda: PairPlanner(UNIT, 1, [3, 3]), "must not be empty or repeat"),
        (lambda: PairPlanner(UNIT, 1, [0, 3]), "1 to 48"),
        (lambda: PairPlanner(UNIT, 1, [FINEST + 1]), "1 to 48"),
        (
            lambda: PairPlanner(Frame(0, Axis("n", "linear", 1, 9, True), UNIT.y, 1, 1), 1),
            "pairs need axes that take any value in between; n takes whole",
        ),
    ],
)
def test_refusals(make: Callable[[], PairPlanner], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
