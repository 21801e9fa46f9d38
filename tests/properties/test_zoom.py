"""Properties of every zoom: windows, frames and bisections."""

import math
import random
from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Outcome
from fractal_ray.plane.precision import deepest_level, distinct_values
from fractal_ray.plane.zoom import zoom_in, zoom_out
from fractal_ray.planners.bisect import BisectPlanner, Bracket, segments_in
from fractal_ray.planners.windows import densest, diverse, random_cells

SHARES = st.decimals(0, 1, places=6)
FACTORS = st.floats(1.01, 1000)
SEEDS = st.integers(0, 2**32)
LABELS = arrays(
    np.int8, array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24),
    elements=st.sampled_from([-1, 0, 1]),
)  # fmt: skip
SPARSE = arrays(
    np.int8, array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24),
    elements=st.sampled_from([0, 1]), fill=st.just(0),
)  # fmt: skip


@st.composite
def axes(draw: st.DrawFn, widest: float = 1e6) -> Axis:
    if draw(st.booleans()):
        low = draw(st.floats(1e-9, 1e3))
        return Axis("lr", "log", low, low * draw(st.floats(1.5, widest)))
    low = draw(st.floats(-1e3, 1e3))
    return Axis("lr", "linear", low, low + draw(st.floats(1e-2, 1e3)))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    sides = st.integers(1, 40)
    return Frame(0, draw(axes()), draw(axes()), draw(sides), draw(sides))


# Frames -------------------------------------------------------------------------------------


@given(frames(), SHARES, SHARES, FACTORS, st.integers(1, 12))
def test_frames_lie_in_their_parents_and_are_as_narrow_as_asked(
    frame: Frame, fx: Decimal, fy: Decimal, factor: float, depth: int
) -> None:
    zooms = zoom_in(frame, (fx, fy), factor, cells=(2, 2), first_id=1, rule="center", depth=depth)
    parent = frame
    for zoom in zooms:
        for child, around, centre in (
            (zoom.frame.x, parent.x, zoom.x),
            (zoom.frame.y, parent.y, zoom.y),
        ):
            (low, high), (lowest, highest) = child.ends(), around.ends()
            assert lowest <= low < high <= highest
            assert around.min <= child.min <= centre <= child.max <= around.max
            asked = (highest - lowest) / Decimal(repr(factor))
            assert abs((high - low) / asked - 1) < Decimal("1e-10")
            assert child.values(2).tolist() == sorted(child.values(2).tolist())
            assert (child.values(2)[0], child.values(2)[-1]) == (child.min, child.max)
        parent = zoom.frame


@given(frames(), SHARES, SHARES, st.sampled_from([2, 3, 5, 8]), st.integers(1, 6))
def test_zooming_out_is_zooming_in_backwards(
    frame: Frame, fx: Decimal, fy: Decimal, factor: int, depth: int
) -> None:
    ways = [
        zoom((frame), (fx, fy), factor, cells=(3, 3), first_id=1, rule="center", depth=depth)
        for zoom in (zoom_in, zoom_out)
    ]
    inward, outward = ways
    assert len(outward) == len(inward) + 1
    for a, b in zip(reversed(outward[:-1]), inward, strict=True):
        assert np.array_equal(a.frame.x.values(3), b.frame.x.values(3))
        assert np.array_equal(a.frame.y.values(3), b.frame.y.values(3))


# Windows ------------------------------------------------------------------------------------


def windows_of(labels: np.ndarray, factor: float, centres: list) -> list[tuple[float, ...]]:
    """Return (bottom, left, top, right) in cells, shifted inside the frame."""
    rows, columns = (n - 1 for n in labels.shape)
    wide, high = columns / factor, rows / factor
    found = []
    for fx, fy in centres:
        left = min(max(float(fx) * columns - wide / 2, 0.0), columns - wide)
        bottom = min(max(float(fy) * rows - high / 2, 0.0), rows - high)
        assert abs(left + wide / 2 - float(fx) * columns) < 0.5
        assert abs(bottom + high / 2 - float(fy) * rows) < 0.5
        found.append((bottom, left, bottom + high, left + wide))
    return found


def assert_apart_and_inside(labels: np.ndarray, windows: list[tuple[float, ...]]) -> None:
    rows, columns = (n - 1 for n in labels.shape)
    for k, (bottom, left, top, right) in enumerate(windows):
        assert bottom > -1e-9
        assert left > -1e-9
        assert top < rows + 1e-9
        assert right < columns + 1e-9
        for other in windows[:k]:
            across = min(right, other[3]) - max(left, other[1])
            up = min(top, other[2]) - max(bottom, other[0])
            assert min(across, up) < 1e-9


@given(LABELS, st.data(), SEEDS)
def test_windows_do_not_overlap_and_hold_border(
    labels: np.ndarray, data: st.DataObject, seed: int
) -> None:
    factor = data.draw(st.floats(1.01, min(labels.shape) - 1))
    count = data.draw(st.integers(1, 9))
    mixed = boundary_cells(labels).mixed
    for centres in (densest(labels, factor, count), diverse(labels, factor, count, seed)):
        assert len(centres) <= count
        assert bool(centres) == bool(mixed.any())
        windows = windows_of(labels, factor, centres)
        assert_apart_and_inside(labels, windows)
        for bottom, left, top, right in windows:  # whole cells, as they were counted
            rows = slice(math.ceil(bottom - 1e-9), math.floor(top + 1e-9))
            assert mixed[rows, math.ceil(left - 1e-9) : math.floor(right + 1e-9)].any()
    assert diverse(labels, factor, count, seed) == diverse(labels, factor, count, seed)


@given(SPARSE, st.data())
def test_the_densest_window_is_as_full_as_any(labels: np.ndarray, data: st.DataObject) -> None:
    rows, columns = (n - 1 for n in labels.shape)
    factor = data.draw(st.sampled_from([2, 3]))
    if factor > min(rows, columns):
        return
    mixed = boundary_cells(labels).mixed
    height, width = rows // factor, columns // factor
    fullest = max(
        mixed[i : i + height, j : j + width].sum()
        for i in range(rows - height + 1)
        for j in range(columns - width + 1)
    )
    centres = densest(labels, factor)
    if not fullest:
        assert centres == []
        return
    ((fx, fy),) = centres
    i, j = round(float(fy) * rows - height / 2), round(float(fx) * columns - width / 2)
    assert mixed[i : i + height, j : j + width].sum() == fullest


@given(LABELS, st.data(), SEEDS)
def test_windows_around_any_point_of_random_cells_do_not_overlap(
    labels: np.ndarray, data: st.DataObject, seed: int
) -> None:
    factor = data.draw(st.floats(1.01, min(labels.shape) - 1))
    cells = random_cells(labels, factor, 6, seed)
    assert cells == random_cells(labels, factor, 6, seed)
    rows, columns = (n - 1 for n in labels.shape)
    windows = []
    for row, column in cells:
        assert boundary_cells(labels).mixed[row, column]
        up, right = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
        height, width = rows / factor, columns / factor
        bottom = min(max(row + up - height / 2, 0), rows - height)
        left = min(max(column + right - width / 2, 0), columns - width)
        windows.append((bottom, left, bottom + height, left + width))
    assert_apart_and_inside(labels, windows)


# Bisection ----------------------------------------------------------------------------------


def label_of(point: Point, seed: int) -> Outcome | None:
    """Answer with noise, the roughest border there is; one run in eight fails."""
    draw = random.Random(f"{seed} {point.x!r} {point.y!r}").randrange(8)
    return None if draw == 0 else Outcome.TRAINED if draw % 2 else Outcome.DIVERGED


def bisected(
    frame: Frame, labels: np.ndarray, seed: int, rng: random.Random
) -> tuple[list[Bracket], set[Point]]:
    mixed = [(int(i), int(j)) for i, j in np.argwhere(boundary_cells(labels).mixed)][:4]
    segments = segments_in(frame, 0, labels, mixed, seed)
    planner = BisectPlanner(frame, segments, lambda what: what is Outcome.TRAINED, seed)
    asked: list[Point] = []
    flying: list[Point] = []
    while not planner.done:
        points = planner.ask(rng.randint(1, 3))
        asked += points
        flying += points
        rng.shuffle(flying)
        count = rng.randint(0 if points else 1, len(flying))
        told, flying = flying[:count], flying[count:]
        planner.tell([(point, label_of(point, seed)) for point in told])
    assert not flying
    assert planner.backlog == 0
    assert len({(point.ix, point.x, point.y) for point in asked}) == len(asked)
    return planner.brackets(), set(asked)


@settings(max_examples=25)
@given(axes(), axes(), SPARSE, SEEDS, st.randoms(use_true_random=False))
def test_a_bisection_does_not_depend_on_order_and_ends_at_neighbours(
    x: Axis, y: Axis, labels: np.ndarray, seed: int, rng: random.Random
) -> None:
    frame = Frame(0, x, y, labels.shape[1] - 1, labels.shape[0] - 1)
    brackets, asked = bisected(frame, labels, seed, rng)
    assert (brackets, asked) == bisected(frame, labels, seed, random.Random(0))
    known = {(p.x, p.y): label_of(p, seed) for p in asked}
    for number, bracket in enumerate(brackets):
        assert known.get(bracket.yes, Outcome.TRAINED) is Outcome.TRAINED
        assert known.get(bracket.no, Outcome.DIVERGED) is Outcome.DIVERGED
        assert len(bracket.labels) == sum(point.ix == number for point in asked)
        assert bracket.state in ("resolved", "gave up")
        halvings = len(bracket.labels) - bracket.labels.count(None)
        if bracket.state == "resolved" and halvings < 64:
            for low, high in (bracket.x, bracket.y):
                assert high <= np.nextafter(low, np.inf)


# Precision ----------------------------------------------------------------------------------


@settings(max_examples=12)
@given(axes(), st.integers(1, 6), st.sampled_from(["float64", "float32"]))
def test_nodes_of_the_deepest_level_are_different_numbers(axis: Axis, cells: int, how) -> None:
    level = deepest_level(Frame(0, axis, axis, cells, cells), (how, how))
    assert level >= 0
    assert distinct_values(axis, cells << level, how) == (cells << level) + 1


@settings(max_examples=20)
@given(axes(widest=4.0), st.integers(1, 3))
def test_a_few_levels_further_some_are_the_same(axis: Axis, cells: int) -> None:
    level = deepest_level(Frame(0, axis, axis, cells, cells), ("bfloat16", "bfloat16"))
    if level >= 0:
        assert distinct_values(axis, cells << level, "bfloat16") == (cells << level) + 1
    beyond = cells << level + 3
    assert distinct_values(axis, beyond, "bfloat16") < beyond + 1
