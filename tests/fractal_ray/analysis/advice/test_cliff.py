"""Margins to the cliff against cliffs at known places."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fractal_ray.analysis.advice.cliff import distance, find_cliff, isolated_broken
from fractal_ray.analysis.advice.surface import State, Surface


def surface_of(
    broken: NDArray[np.int8],
    *,
    measured: NDArray[np.bool_] | None = None,
    scales: tuple[str, str] = ("log", "log"),
    u: NDArray[np.float64] | None = None,
    v: NDArray[np.float64] | None = None,
) -> Surface:
    """Return a surface with these labels, on nodes 0, 1, 2, ... or at coordinates u, v."""
    ny, nx = broken.shape
    u = np.arange(float(nx)) if u is None else u
    v = np.arange(float(ny)) if v is None else v
    states = {1: State.TRAINED, 0: State.DEGRADED, -1: State.UNKNOWN}
    return Surface(
        loss=np.where(broken == 1, 1.0, np.nan),
        state=np.vectorize(states.get, otypes=[np.int8])(broken),
        broken=broken.astype(np.int8),
        measured=np.ones(broken.shape, dtype=bool) if measured is None else measured,
        x=10.0**u if scales[0] == "log" else u,
        y=10.0**v if scales[1] == "log" else v,
        x_scale=scales[0],  # pyright: ignore[reportArgumentType]
        y_scale=scales[1],  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize("size", [17, 32, 65])
def test_a_straight_cliff_lies_in_the_brackets(size: int) -> None:
    """The line u + 0.5 v = c breaks; every bracket holds its distance along its direction."""
    rng = np.random.default_rng(size)
    u, v = np.linspace(-4, 0, size), np.linspace(-3, 1, size)
    for _ in range(20):
        c = rng.uniform(-2, -0.5)
        over = u[None, :] + 0.5 * v[:, None] > c
        labels = np.where(over, 0, 1).astype(np.int8)
        inside = np.argwhere(~over)
        iy, ix = inside[rng.integers(len(inside))]
        cliff = find_cliff(surface_of(labels, u=u, v=v), (int(iy), int(ix)))
        gap, step = c - u[ix] - 0.5 * v[iy], 4 / (size - 1)
        truths = {"+x": gap, "+y": 2 * gap}
        for margin in cliff.margins:
            assert margin.low is not None
            if margin.high is None:
                continue
            truth = truths[margin.direction]
            assert np.log10(margin.low) - 1e-9 <= truth <= np.log10(margin.high) + 1e-9
            assert np.log10(margin.high / margin.low) == pytest.approx(step, rel=1e-6)
        nearest = cliff.nearest
        assert nearest is not None and nearest.unit == "decades"
        foot = gap / np.hypot(1, 0.5)
        reached = u[ix] + foot * np.cos(np.arctan(0.5)) <= u[-1]
        reached &= v[iy] + foot * np.sin(np.arctan(0.5)) <= v[-1]
        if reached:
            assert nearest.low - 1e-9 <= foot <= nearest.high + 1e-9
            assert nearest.high - nearest.low <= 2 * np.sqrt(2) * step


def test_differences_on_a_linear_axis() -> None:
    labels = np.array([[1, 1, 1, 0]] * 3, dtype=np.int8)
    cliff = find_cliff(surface_of(labels, scales=("linear", "log")), (1, 1))
    margin = {each.direction: each for each in cliff.margins}["+x"]
    assert (margin.last_unbroken, margin.first_broken) == (2.0, 3.0)
    assert (margin.low, margin.high, margin.scale) == (1.0, 2.0, "linear")
    assert cliff.nearest is not None and cliff.nearest.unit == "frames"
    assert cliff.nearest.high == pytest.approx(2 / 3)
    assert cliff.nearest.x_change == 2.0 and cliff.nearest.y_change == 1.0


def test_an_axis_that_does_not_break_up_to_the_end() -> None:
    labels = np.ones((3, 5), dtype=np.int8)
    labels[1, 4] = -1
    cliff = find_cliff(surface_of(labels), (1, 1))
    margin = {each.direction: each for each in cliff.margins}["+x"]
    assert margin.first_broken is None and margin.high is None
    assert margin.last_unbroken == 1e3 and margin.grid_end == 1e4 and margin.unknown == 1
    assert cliff.nearest is None and cliff.broken == 0


def test_unknown_runs_widen_a_bracket_and_never_break() -> None:
    known = np.array([[1, 1, 1, 0, 0]] * 3, dtype=np.int8)
    unknown = known.copy()
    unknown[:, 2] = -1
    before, after = (
        {each.direction: each for each in find_cliff(surface_of(each), (1, 0)).margins}["+x"]
        for each in (known, unknown)
    )
    assert (before.last_unbroken, before.first_broken, before.unknown) == (1e2, 1e3, 0)
    assert (after.last_unbroken, after.first_broken, after.unknown) == (1e1, 1e3, 1)
    far = known.copy()
    far[:, 1] = -1  # passed over: a later run is unbroken
    margin = {each.direction: each for each in find_cliff(surface_of(far), (1, 0)).margins}["+x"]
    assert (margin.last_unbroken, margin.unknown) == (1e2, 0)
    nearest = [find_cliff(surface_of(each), (1, 0)).nearest for each in (known, unknown)]
    assert nearest[0] is not None and nearest[1] is not None
    assert (nearest[0].low, nearest[0].high) == (2.0, 3.0)
    assert (nearest[1].low, nearest[1].high) == (1.0, 3.0)


def test_only_runs_are_ends_of_a_bracket() -> None:
    labels = np.array([[1, 1, 1, 0, 0]] * 3, dtype=np.int8)
    measured = np.ones(labels.shape, dtype=bool)
    measured[:, 2:4] = False  # labels of cells
    cliff = find_cliff(surface_of(labels, measured=measured), (1, 0))
    margin = {each.direction: each for each in cliff.margins}["+x"]
    assert (margin.last_unbroken, margin.first_broken) == (1e1, 1e4)
    assert cliff.nearest is not None and cliff.nearest.low == 2.0


def test_an_isolated_broken_run_is_told_apart() -> None:
    labels = np.ones((5, 8), dtype=np.int8)
    labels[:, 6:] = 0
    labels[2, 3] = 0
    surface = surface_of(labels)
    assert np.argwhere(isolated_broken(surface)).tolist() == [[2, 3]]
    cliff = find_cliff(surface, (2, 1))
    margin = {each.direction: each for each in cliff.margins}["+x"]
    assert (margin.last_unbroken, margin.first_broken, margin.isolated) == (1e2, 1e3, True)
    assert margin.solid == (1e5, 1e6) and margin.ragged_to == 1e6
    assert cliff.isolated == ((1e3, 1e2),)
    assert cliff.nearest is not None and cliff.nearest.isolated and cliff.nearest.high == 2.0


def test_the_best_at_a_rim() -> None:
    labels = np.ones((4, 4), dtype=np.int8)
    labels[3, 3] = 0
    cliff = find_cliff(surface_of(labels), (0, 3))
    assert cliff.best_at_rim == ("+x", "-y")
    margins = {each.direction: each for each in cliff.margins}
    assert margins["+x"].low == 1.0 and margins["+x"].first_broken is None
    assert margins["+y"].first_broken == 1e3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_margins_follow_swaps_and_reflections(seed: int, reflect: bool) -> None:
    """A reflection or a swap of the axes changes names of directions, and no distance."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 1, 1, 0, -1], size=(6, 7)).astype(np.int8)
    iy, ix = (int(rng.integers(size)) for size in labels.shape)
    labels[iy, ix] = 1
    one = find_cliff(surface_of(labels), (iy, ix))
    if reflect:
        other = find_cliff(surface_of(labels[:, ::-1]), (iy, 6 - ix))
        names = {"+x": "-x", "-x": "+x", "+y": "+y", "-y": "-y"}
    else:
        other = find_cliff(surface_of(labels).transposed(), (ix, iy))
        names = {"+x": "+y", "-x": "-y", "+y": "+x", "-y": "-x"}
    margins = {each.direction: each for each in other.margins}
    for margin in one.margins:
        twin = margins[names[margin.direction]]
        assert (margin.low is None) == (twin.low is None)
        assert (margin.high is None) == (twin.high is None)
        assert margin.low == pytest.approx(twin.low) and margin.high == pytest.approx(twin.high)
        assert (margin.unknown, margin.isolated) == (twin.unknown, twin.isolated)
    if one.nearest is None or other.nearest is None:
        assert one.nearest is other.nearest
    else:
        assert one.nearest.low == pytest.approx(other.nearest.low)
        assert one.nearest.high == pytest.approx(other.nearest.high)


def test_a_ragged_line_ends_where_no_run_behind_is_unbroken() -> None:
    labels = np.array([[1, 1, 0, 1, 0, 1, 0, 0]] * 3, dtype=np.int8)
    margins = find_cliff(surface_of(labels), (1, 0)).margins
    margin = {each.direction: each for each in margins}["+x"]
    assert (margin.last_unbroken, margin.first_broken, margin.ragged_to) == (1e1, 1e2, 1e6)
    assert not margin.isolated and margin.solid == (1e1, 1e2)


def test_distance_is_a_factor_or_a_difference() -> None:
    assert distance(10.0, 2.0, "log") == distance(2.0, 10.0, "log") == 5.0
    assert distance(10.0, 2.0, "linear") == 8.0
