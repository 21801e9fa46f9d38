"""Known sets: the dimensions that they claim, who is a member, and what a spec may ask."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.workloads.maps.known_sets import SETS, known_set
from fractal_ray.workloads.maps.sets.base import NOT_IMPROVED, TRAINED
from tests.fractal_ray.workloads.sample_sets import pair_dimension, square


# Tolerances: three standard errors of 100,000 pairs at seven distances, and the log-periodic
# wobble of self-similar sets over 2**-4 to 2**-10 of the window.
@pytest.mark.parametrize(
    ("name", "parameters", "truth", "tolerance"),
    [
        ("line", {}, 1, 0.03),
        ("disc", {}, 1, 0.03),
        ("weierstrass", {}, 1.4150, 0.02),
        ("weierstrass", {"stretch_y": 1 / 0.85}, 1.7655, 0.02),
        ("weierstrass", {"stretch_x": 3}, 1.6309, 0.025),
        ("basilica", {}, 1.2683, 0.025),
        ("rabbit", {}, 1.3934, 0.02),
        ("newton", {}, 1.444, 0.02),
        ("noise", {}, 2, 0.005),
        ("noise", {"p": 0.05}, 2, 0.01),
    ],
)
def test_dimension_is_what_pairs_measure(
    name: str, parameters: dict[str, Any], truth: float, tolerance: float
) -> None:
    known = known_set(name, parameters)
    assert known.dimension == pytest.approx(truth, abs=1e-4)
    side = known.window[1] - known.window[0]
    distances = [side * 2.0**-k for k in range(4, 11)]
    assert pair_dimension(known, known.window, distances) == pytest.approx(truth, abs=tolerance)


@pytest.mark.parametrize("name", ["disc", "basilica", "rabbit"])
def test_dimension_is_what_dilation_measures_at_2048_squared(name: str) -> None:
    """Measure D by Minkowski: the area within r of the border goes as ``r**(2 - D)``."""
    known = known_set(name)
    mixed = boundary_cells(known.trained(*square(known, 2049)).astype(np.int8)).mixed
    away = ndimage.distance_transform_edt(~mixed)
    radii = 2.0 ** np.arange(2, 7)
    area = [np.count_nonzero(away < radius) for radius in radii]
    measured = 2 - float(np.polyfit(np.log(radii), np.log(area), 1)[0])
    assert measured == pytest.approx(known.dimension, abs=0.04)


@pytest.mark.parametrize(
    ("name", "members", "others"),
    [
        ("line", [(0, -1), (1, 0)], [(0, 1), (-1, 0)]),
        ("disc", [(0, 0), (0.7, 0.7)], [(1, 0), (0.8, 0.8)]),
        # 0 and -1 are the cycle; (1 + sqrt 5) / 2 is the fixed point at the right end.
        ("basilica", [(0, 0), (-1, 0), (1.618, 0)], [(1.619, 0), (0, 1), (0, 2)]),
        ("rabbit", [(0, 0), (-0.12256, 0.74486)], [(1.5, 0), (-1, 1)]),
        ("mandelbrot", [(0, 0), (-1, 0), (-2, 0), (-0.12256, 0.74486)], [(0.26, 0), (0.5, 0.5)]),
        ("newton", [(1, 0), (9, 0)], [(-0.5, 0.866), (-0.5, -0.866), (0, 0)]),
        ("weierstrass", [(0, -2.01), (0.5, -9)], [(0, -1.99), (0.5, 9)]),
        ("liu_multiplicative", [(0.1, 1), (1.5, 0)], [(1.4, 1)]),
        ("liu_additive", [(0.1, 1), (0, 50)], [(1.2, 1)]),
    ],
)
def test_members(
    name: str, members: list[tuple[float, float]], others: list[tuple[float, float]]
) -> None:
    known = known_set(name)
    for points, inside in ((members, True), (others, False)):
        x, y = np.array(points, dtype=float).T
        assert (known.trained(x, y) == inside).all()


def test_escape_steps_count_from_the_starting_point() -> None:
    known = known_set("basilica")
    # 3 is outside radius 2 at once; 1.7 -> 1.89 -> 2.5721; 1 -> 0 -> -1 for ever.
    steps = known.diverged_step(np.array([3, 1.7, 1]), np.zeros(3))
    assert steps.tolist() == [0, 2, TRAINED]


def test_newton_has_three_outcomes_by_symmetry() -> None:
    known = known_set("newton")
    z = np.exp(2j * np.pi * np.arange(3) / 3) * (0.8 + 0.1j)
    first, second, third = known.diverged_step(z.real, z.imag).tolist()
    assert (first, second) == (TRAINED, NOT_IMPROVED)
    assert third >= 0
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-2, 2, (2, 20_000))
    answers = known.diverged_step(x, y)
    root = x + 1j * y
    for _ in range(200):
        root = root - (root**3 - 1) / (3 * root**2)
    assert ((abs(root - 1) < 1e-6) == (answers == TRAINED)).mean() > 0.999
    assert ((abs(root - np.exp(2j * np.pi / 3)) < 1e-6) == (answers == NOT_IMPROVED)).mean() > 0.999


def test_weierstrass_border_is_the_closed_form() -> None:
    known = known_set("weierstrass", {"stretch_x": 3, "stretch_y": 1.4})
    x = np.random.default_rng(0).uniform(-3, 3, 500)
    terms = [1.4**-j * np.cos(2 * np.pi * 3 ** (j - 1) * x) for j in range(1, 34)]
    border = -np.sum(terms, axis=0)
    # 33 terms leave 1.4**-33 / 0.4 = 4e-5 of the sum.
    assert known.trained(x, border - 1e-4).all()
    assert not known.trained(x, border + 1e-4).any()


def test_mandelbrot_components_by_formula_are_those_by_iteration() -> None:
    x, y = np.meshgrid(np.linspace(-2, 0.5, 101), np.linspace(-1.25, 1.25, 101))
    z = np.zeros(x.shape, dtype=complex)
    for _ in range(301):
        z = np.where(abs(z) <= 2, z * z + x + 1j * y, z)
    assert np.array_equal(known_set("mandelbrot", {"steps": 301}).trained(x, y), abs(z) <= 2)


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_set_shows_both_answers_in_its_window_and_names_a_source(name: str) -> None:
    known = known_set(name, {"c_re": -0.4, "c_im": 0.5} if name == "julia" else {})
    assert known.name == name
    assert known.source
    assert known.dimension is None or 1 <= known.dimension <= 2
    share = known.trained(*square(known, 64)).mean()
    assert 0.02 < share < 0.98
    assert known_set(name, known.parameters).parameters == known.parameters


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("basilika", {}, "unknown set 'basilika'; did you mean 'basilica'"),
        ("disc", {"radios": 1.0}, "no parameter 'radios'; did you mean 'radius'"),
        ("disc", {"radius": 0}, "radius must be above 0; given 0"),
        ("disc", {"radius": "1"}, "disc.radius takes a finite number; given '1'"),
        ("disc", {"radius": math.inf}, "disc.radius takes a finite number; given inf"),
        ("disc", {"radius": True}, "disc.radius takes a finite number; given True"),
        ("noise", {"seed": 1.5}, "noise.seed takes a whole number; given 1.5"),
        ("noise", {"p": 1}, "p must lie between 0 and 1"),
        ("julia", {}, "the set julia needs c_re and c_im"),
        ("julia", {"c_re": 0, "c_im": 0, "steps": 0}, "steps must be at least 1"),
        ("mandelbrot", {"steps": 0}, "steps must be at least 1"),
        ("newton", {"steps": 0}, "steps must be at least 1"),
        ("fbm", {"hurst": 1.0}, "hurst must lie between 0 and 1"),
        ("weierstrass", {"stretch_x": 1}, "stretch_x must be at least 2"),
        ("weierstrass", {"stretch_y": 2.0}, "stretch_y must lie between 1 and stretch_x = 2"),
        ("liu_additive", {"lam": 0.0}, "lam and bound must be above 0 and steps at least 1"),
    ],
)
def test_mistakes_are_named(name: str, parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(SweepError, match=says):
        known_set(name, parameters)


def test_arrays_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        known_set("disc").diverged_step(np.zeros(3), np.zeros(2))
