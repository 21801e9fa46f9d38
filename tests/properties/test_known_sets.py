"""Property of every known set: an answer depends on its own x and y only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fractal_ray.plane.axes import Point
from fractal_ray.workloads.maps.known_sets import SETS, known_set
from fractal_ray.workloads.maps.sets.base import NOT_IMPROVED, KnownSet
from fractal_ray.workloads.maps.workload import MapWorkload

NAMES = sorted(SETS)
NEEDED = {"julia": {"c_re": -0.4, "c_im": 0.6}}
# Enough steps for orbits to meet the border; all 1000 of Liu's would only take time.
BRIEF = {name: {"steps": 60} for name in ("liu_additive", "liu_multiplicative", "liu_redrawn")}


def a_set(name: str) -> KnownSet:
    return known_set(name, {**NEEDED.get(name, {}), **BRIEF.get(name, {})})


def cloud(known: KnownSet, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    low_x, high_x, low_y, high_y = known.window
    rng = np.random.default_rng(seed)
    return rng.uniform(low_x, high_x, n), rng.uniform(low_y, high_y, n)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_answers_do_not_depend_on_tile_or_order(name: str, data: st.DataObject) -> None:
    known = a_set(name)
    n = data.draw(st.integers(1, 400))
    x, y = cloud(known, n, data.draw(st.integers(0, 2**32)))
    whole = known.diverged_step(x, y)
    order = np.array(data.draw(st.permutations(range(n))))
    assert np.array_equal(known.diverged_step(x[order], y[order]), whole[order])
    start = data.draw(st.integers(0, n - 1))
    stride = data.draw(st.integers(1, 5))
    part = known.diverged_step(x[start::stride], y[start::stride])
    assert np.array_equal(part, whole[start::stride])
    assert np.array_equal(known.diverged_step(x[:, None], y[:, None]), whole[:, None])


@pytest.mark.parametrize("name", NAMES)
def test_answers_do_not_depend_on_blocks(name: str) -> None:
    known = a_set(name)
    x, y = cloud(known, 70_000, seed=1)
    whole = known.diverged_step(x, y)
    for block in (slice(0, 5), slice(32_766, 32_771), slice(65_530, 65_541), slice(-1, None)):
        assert np.array_equal(known.diverged_step(x[block], y[block]), whole[block])


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    xy=arrays(np.float64, (2, 8), elements=st.floats(allow_nan=False, allow_infinity=False)),
)
def test_every_finite_point_has_an_answer(name: str, xy: np.ndarray) -> None:
    answers = a_set(name).diverged_step(xy[0], xy[1])
    assert answers.shape == (8,)
    assert answers.dtype == np.int64
    assert (answers >= (NOT_IMPROVED if name == "newton" else -1)).all()


@settings(max_examples=30, deadline=None)
@given(
    c=st.complex_numbers(max_magnitude=2),
    z=arrays(np.float64, (2, 50), elements=st.floats(-2, 2)),
)
def test_filled_julia_sets_are_symmetric(c: complex, z: np.ndarray) -> None:
    known = known_set("julia", {"c_re": c.real, "c_im": c.imag, "steps": 100})
    mirrored = known_set("julia", {"c_re": c.real, "c_im": -c.imag, "steps": 100})
    answers = known.diverged_step(z[0], z[1])
    assert np.array_equal(known.diverged_step(-z[0], -z[1]), answers)
    assert np.array_equal(mirrored.diverged_step(z[0], -z[1]), answers)


def escape_steps(x: np.ndarray, y: np.ndarray, c: complex, steps: int) -> np.ndarray:
    """Compute escape steps by definition: every orbit to its end, in equal real arithmetic."""
    answers = np.full(x.size, -1)
    re, im = x, y
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps + 1):
            answers[(answers == -1) & (re * re + im * im > max(2.0, abs(c)) ** 2)] = step
            re, im = re * re - im * im + c.real, 2 * (re * im) + c.imag
    return answers


@settings(max_examples=40, deadline=None)
@given(
    multiplier=st.complex_numbers(max_magnitude=1),
    bulb=st.booleans(),
    seed=st.integers(0, 100),
)
def test_no_orbit_leaves_the_disc_that_decides_inside(
    multiplier: complex, bulb: bool, seed: int
) -> None:
    # c with an attracting fixed point or 2-cycle of this multiplier.
    c = multiplier / 4 - 1 if bulb else multiplier / 2 - multiplier**2 / 4
    known = known_set("julia", {"c_re": c.real, "c_im": c.imag, "steps": 200})
    x, y = cloud(known, 300, seed)
    assert np.array_equal(known.diverged_step(x, y), escape_steps(x, y, c, 200))


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    values=st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), min_size=1, max_size=20),
)
def test_records_are_the_sets_answers(name: str, values: list[tuple[float, float]]) -> None:
    parameters = {**NEEDED.get(name, {}), **BRIEF.get(name, {})}
    workload = MapWorkload(name, parameters)
    runner = workload.open(workload.prepare().shared, "cpu")
    points = [Point(0, 0, i, 0, x, y) for i, (x, y) in enumerate(values)]
    together = [(r.outcome, r.diverged_step) for r in runner.evaluate(points)]
    alone = [(r.outcome, r.diverged_step) for p in points for r in runner.evaluate([p])]
    assert together == alone
    x, y = np.array(values).T
    answers = known_set(name, parameters).diverged_step(x, y)
    assert [step for _, step in together] == [int(a) if a >= 0 else None for a in answers]
