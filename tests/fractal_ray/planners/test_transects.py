"""Transects: their places, bisection and counts, and the dimensions that they measure."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.transects import ChordFlips, TransectPlanner, count_flips
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import KnownSet

UNIT = Frame(0, Axis("a", "linear", 0.0, 1.0), Axis("b", "linear", 0.0, 1.0), 1, 1)
LOG = Frame(3, Axis("a", "log", 1e-6, 1e-1), Axis("b", "log", 1e-3, 1.0), 4, 4)
ROUGH = known_set("weierstrass")


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def frame_of(known: KnownSet) -> Frame:
    left, right, low, high = known.window
    return Frame(0, Axis("x", "linear", left, right), Axis("y", "linear", low, high), 1, 1)


def on(known: KnownSet, count: int, levels: int, seed: int = 0, **more: Any) -> TransectPlanner:
    return TransectPlanner(frame_of(known), count, levels, seed, trained, **more)


def answers(known: KnownSet, points: list[Point]) -> list[Result]:
    x, y = np.array([(point.x, point.y) for point in points]).T
    return [
        (point, Outcome.TRAINED if inside else Outcome.DIVERGED)
        for point, inside in zip(points, known.trained(x, y), strict=True)
    ]


def run(planner: Planner, known: KnownSet, failing: Callable[[Point], bool] | None = None):
    """Run a planner and return every point that it asks for."""
    asked: list[Point] = []
    while not planner.done:
        points = planner.ask(1000)
        asked += points
        planner.tell(
            [
                (point, None if failing and failing(point) else outcome)
                for point, outcome in answers(known, points)
            ]
        )
    return asked


def dimension(flips: ChordFlips) -> float:
    """Estimate D = 1 + slope of log2 N(n): least squares, Poisson weights, from level 4 on."""
    count = flips.estimate.sum(axis=0)[4:]
    levels = np.arange(4, 4 + count.size)
    return 1 + float(np.polyfit(levels, np.log2(count), 1, w=np.sqrt(count))[0])


@pytest.mark.parametrize("name", ["disc", "weierstrass", "basilica"])
def test_dimension_within_a_twentieth_at_60_000_runs(name: str) -> None:
    known = known_set(name)
    planner = on(known, 100, 13)
    assert len(run(planner, known)) < 70_000
    assert dimension(count_flips(planner)) == pytest.approx(known.dimension, abs=0.05)


def test_bisecting_flips_alone_finds_nothing_new() -> None:
    """Show the need for the audit: of an interval that flips, just one half flips."""
    planner = on(ROUGH, 20, 12, audit=1e-9)
    run(planner, ROUGH)
    found = count_flips(planner).found.sum(axis=0)
    assert found[7] > 100
    assert (found[7:] == found[7]).all()


def test_estimates_have_the_right_mean() -> None:
    truth, estimate, found = [], [], []
    for seed in range(40):
        full, part = on(ROUGH, 4, 9, seed, dense=9), on(ROUGH, 4, 9, seed, dense=4)
        for planner in (full, part):
            run(planner, ROUGH)
        truth.append(count_flips(full).found[:, 9].sum())
        estimate.append(count_flips(part).estimate[:, 9].sum())
        found.append(count_flips(part).found[:, 9].sum())
    error = np.array(estimate) - truth
    assert abs(error.mean()) < 2 * error.std() / np.sqrt(40)
    assert error.std() < np.mean(truth)
    assert np.mean(found) < np.mean(truth) / 2  # a bound, and how low a one


@pytest.mark.parametrize("how", [{"dense": 8}, {"dense": 2, "audit": 1.0}])
def test_all_positions_give_the_counts_of_the_whole_line(how: dict[str, Any]) -> None:
    planner = on(ROUGH, 3, 8, **how)
    points = run(planner, ROUGH)
    assert len(points) == 3 * 257
    flips = count_flips(planner)
    labels = np.zeros((3, 257), dtype=bool)
    for point, outcome in answers(ROUGH, points):
        labels[point.ix, point.iy << 8 - point.level] = outcome is Outcome.TRAINED
    for level in range(9):
        line = labels[:, :: 256 >> level]
        assert (flips.found[:, level] == (line[:, 1:] != line[:, :-1]).sum(axis=1)).all()
    assert (flips.estimate == flips.found).all()
    assert not flips.undecided.any()


@pytest.mark.parametrize("frame", [UNIT, LOG])
def test_positions_are_evenly_spaced_from_rim_to_rim(frame: Frame) -> None:
    points = TransectPlanner(frame, 40, 3, 2, trained).ask(1000)
    assert len({(p.level, p.ix, p.iy) for p in points}) == len(points) == 40 * 9
    for number in range(40):
        chord = sorted(
            (point.iy << 3 - point.level, point.x, point.y)
            for point in points
            if point.ix == number
        )
        _, x, y = np.array(chord).T
        assert ({x[0], x[-1]} & {frame.x.min, frame.x.max}) | (
            {y[0], y[-1]} & {frame.y.min, frame.y.max}
        )
        for axis, value in ((frame.x, x), (frame.y, y)):
            assert ((axis.min <= value) & (value <= axis.max)).all()
            place = np.log(value) if axis.scale == "log" else value
            assert place == pytest.approx(np.linspace(place[0], place[-1], 9), abs=1e-12)


def test_positions_are_uniform_in_the_frame() -> None:
    points = TransectPlanner(UNIT, 2000, 4, 0, trained).ask(200_000)
    x, y = np.array([(point.x, point.y) for point in points if point.level == 4]).T
    squares, _, _ = np.histogram2d(x, y, bins=4, range=[[0, 1], [0, 1]])
    # Three standard errors, found by other seeds, of a square's share.
    assert np.abs(squares / x.size * 16 - 1).max() < 0.14


def test_a_seed_gives_its_chords_and_more_keeps_every_position() -> None:
    few = set(run(on(ROUGH, 3, 9, 1, dense=4), ROUGH))
    assert few == set(run(on(ROUGH, 3, 9, 1, dense=4), ROUGH))
    assert few < set(run(on(ROUGH, 4, 11, 1, dense=4), ROUGH))
    other = set(run(on(ROUGH, 3, 9, 2, dense=4), ROUGH))
    assert not {(p.x, p.y) for p in few} & {(p.x, p.y) for p in other}


def test_values_are_these_bits_everywhere() -> None:
    points = TransectPlanner(LOG, 2, 2, 0, trained).ask(100)
    assert [(p.x.hex(), p.y.hex()) for p in points if p.level == 2 and p.ix == 1] == [
        ("0x1.b3a6d3701617fp-20", "0x1.6c310e3769f3fp-3"),
        ("0x1.3f815282d7607p-20", "0x1.7089380241edfp-8"),
    ]


def test_coarse_positions_come_first_and_deep_ones_need_not_wait() -> None:
    planner = on(ROUGH, 8, 10, dense=3)
    first = planner.ask(1000)
    assert [p.level for p in first] == sorted(p.level for p in first)
    assert planner.ask(1) == []
    planner.tell(answers(ROUGH, first[: len(first) // 2 + 30]))
    deeper = planner.ask(1000)
    assert {p.level for p in deeper} == {4}
    planner.tell(answers(ROUGH, deeper))
    assert {p.level for p in planner.ask(1000)} == {5}
    assert planner.complete == 2


def test_a_stage_that_is_stopped_keeps_its_complete_levels() -> None:
    planner, whole = on(ROUGH, 8, 12), on(ROUGH, 8, 12)
    run(whole, ROUGH)
    reached = [planner.complete]
    while not planner.done:
        planner.tell(answers(ROUGH, planner.ask(100)))
        reached.append(planner.complete)
        part, full = count_flips(planner), count_flips(whole)
        width = planner.complete + 1
        assert part.found.shape == (8, width)
        assert (part.found == full.found[:, :width]).all()
        assert (part.estimate == full.estimate[:, :width]).all()
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (-1, 12)
    assert len(set(reached)) > 8


def test_a_failure_is_neither_agreement_nor_flip() -> None:
    failed = on(ROUGH, 3, 9, dense=4)
    run(failed, ROUGH, failing=lambda point: True)
    flips = count_flips(failed)
    assert not flips.found.any()
    assert not flips.estimate.any()
    assert (flips.undecided[:, :5] == 2.0 ** np.arange(5)).all()


def test_what_a_failure_hides_is_confined_to_its_neighbours() -> None:
    def middle(point: Point) -> bool:
        return (point.level, point.ix, point.iy) == (3, 1, 3)

    planner, whole = on(ROUGH, 2, 12, dense=4), on(ROUGH, 2, 12, dense=4)
    run(planner, ROUGH, failing=middle)
    run(whole, ROUGH)
    flips = count_flips(planner)
    assert flips.undecided[0].tolist() == [0] * 13
    assert flips.undecided[1].tolist() == [0] * 3 + [2] * 10
    assert (flips.found[1, :5] <= count_flips(whole).found[1, :5]).all()


def test_a_result_must_have_been_asked_for() -> None:
    planner = TransectPlanner(UNIT, 1, 3, 0, trained)
    point, *others = planner.ask(2)
    planner.tell([(point, Outcome.TRAINED)])
    stranger = Point(1, *[getattr(others[0], key) for key in ("level", "ix", "iy", "x", "y")])
    for wrong in (point, stranger):
        with pytest.raises(ValueError, match="was not requested, or already has a result"):
            planner.tell([(wrong, Outcome.TRAINED)])


WHOLE = Frame(0, Axis("n", "linear", 1, 9, True), UNIT.y, 1, 1)


@pytest.mark.parametrize(
    ("frame", "count", "levels", "more", "message"),
    [
        (UNIT, 0, 5, {}, "count must be at least 1"),
        (UNIT, 1, 0, {}, "levels must be 1 to 48"),
        (UNIT, 1, 49, {}, "levels must be 1 to 48"),
        (UNIT, 1, 5, {"dense": -1}, "dense must be at least 0"),
        (UNIT, 1, 5, {"audit": 0.0}, "audit is a share above 0"),
        (UNIT, 1, 5, {"audit": 1.5}, "audit is a share above 0"),
        (WHOLE, 1, 5, {}, "transects need axes that take any value in between; n takes whole"),
    ],
)
def test_refusals(frame: Frame, count: int, levels: int, more: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        TransectPlanner(frame, count, levels, 0, trained, **more)
