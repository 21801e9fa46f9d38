"""Published estimators against the published numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from fractal_ray.analysis.verify.reading import read_raster
from fractal_ray.analysis.verify.smooth_range import NO_BOUNDARY, SMOOTH
from fractal_ray.dimension import published
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import NOT_IMPROVED, TRAINED

GOLDEN = Path(__file__).parents[2] / "golden" / "dimension"
PORESPY = json.loads((GOLDEN / "porespy.json").read_text())
SMOOTH_NULL = json.loads((GOLDEN / "smooth_null_64.json").read_text())


def shapes() -> dict[str, np.ndarray]:
    y, x = np.indices((64, 64))
    return {
        "all_trainable": np.ones((64, 64), dtype=bool),
        "line_y_gt_10_plus_0.3x": y > 10 + 0.3 * x,
        "straight_edge_row16": y >= 16,
        "quarter_circle_r56": x**2 + y**2 < 56**2,
        "L_x56_y56": (x < 56) & (y < 56),
    }


@pytest.mark.parametrize("name", list(PORESPY))
def test_sohl_dickstein_2024_is_porespy_to_the_bit(name: str) -> None:
    with np.load(GOLDEN / "masks.npz") as masks:
        rows, columns = masks[f"{name}__shape"]
        mask = np.unpackbits(masks[name], axis=1)[:rows, :columns].astype(bool)
    found, golden = published.porespy_boxcount(mask), PORESPY[name]
    assert list(found.sizes) == golden["size"]
    assert list(found.counts) == golden["count"]
    assert list(found.slopes) == golden["slope"]
    assert found.dimension == golden["median"]


def test_sohl_dickstein_2024_counts_the_cells_where_labels_change() -> None:
    yes = shapes()["quarter_circle_r56"]
    found = published.estimate("sohl-dickstein-2024", yes)
    assert found == published.porespy_boxcount(boundary_cells(yes.astype(np.int8)).mixed)
    assert np.isnan(published.estimate("sohl-dickstein-2024", shapes()["all_trainable"]).dimension)


@pytest.mark.parametrize("name", list(SMOOTH_NULL))
def test_fractal_llm_is_its_own_numbers_and_its_shapes_are_smooth(name: str) -> None:
    yes, golden = shapes()[name], SMOOTH_NULL[name]
    found = published.estimate("fractal-llm", yes)
    assert found.boundary_pixels == golden["boundary_pixels"]
    assert list(found.sizes) == golden["box_sizes"]
    assert list(found.counts) == golden["box_counts"]
    assert found.dimension == pytest.approx(golden["D_log_count_plus_1"], abs=1e-12)
    other = published.fractal_llm(yes, plus_one=False)
    assert other.dimension == pytest.approx(golden["D_log_count"], abs=1e-12)
    expected = NO_BOUNDARY if name == "all_trainable" else SMOOTH
    assert read_raster(yes.astype(np.int8)).verdict == expected


def test_attractors_jl_on_newton_is_in_the_range_of_its_own_tests() -> None:
    """Repeat test/basins/uncertainty_tests.jl: 300 x 300, boxes 5 to 30, alpha 0.55 to 0.65."""
    x, y = np.meshgrid(np.linspace(-1, 1, 300), np.linspace(-1, 1, 300))
    answers = known_set("newton").diverged_step(x, y)
    basins = np.select([answers == TRAINED, answers == NOT_IMPROVED], [0, 1], default=2)
    found = published.attractors_jl(basins, sizes=range(5, 31))
    assert 0.55 <= 2 - found.dimension <= 0.65


def test_attractors_jl_on_grebogis_map_is_in_the_range_of_its_own_tests() -> None:
    """Repeat McDonald et al. 1985's map at 251 x 251 with boxes 3 to 15: alpha 0.2 to 0.3."""
    theta, x = np.meshgrid(np.linspace(0, 2 * np.pi, 251), np.linspace(-0.5, 0.5, 251))
    for _ in range(300):
        turn = theta + 1.32 * np.sin(2 * theta) - 0.9 * np.sin(4 * theta) - x * np.sin(theta)
        theta, x = turn, -0.3 * np.cos(theta)
    found = published.attractors_jl(np.cos(theta) > 0, sizes=range(3, 16))
    assert 0.2 <= 2 - found.dimension <= 0.3


def test_attractors_jl_takes_every_size_up_to_a_twentieth() -> None:
    found = published.estimate("attractors.jl", np.indices((100, 200))[1] >= 67)
    assert found.sizes == tuple(range(3, 11))
    # Column 66 | 67: inside a box unless the size divides 67, which none does.
    assert found.counts == tuple(100 // size for size in found.sizes)
    assert found.boundary_pixels == 99


def test_torkamandi_2025_halves_boxes_from_the_whole_image_to_4() -> None:
    yes = np.indices((70, 100))[0] >= 33
    found = published.estimate("torkamandi-2025", yes)
    assert found.sizes == (64, 32, 16, 8, 4)
    assert found.counts == (1, 2, 4, 8, 16)
    assert found.boundary_pixels == 2 * 64  # rows 32 and 33
    assert found.dimension == pytest.approx(1)
    noise = np.random.default_rng(0).random((256, 256)) < 0.5
    assert published.estimate("torkamandi-2025", noise).dimension > 1.95


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SweepError, match=r"unknown estimator 'fractal_llm'; did you mean"):
        published.estimate("fractal_llm", shapes()["all_trainable"])
