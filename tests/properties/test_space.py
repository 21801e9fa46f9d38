"""Axis addresses <-> values: round trip, monotone, exact ends, shared by halvings."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_ray.plane.axes import Axis, Frame

positive = st.floats(1e-12, 1e6, allow_nan=False, allow_infinity=False)
anything = st.floats(-1e6, 1e6, allow_nan=False, allow_infinity=False)
cells = st.integers(1, 300)


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """Draw log and linear axes wide enough that 300 cells are all different in float64."""
    if draw(st.booleans()):
        low = draw(positive)
        return Axis("lr", "log", low, low * draw(st.floats(1 + 1e-6, 1e9)))
    low = draw(anything)
    return Axis("lr", "linear", low, low + draw(st.floats(1e-3, 1e6)))


@given(axes(), cells)
def test_ends_are_exact(axis: Axis, cells: int) -> None:
    values = axis.values(cells)
    assert values[0] == axis.min
    assert values[-1] == axis.max


@given(axes(), cells)
def test_values_rise(axis: Axis, cells: int) -> None:
    assert np.all(np.diff(axis.values(cells)) > 0)


@given(axes(), cells)
def test_round_trip(axis: Axis, cells: int) -> None:
    assert axis.addresses(axis.values(cells), cells).tolist() == list(range(cells + 1))


@given(axes(), st.integers(1, 60), st.integers(1, 6))
def test_a_halving_keeps_every_value_bit_for_bit(axis: Axis, cells: int, level: int) -> None:
    fine = axis.values(cells << level)
    assert np.array_equal(fine[:: 1 << level], axis.values(cells))


@given(axes(), cells)
def test_values_between_nodes_are_on_no_address(axis: Axis, cells: int) -> None:
    values = axis.values(cells)
    between = np.nextafter(values[:-1], math.inf)
    expected = np.where(between == values[1:], np.arange(1, cells + 1), -1)
    assert np.array_equal(axis.addresses(between, cells), expected)


@given(st.integers(-50, 1000), st.integers(1, 2000), cells)
def test_integer_axes_round_and_never_leave_their_range(low: int, span: int, cells: int) -> None:
    axis = Axis("num_tokens", "linear", low, low + span, integer=True)
    values = axis.values(cells)
    assert np.array_equal(values, np.round(values))
    assert np.all(np.diff(values) >= 0)
    assert (values[0], values[-1]) == (low, low + span)
    found = axis.addresses(values, cells)
    assert np.array_equal(values[found], values)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2))
def test_points_of_a_level_are_each_node_once(nx: int, ny: int, level: int) -> None:
    frame = Frame(0, Axis("a", "log", 1e-3, 1.0), Axis("b", "linear", 0.0, 1.0), nx, ny)
    seen = [(point.ix, point.iy) for point in frame.points(level)]
    wide, high = (nx << level) + 1, (ny << level) + 1
    assert len(seen) == len(set(seen)) == wide * high
    assert set(seen) == {(ix, iy) for ix in range(wide) for iy in range(high)}


def test_known_values() -> None:
    axis = Axis("lr", "log", 1e-6, 1e-1)
    assert axis.values(5).tolist() == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert Axis("a", "linear", 0.0, 1.0).values(4).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
