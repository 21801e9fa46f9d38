"""Estimators on sets of known dimension: their values and the coverage of their intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractal_ray.dimension import box_dimension as boxes
from fractal_ray.dimension import dilation, levels, transects, uncertainty
from fractal_ray.dimension import function_lines as lines
from fractal_ray.dimension.audit import audit_report
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.pairs import Disagreements, PairPlanner, disagreements
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.transects import ChordFlips, TransectPlanner, count_flips
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import KnownSet

# A window whose width is no whole period: lines of the set's own window lie at multiples of 2**-n,
# where all finer terms of the sum are equal.
SHIFTED = (0.1, 0.8, -0.5, 0.5)
WIDE = (0.0, 16.0, 0.0, 16.0)


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def frame_of(window: tuple[float, float, float, float], cells: int = 1) -> Frame:
    left, right, low, high = window
    return Frame(0, Axis("x", "linear", left, right), Axis("y", "linear", low, high), cells, cells)


def run(planner: Planner, known: KnownSet) -> list[Result]:
    results: list[Result] = []
    while not planner.done:
        points = planner.ask(4096)
        x, y = np.array([(point.x, point.y) for point in points]).T
        told = [
            (point, Outcome.TRAINED if inside else Outcome.DIVERGED)
            for point, inside in zip(points, known.trained(x, y).tolist(), strict=True)
        ]
        planner.tell(told)
        results += told
    return results


def raster(known: KnownSet, points: int, window: Any = None) -> np.ndarray:
    left, right, low, high = window or known.window
    x, y = np.meshgrid(np.linspace(left, right, points), np.linspace(low, high, points))
    return known.trained(x, y).astype(np.int8)


def value(found: Estimate) -> float:
    assert found.value is not None, found.warnings
    return found.value


def holds(found: Estimate, truth: float) -> bool:
    assert found.interval is not None, found.warnings
    return found.interval[0] - 1e-9 <= truth <= found.interval[1] + 1e-9


# Tolerances: twice the root mean square error of benchmarks/dimension.py --coverage, near enough.
@pytest.mark.parametrize(
    ("name", "parameters", "window", "tolerance"),
    [
        ("disc", {}, None, 0.003),
        ("line", {}, None, 1e-9),
        ("basilica", {}, None, 0.02),
        ("rabbit", {}, None, 0.02),
        ("weierstrass", {}, SHIFTED, 0.02),
        ("weierstrass", {"stretch_y": 1 / 0.85}, SHIFTED, 0.02),
        ("fbm", {"hurst": 0.8}, WIDE, 0.025),
        ("fbm", {"hurst": 0.5}, WIDE, 0.02),
        ("fbm", {"hurst": 0.2}, WIDE, 0.02),
    ],
)
def test_recommended_estimator_is_within_a_fiftieth(
    name: str, parameters: dict[str, Any], window: Any, tolerance: float
) -> None:
    known = known_set(name, parameters)
    truth = known.dimension
    assert truth is not None
    found = transects.from_label(known.trained, window or known.window, seed=3)
    assert value(found) == pytest.approx(truth, abs=tolerance)
    assert holds(found, truth)
    assert found.warnings == ()


def repeats(estimate: Callable[[int], Estimate], truth: float, count: int) -> int:
    return sum(holds(estimate(seed), truth) for seed in range(count))


@pytest.mark.parametrize("estimator", [transects.from_label, uncertainty.from_label])
@pytest.mark.parametrize(("name", "truth"), [("disc", 1.0), ("basilica", 1.2683)])
def test_intervals_hold_the_truth_at_6_000_labels(
    estimator: Callable[..., Estimate], name: str, truth: float
) -> None:
    known = known_set(name)
    more = {"levels": 11} if estimator is transects.from_label else {"distances": range(4, 9)}

    def once(seed: int) -> Estimate:
        return estimator(known.trained, known.window, labels=6000, seed=seed, **more)

    assert repeats(once, truth, 40) >= 36


@pytest.mark.slow
@pytest.mark.parametrize("labels", [16_384, 262_144])
@pytest.mark.parametrize("estimator", [transects.from_label, uncertainty.from_label])
@pytest.mark.parametrize(
    ("name", "parameters", "window"),
    [
        ("disc", {}, None),
        ("basilica", {}, None),
        ("rabbit", {}, None),
        ("weierstrass", {}, SHIFTED),
        ("weierstrass", {"stretch_y": 1 / 0.85}, SHIFTED),
        ("fbm", {"hurst": 0.8}, WIDE),
        ("fbm", {"hurst": 0.5}, WIDE),
        ("fbm", {"hurst": 0.2}, WIDE),
    ],
)
def test_intervals_hold_the_truth_in_90_of_100_repeats(
    name: str,
    parameters: dict[str, Any],
    window: Any,
    estimator: Callable[..., Estimate],
    labels: int,
) -> None:
    def once(seed: int) -> Estimate:
        known = known_set(name, {**parameters, "seed": seed} if name == "fbm" else parameters)
        return estimator(known.trained, window or known.window, labels=labels, seed=seed)

    truth = known_set(name, parameters).dimension
    assert truth is not None
    assert repeats(once, truth, 100) >= 90


def test_lines_of_a_stage_and_of_several_windows() -> None:
    known = known_set("rabbit")
    stages = []
    for seed in range(3):
        planner = TransectPlanner(frame_of(known.window), 16, 11, seed, trained)
        run(planner, known)
        stages.append(count_flips(planner))
    one, all_three = transects.from_flips(stages[:1]), transects.from_flips(stages)
    for found in (one, all_three):
        assert holds(found, 1.3934)
        assert found.fit_scales == (2.0**-4, 2.0**-11)
    assert all_three.blocks == 3
    assert all_three.measured[11] == pytest.approx(sum(s.estimate[:, 11].sum() for s in stages))
    short = ChordFlips(
        7, stages[0].found[:, :9], stages[0].estimate[:, :9], stages[0].undecided[:, :9]
    )
    assert len(transects.from_flips([short, stages[1]]).scales) == 9
    with pytest.raises(ValueError, match="no transects"):
        transects.from_flips([])


def test_sampled_lines_have_the_right_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with lines on which every interval is looked at."""
    known = known_set("weierstrass")

    def flips(audit: float) -> np.ndarray:
        monkeypatch.setattr(lines, "AUDIT", audit)
        found = [
            lines.sample_lines(known.trained, SHIFTED, labels=0, levels=10, seed=seed)
            for seed in range(40)
        ]
        return np.array([one.estimate.sum(axis=0) for one in found])

    sampled, full = flips(0.5), flips(1.0)
    assert (sampled[:, :8] == full[:, :8]).all()
    error = sampled[:, 10] - full[:, 10]
    assert abs(error.mean()) < 2.5 * error.std() / np.sqrt(40)
    assert 0 < error.std() < full[:, 10].mean() / 2


@pytest.mark.parametrize("labels", [20_000, 100_000])
def test_sampled_lines_take_the_labels_they_are_given(labels: int) -> None:
    known = known_set("rabbit")
    asked = 0

    def label(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += x.size
        return known.trained(x, y)

    found = lines.sample_lines(label, known.window, labels=labels, levels=12, seed=0)
    assert found.labels == asked == pytest.approx(labels, rel=0.05)
    again = lines.sample_lines(known.trained, known.window, labels=labels, levels=12, seed=0)
    assert np.array_equal(found.estimate, again.estimate)
    with pytest.raises(ValueError, match="levels must be at least 7; given 6"):
        lines.sample_lines(label, known.window, labels=labels, levels=6, seed=0)


def test_failed_positions_are_warned_of() -> None:
    undecided = np.zeros((4, 9))
    undecided[2, 5] = 2
    counts = np.full((4, 9), 3)
    found = transects.from_flips([ChordFlips(8, counts, counts.astype(float), undecided)])
    assert found.value == 1.0
    assert "failed positions" in found.warnings[0]


def test_pairs_of_a_stage_and_of_several_windows() -> None:
    known = known_set("rabbit")
    window = frame_of(known.window)
    found = [
        disagreements(run(PairPlanner(window, 1500, range(4, 10), seed), known), trained)
        for seed in range(2)
    ]
    one, both = uncertainty.from_pairs(found[:1]), uncertainty.from_pairs(found)
    assert value(one) == pytest.approx(1.3934, abs=0.06)
    assert holds(one, 1.3934)
    assert holds(both, 1.3934)
    assert both.blocks == 2 * one.blocks == 3000
    assert one.unit == "frame sides"
    with pytest.raises(ValueError, match="no pairs"):
        uncertainty.from_pairs([])
    other = [Disagreements(1, 1500, 700)]
    assert uncertainty.from_pairs([found[0], other]).value is None  # no distance in common


def test_pairs_that_never_disagree_have_no_dimension() -> None:
    found = uncertainty.from_pairs([[Disagreements(k, 100, 0) for k in range(4, 9)]])
    assert found.value is None
    assert found.warnings == ("no boundary was met",)
    rare = uncertainty.from_pairs([[Disagreements(k, 100, 3) for k in range(4, 9)]])
    assert rare.value is None
    assert "0 scales are not enough" in rare.warnings[0]


def test_pairs_that_disagree_alike_at_every_distance_have_dimension_two() -> None:
    found = uncertainty.from_pairs([[Disagreements(k, 1000, 500) for k in range(4, 12)]])
    assert found.value == pytest.approx(2, abs=1e-12)
    assert found.interval is not None
    assert found.interval[1] == 2.0


def test_both_definitions_of_uncertain_have_one_exponent() -> None:
    known = known_set("rabbit")
    readings = [
        uncertainty.from_label(known.trained, known.window, definition=kind, seed=1)
        for kind in ("pair", "ball")
    ]
    pair, ball = readings
    assert value(pair) == pytest.approx(1.3934, abs=0.04)
    assert value(ball) == pytest.approx(1.3934, abs=0.04)
    assert all(b > p for b, p in zip(ball.measured, pair.measured, strict=True))


def test_rays_stay_in_the_window() -> None:
    def label(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        assert ((x >= 2) & (x <= 4) & (y >= -1) & (y <= 0)).all()
        return x + y > 2.5

    found = uncertainty.from_label(label, (2, 4, -1, 0), definition="ball", distances=range(2, 10))
    assert value(found) == pytest.approx(1, abs=0.03)
    assert value(transects.from_label(label, (2, 4, -1, 0))) == 1
    for wrong in ([], [1, 2, 3], [4, 6]):
        with pytest.raises(ValueError, match="consecutive k from 2 on"):
            uncertainty.from_label(label, (2, 4, -1, 0), distances=wrong)


def test_refined_levels_are_counted_as_the_audit_counts_them() -> None:
    known = known_set("fbm", {"hurst": 0.5, "seed": 4})
    planner = RefinePlanner(frame_of((0, 4, 0, 4), 16), 4, trained, audit=0.1)
    run(planner, known)
    report = audit_report(planner)
    shifts, counts = levels.occupied(planner)
    assert shifts.tolist() == list(range(8, -1, -1))
    assert counts.sum(axis=0)[4:].tolist() == list(report.found)
    plain, corrected = levels.from_refinement(planner), levels.from_refinement(planner, report)
    assert "not corrected" in plain.warnings[0]
    assert corrected.warnings == ("2 scales are not enough for a dimension",)
    assert corrected.measured[-1] == pytest.approx(report.corrected[-1])
    assert corrected.measured[-1] > plain.measured[-1]


def test_refined_levels_read_a_smooth_and_a_rough_border() -> None:
    for name, truth in (("disc", 1.0), ("rabbit", 1.3934)):
        known = known_set(name)
        planner = RefinePlanner(frame_of(known.window, 16), 6, trained)
        run(planner, known)
        found = levels.from_refinement(planner, audit_report(planner))
        assert value(found) == pytest.approx(truth, abs=0.05)
        assert holds(found, truth)
        assert found.fit_scales == (64, 8)


@pytest.mark.parametrize(
    "estimate", [transects.from_raster, uncertainty.from_raster, dilation.from_raster]
)
def test_rasters_of_known_sets(estimate: Callable[..., Estimate]) -> None:
    for name, points, tolerance in (
        ("disc", 513, 0.04),
        ("rabbit", 513, 0.05),
    ):
        known = known_set(name)
        found = estimate(raster(known, points))
        assert value(found) == pytest.approx(known.dimension, abs=tolerance), name
        assert found.unit == "cells"
    noise = estimate(raster(known_set("noise"), 513))
    assert value(noise) == pytest.approx(2, abs=0.02)


def test_boxes_of_a_raster() -> None:
    for name, tolerance in (("disc", 0.03), ("rabbit", 0.05)):
        known = known_set(name)
        found = boxes.from_mask(boundary_cells(raster(known, 513)).mixed)
        assert value(found) == pytest.approx(known.dimension, abs=tolerance)
        assert holds(found, known.dimension or 0)
        assert found.fit_scales == (32, 8)
    assert value(boxes.from_mask(np.ones((512, 700), dtype=bool))) == pytest.approx(2)
    small = boxes.from_mask(np.ones((63, 63), dtype=bool))
    assert "64 points on the short side" in small.warnings[0]
    with pytest.raises(ValueError, match="2-D bool"):
        boxes.from_mask(np.ones((8, 8)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "estimate", [transects.from_raster, uncertainty.from_raster, dilation.from_raster]
)
def test_nodes_that_are_not_known_are_left_out(estimate: Callable[..., Estimate]) -> None:
    labels = raster(known_set("disc"), 257)
    labels[:, 200:] = -1
    assert value(estimate(labels)) == pytest.approx(1, abs=0.06)
    for empty in (np.full((65, 65), 1, np.int8), np.full((65, 65), -1, np.int8)):
        found = estimate(empty)
        assert (found.value, found.interval) == (None, None)
        assert found.warnings == ("no boundary was met",)


def test_distance_to_the_other_label() -> None:
    labels = np.array([[1, 1, 0], [1, -1, 0], [1, 1, 1]], dtype=np.int8)
    expected = [[2, 1, 1], [2, np.inf, 1], [5**0.5, 2**0.5, 1]]
    assert dilation.distance_to_other(labels) == pytest.approx(np.array(expected))
