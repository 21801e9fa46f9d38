"""Box counting on sets of known dimension, and the verdict on smooth and rough borders."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from fractal_ray.analysis.verify.smooth_range import (
    NO_BOUNDARY,
    ROUGH,
    SMOOTH,
    TOO_SMALL,
    smooth_range,
    verdict,
)
from fractal_ray.dimension.box_counts import STDERR_NOTE, boxcount
from fractal_ray.plane.boundary import boundary_cells

GOLDEN = Path(__file__).parents[2] / "golden" / "dimension"


def sierpinski(k: int) -> np.ndarray:
    row, column = np.indices((1 << k, 1 << k))
    return (row & column) == 0


def golden_mask(name: str) -> np.ndarray:
    with np.load(GOLDEN / "masks.npz") as masks:
        rows, columns = masks[f"{name}__shape"]
        return np.unpackbits(masks[name], axis=1)[:rows, :columns].astype(bool)


def cells_of(inside: np.ndarray) -> np.ndarray:
    return boundary_cells(inside.astype(np.int8)).mixed


def grid(points: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices((points, points))
    return y, x


def dimension(mask: np.ndarray) -> float:
    found = boxcount(mask).dimension
    assert found is not None
    return found


@pytest.mark.parametrize("k", [4, 6, 9, 10])
def test_sierpinski_triangle_is_exact(k: int) -> None:
    found = boxcount(sierpinski(k))
    assert found.counts.tolist() == [3 ** (k - level) for level in range(k + 1)]
    assert found.dimension == pytest.approx(math.log2(3), abs=1e-12)
    assert found.stderr == pytest.approx(0, abs=1e-12)
    assert found.slopes == pytest.approx([math.log2(3)] * k)


@pytest.mark.parametrize("side", [24, 32, 33, 48, 64, 100, 512, 600])
def test_square_and_lines_are_exact_on_any_lattice(side: int) -> None:
    assert dimension(np.ones((side, side), dtype=bool)) == pytest.approx(2, abs=1e-12)
    for row in (0, side // 3, side - 1):
        line = np.zeros((side, side), dtype=bool)
        line[row] = True
        assert dimension(line) == pytest.approx(1, abs=1e-12)
        assert dimension(line.T) == pytest.approx(1, abs=1e-12)


# The missing last row of cells costs log2(side + 1) - log2(side) at the smallest box.
@pytest.mark.parametrize(("side", "off"), [(31, 0.025), (63, 0.01), (511, 0.005)])
def test_square_and_lines_one_cell_short(side: int, off: float) -> None:
    assert dimension(np.ones((side, side), dtype=bool)) == pytest.approx(2, abs=2 * off)
    for row in (0, side // 3, side - 1):
        line = np.zeros((side, side), dtype=bool)
        line[row] = True
        assert dimension(line) == pytest.approx(1, abs=off)
        assert dimension(line.T) == pytest.approx(1, abs=off)


@pytest.mark.parametrize("points", [32, 33, 64, 65, 256])
@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.15])
def test_slanted_lines_are_curves(points: int, shift: float) -> None:
    y, x = grid(points)
    tolerance = 0.08
    for slope in (1, -1, 0.4, -1.7):
        mask = cells_of(y - points / 2 > slope * (x - points / 2) + shift * points)
        assert dimension(mask) == pytest.approx(1, abs=tolerance), slope


def test_koch_curve() -> None:
    points = np.array([0j, 1])
    for _ in range(8):
        step = np.diff(points) / 3
        start = points[:-1]
        peak = start + step + step * np.exp(1j * math.pi / 3)
        parts = np.stack([start, start + step, peak, start + 2 * step], axis=1)
        points = np.r_[parts.ravel(), points[-1]]
    mask = np.zeros((2187, 2187), dtype=bool)
    dense = (points[:-1, None] + np.diff(points)[:, None] * np.linspace(0, 1, 4)).ravel()
    mask[(dense.imag * 2186).astype(int), (dense.real * 2186).astype(int)] = True
    assert dimension(mask) == pytest.approx(math.log(4) / math.log(3), abs=0.05)


# Tolerances: what a 512-cell picture allows. The carpet is base 3 and its boxes are not.
@pytest.mark.parametrize(
    ("name", "truth", "tolerance"),
    [
        ("triangle_512", math.log2(3), 1e-9),
        ("carpet_729", math.log(8) / math.log(3), 0.03),
        ("disc_edges_512", 1.0, 0.03),
        ("basilica_edges_512", 1.2683, 0.06),
        ("rabbit_edges_512", 1.3934, 0.08),
        ("noise_512", 2.0, 0.04),
    ],
)
def test_known_sets(name: str, truth: float, tolerance: float) -> None:
    mask = golden_mask(name)
    found = dimension(mask)
    assert found == pytest.approx(truth, abs=tolerance)
    # porespy's median of local slopes is another estimator: same sets, same order of error.
    oracle = json.loads((GOLDEN / "porespy.json").read_text())[name]["median"]
    assert found == pytest.approx(oracle, abs=0.1)


def test_default_range_is_from_8_cells_to_a_sixteenth_of_the_points() -> None:
    found = boxcount(sierpinski(10))
    assert found.fit_sizes == (8, 16, 32, 64)
    assert found.warnings == ()
    assert boxcount(np.ones((511, 2000), dtype=bool)).fit_sizes == (8, 16, 32)


def test_small_lattice_falls_back_and_says_so() -> None:
    found = boxcount(np.ones((63, 63), dtype=bool))
    assert found.fit_sizes == (1, 2, 4, 8, 16)
    assert len(found.warnings) == 1
    assert "64 points" in found.warnings[0]


def test_no_boundary_has_no_dimension() -> None:
    found = boxcount(np.zeros((64, 64), dtype=bool))
    assert found.dimension is None
    assert found.stderr is None
    assert np.isnan(found.slopes).all()
    assert found.warnings == ("no boundary cell",)


@pytest.mark.parametrize("shape", [(1, 64), (8, 8), (14, 200), (1, 1)])
def test_too_few_sizes_have_no_dimension(shape: tuple[int, int]) -> None:
    found = boxcount(np.ones(shape, dtype=bool))
    assert found.dimension is None
    assert "no dimension" in found.warnings[-1]
    assert verdict(found, smooth_range(*shape)) == TOO_SMALL


@pytest.mark.parametrize("shape", [(0, 0), (0, 5)])
def test_lattice_without_cells(shape: tuple[int, int]) -> None:
    found = boxcount(np.zeros(shape, dtype=bool))
    assert found.dimension is None
    assert found.counts.tolist() == [0]
    assert found.slopes.size == 0
    assert verdict(found, smooth_range(*shape)) == NO_BOUNDARY


def test_own_sizes() -> None:
    found = boxcount(sierpinski(6), sizes=[16, 2, 4])
    assert found.fit_sizes == (2, 4, 16)
    assert found.coarse_count == 9
    assert found.warnings == ()
    assert found.dimension == pytest.approx(math.log2(3))
    assert boxcount(sierpinski(6), sizes=[2, 4]).dimension is None


@pytest.mark.parametrize("size", [0, -2, 3, 128])
def test_size_that_does_not_tile_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} is no power of two from 1 to 64"):
        boxcount(sierpinski(6), sizes=[1, 2, size])


def test_only_boolean_masks() -> None:
    with pytest.raises(ValueError, match="2-D bool"):
        boxcount(np.ones((8, 8)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2-D bool"):
        boxcount(np.ones(8, dtype=bool))


def test_standard_error_is_that_of_the_textbook() -> None:
    mask = golden_mask("basilica_edges_512")
    found = boxcount(mask, sizes=[1, 2, 4, 8, 16])
    x, y = np.log2(found.sizes[:5]), np.log2(found.counts[:5])
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    assert found.dimension == pytest.approx(-slope)
    assert found.stderr == pytest.approx(math.sqrt(covariance[0, 0]))
    assert STDERR_NOTE == "least-squares SE, understates the real error"


def test_4096_squared_in_two_seconds() -> None:
    mask = np.random.default_rng(0).random((4096, 4096), dtype=np.float32) < 0.01
    start = time.process_time()
    boxcount(mask)
    assert time.process_time() - start < 2


def judged(mask: np.ndarray) -> str:
    """Reach a verdict as `analyze` does."""
    found = boxcount(mask)
    smooth = smooth_range(*mask.shape, sizes=found.fit_sizes, n_boundary=found.n_boundary)
    return verdict(found, smooth)


@pytest.mark.parametrize("points", [24, 32, 64, 65, 128, 256])
def test_smooth_borders_are_hardly_ever_called_rough(points: int) -> None:
    rng = np.random.default_rng(points)
    y, x = grid(points)
    readings = []
    for _ in range(60):
        (cy, cx), radius = rng.uniform(0, points, 2), rng.uniform(points / 10, points / 2)
        readings.append(judged(cells_of(np.hypot(x - cx, y - cy) < radius)))
        corner = rng.uniform(0.2, 0.8, 2) * points
        readings.append(judged(cells_of((x < corner[0]) & (y < corner[1]))))
    assert readings.count(ROUGH) <= 2
    assert readings.count(SMOOTH) > 60


def test_a_ring_in_the_middle_of_four_boxes_is_smooth() -> None:
    # It reads 1.22 when boxes of a quarter of the frame are let into the fit.
    y, x = grid(65)
    assert judged(cells_of(np.hypot(x - 32, y - 32) < 16)) == SMOOTH


@pytest.mark.parametrize("points", [8, 16, 17])
def test_a_handful_of_points_is_too_small_to_say(points: int) -> None:
    y, x = grid(points)
    assert judged(cells_of(y > 0.3 * x + points / 4)) == TOO_SMALL


def smooth_shapes(points: int) -> dict[str, np.ndarray]:
    """Draw the shapes for which fractal-llm's estimator gives 1.14 to 1.27 at 64 points."""
    y, x = grid(points)
    return {
        "straight_edge": y > points / 4,
        "tilted": y > 10 + 0.3 * x,
        "quarter_circle": x**2 + y**2 < (0.875 * points) ** 2,
        "L": (x < 0.875 * points) & (y < 0.875 * points),
        "two_lines": (y > points / 4) & (y < 0.8 * points),
        "parabola": y > (x - points / 2) ** 2 / points,
    }


@pytest.mark.parametrize("points", [32, 33, 64, 65, 256])
@pytest.mark.parametrize("name", list(smooth_shapes(4)))
def test_smooth_shapes_are_called_smooth(name: str, points: int) -> None:
    mask = cells_of(smooth_shapes(points)[name])
    assert judged(mask) == SMOOTH


def test_incumbents_reported_value_is_not_what_a_smooth_edge_reads_here() -> None:
    null = json.loads((GOLDEN / "smooth_null_64.json").read_text())
    for name, reading in null.items():
        assert reading["D_log_count"] > 1.2, name
    for name, inside in smooth_shapes(64).items():
        assert dimension(cells_of(inside)) < 1.1, name


def test_everything_trainable_has_no_boundary() -> None:
    mask = cells_of(np.ones((64, 64), dtype=bool))
    assert judged(mask) == NO_BOUNDARY


@pytest.mark.parametrize("points", [32, 64, 256])
def test_noise_is_rough_and_near_two(points: int) -> None:
    mask = cells_of(np.random.default_rng(1).random((points, points)) < 0.5)
    assert dimension(mask) == pytest.approx(2, abs=0.1)
    assert judged(mask) == ROUGH


@pytest.mark.parametrize(
    ("c", "half_width", "points"),
    [(-1, 1.0, 128), (-0.1226 + 0.7449j, 1.2, 64), (-0.1226 + 0.7449j, 1.0, 64)],
)
def test_julia_border_is_rough(c: complex, half_width: float, points: int) -> None:
    y, x = (axis * (2 * half_width / (points - 1)) - half_width for axis in grid(points))
    z = x + 1j * y
    for _ in range(100):
        z = np.where(abs(z) < 4, z * z + c, 4)
    mask = cells_of(abs(z) < 2.5)
    assert judged(mask) == ROUGH


def test_a_few_flipped_points_are_too_small_to_say() -> None:
    for flips in (1, 3, 6):
        inside = np.zeros((64, 64), dtype=bool)
        inside[tuple(np.random.default_rng(flips).integers(1, 63, (2, flips)))] = True
        mask = cells_of(inside)
        assert judged(mask) == TOO_SMALL


def test_verdict_without_a_range_to_compare_with() -> None:
    assert verdict(boxcount(sierpinski(6)), (math.nan, math.nan)) == TOO_SMALL


@pytest.mark.parametrize("cells", [31, 32, 63, 64, 255, 256])
def test_smooth_range_holds_the_truth_and_is_repeatable(cells: int) -> None:
    low, high = smooth_range(cells, cells)
    assert 0.75 < low < 1 < high < 1.4
    if cells >= 255:
        assert high < 1.12
    assert smooth_range(cells, cells, seed=1) != (low, high)
    assert smooth_range(cells, cells) == (low, high)


def test_smooth_range_follows_sizes_and_shape() -> None:
    assert smooth_range(63, 63, sizes=(1, 2, 4)) != smooth_range(63, 63)
    assert smooth_range(63, 200)[0] < 1 < smooth_range(63, 200)[1]
    assert all(math.isnan(end) for end in smooth_range(7, 7))
    with pytest.raises(ValueError, match="at least 4"):
        smooth_range(63, 63, count=2)
