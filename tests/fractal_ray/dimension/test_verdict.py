"""Readings of rasters in words, entropies, results, and which estimator is recommended."""

import json
import math

import numpy as np
import pytest

from fractal_ray.analysis.verify.reading import UNRESOLVED, neighbour_correlation, read_raster
from fractal_ray.analysis.verify.smooth_range import NO_BOUNDARY, ROUGH, SMOOTH, TOO_SMALL
from fractal_ray.dimension import entropy, transects
from fractal_ray.dimension.recommend import PREFERRED, recommended
from fractal_ray.dimension.scaling import fit_scaling
from fractal_ray.errors import SweepError
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import NOT_IMPROVED, TRAINED


def raster(name: str, points: int, **parameters: float) -> np.ndarray:
    known = known_set(name, parameters)
    left, right, low, high = known.window
    x, y = np.meshgrid(np.linspace(left, right, points), np.linspace(low, high, points))
    return known.trained(x, y).astype(np.int8)


@pytest.mark.parametrize("points", [32, 64, 256])
@pytest.mark.parametrize("p", [0.5, 0.05])
def test_noise_is_unresolved(points: int, p: float) -> None:
    found = read_raster(raster("noise", points, p=p, seed=points))
    assert found.verdict == UNRESOLVED
    assert found.dimension is None
    assert found.correlation == pytest.approx(0, abs=0.1)
    assert "as noise does" in found.reasons[0]


def test_redrawn_starting_points_are_unresolved() -> None:
    """Avoid Liu's trap: figures S4 and S5 of arXiv 2406.13971 report 1.0 for noise labels."""
    x, y = np.meshgrid(np.linspace(1.0, 1.5, 64), np.linspace(0.5, 1.5, 64))
    labels = known_set("liu_redrawn").trained(x, y).astype(np.int8)
    assert read_raster(labels).verdict == UNRESOLVED


def test_rough_borders_are_resolved_and_rough() -> None:
    for labels in (
        raster("fbm", 64, hurst=0.2),
        raster("fbm", 128, hurst=0.5),
        raster("rabbit", 128),
    ):
        found = read_raster(labels)
        assert found.verdict == ROUGH
        assert found.correlation is not None
        assert found.correlation > 0.5
        assert found.smooth is not None
        assert found.dimension is not None
        assert found.dimension > found.smooth[1]


def test_smooth_small_and_absent_borders() -> None:
    assert read_raster(raster("disc", 64)).verdict == SMOOTH
    assert read_raster(raster("disc", 12)).verdict == TOO_SMALL
    for label in (0, 1, -1):
        found = read_raster(np.full((64, 64), label, dtype=np.int8))
        assert (found.verdict, found.correlation) == (NO_BOUNDARY, None)


def test_correlation_of_neighbours() -> None:
    board = (np.indices((8, 8)).sum(axis=0) % 2).astype(np.int8)
    assert neighbour_correlation(board) == -1
    half = (np.indices((100, 100))[0] < 50).astype(np.int8)
    assert neighbour_correlation(half) == pytest.approx(1 - 100 / (2 * 99 * 100) * 2)
    board[4:] = -1
    assert neighbour_correlation(board) == -1


def test_basin_entropy_of_boxes_by_hand() -> None:
    labels = np.zeros((7, 4), dtype=np.int8)
    labels[0, 0] = 1  # one box of four nodes: a quarter and three quarters
    labels[2:4, 2] = 1  # one of halves
    labels[5, 0] = -1  # one left out; the last row has no box
    found = entropy.basin_entropy(labels, box=2)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert (found.boxes, found.mixed, found.labels) == (5, 2, 2)
    assert found.basin == pytest.approx((quarter + math.log(2)) / 5)
    assert found.boundary == pytest.approx((quarter + math.log(2)) / 2)
    assert found.above_ln2 is None
    one = entropy.basin_entropy(np.zeros((6, 6), dtype=np.int8), box=3)
    assert (one.mixed, one.basin, one.boundary) == (0, 0, None)
    with pytest.raises(ValueError, match="box must be 2 to 6"):
        entropy.basin_entropy(np.zeros((6, 6), dtype=np.int8), box=1)


def test_ln2_is_out_of_reach_of_two_labels() -> None:
    noise = entropy.basin_entropy(raster("noise", 400), box=20)
    assert noise.boundary is not None
    assert 0.69 < noise.boundary <= math.log(2)
    assert noise.above_ln2 is None
    three = np.random.default_rng(0).integers(0, 3, (400, 400)).astype(np.int8)
    assert entropy.basin_entropy(three, box=20).above_ln2 is True
    x, y = np.meshgrid(np.linspace(-2, 2, 400), np.linspace(-2, 2, 400))
    answers = known_set("newton").diverged_step(x, y)
    basins = np.select([answers == TRAINED, answers == NOT_IMPROVED], [0, 1], default=2)
    assert entropy.basin_entropy(basins.astype(np.int8), box=20).above_ln2 is False


def test_discs_tell_smooth_from_rough_with_two_labels() -> None:
    for name, parameters in (("line", {}), ("disc", {})):
        found = entropy.disc_test(raster(name, 1001, **parameters), discs=500)
        assert found.discs == 500
        assert found.rough is False, found
    for labels in (raster("fbm", 1001, hurst=0.5), raster("noise", 300)):
        assert entropy.disc_test(labels, discs=500).rough is True
    nothing = entropy.disc_test(np.zeros((60, 60), dtype=np.int8), discs=10)
    assert (nothing.discs, nothing.boundary, nothing.rough) == (0, None, None)
    with pytest.raises(ValueError, match="does not fit"):
        entropy.disc_test(np.zeros((40, 60), dtype=np.int8))


def test_the_best_of_what_there_is() -> None:
    assert recommended(["raster", "refined levels"]).data == "refined levels"
    assert recommended({"raster", "pairs", "transects"}).estimator == "transects.from_flips"
    assert [recommended([choice.data]) for choice in PREFERRED] == list(PREFERRED)
    for given in ([], ["grid"]):
        with pytest.raises(SweepError, match="an estimator needs one or more of label function"):
            recommended(given)


def test_every_recommended_estimator_exists() -> None:
    from importlib import import_module

    for choice in PREFERRED:
        module, function = choice.estimator.split(".")
        assert callable(getattr(import_module(f"fractal_ray.dimension.{module}"), function))


def test_liu_counts_on_a_line_and_a_bowl() -> None:
    def flips(name: str, levels: int, **parameters: float) -> np.ndarray:
        x = np.linspace(0, 1.5, 2**levels + 1)
        labels = known_set(name, parameters).trained(x, np.ones_like(x))
        counts = [
            np.count_nonzero(np.diff(labels[:: 2 ** (levels - n)])) for n in range(levels + 1)
        ]
        return np.array([counts], dtype=float)

    # Published: slope 0.8375 over n to 31, and 0.799 +- 0.026 over n = 4 .. 14; D of a border on a
    # line is that of the plane less 1.
    found = transects.from_counts(flips("liu_multiplicative", 14), first=4)
    assert found.value is not None
    assert found.value - 1 == pytest.approx(0.80, abs=0.03)
    assert found.interval is None
    assert "nothing to resample" in found.warnings[0]
    bowl = transects.from_counts(flips("liu_multiplicative", 12, eps=0.0))
    assert bowl.value == 1.0
    assert bowl.measured == (1.0,) * 13


def test_a_result_is_plain_data_and_a_line_of_text() -> None:
    counts = 2.0 ** (0.5 * np.arange(10)) * np.ones((20, 1))
    found = transects.from_counts(counts)
    assert found.value == pytest.approx(1.5)
    assert found.local_slopes == pytest.approx([1.5] * 9)
    assert found.interval == pytest.approx((1.5, 1.5))
    assert json.loads(json.dumps(found.to_dict()))["method"] == "transects"
    assert str(found).startswith("transects: D = 1.500 (95 %: 1.500 to 1.500), over 0.00195 to")
    none = transects.from_counts(np.zeros((20, 10)))
    assert str(none) == "transects: no dimension (no boundary was met)"


def test_a_bent_line_has_a_wider_interval() -> None:
    scales = 2.0 ** -np.arange(8.0)
    straight = 1.4 * np.arange(8)
    bent = straight + 0.02 * (np.arange(8) - 3.5) ** 2
    widths = []
    for logs in (straight, bent):
        found = fit_scaling(
            "test", "cells", scales, 2**logs, np.tile(2**logs, (9, 1)), 50, base=0, fit=scales > 0
        )
        assert found.value == pytest.approx(1.4)
        assert found.interval is not None
        widths.append(found.interval[1] - found.interval[0])
    assert widths[0] < 1e-9
    assert widths[1] > 0.04


def test_scales_without_a_count_end_the_fit() -> None:
    measured = np.array([1, 2, 4, 8, 16, 0, 64.0])
    found = fit_scaling(
        "test", "cells", 2.0 ** -np.arange(7.0), measured, None, 1, base=0, fit=np.ones(7, bool)
    )
    assert found.fit_scales == (1, 2.0**-4)
    assert found.value == pytest.approx(1)
    assert np.isnan(found.local_slopes[4])
