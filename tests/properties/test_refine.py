"""Properties of a refinement of any labels, in any order of answers."""

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fractal_ray.dimension.audit import audit_report
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners import halo as halo_module
from fractal_ray.planners.halo import HALOS
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.planners.refine import RefinePlanner

Labels = NDArray[np.int8]
"""(ny, nx) int8: 1 yes, 0 no, -1 fails for good."""

_FAILING_CORNERS: Labels = np.array([[-1, 0, -1], [0, 0, 0], [-1, 0, -1]], dtype=np.int8)

_OUTCOMES = {1: Outcome.TRAINED, 0: Outcome.DIVERGED, -1: None}


def frame(cells_x: int, cells_y: int) -> Frame:
    """Make a frame whose axis values are the addresses at level 0."""
    x, y = (Axis(name, "linear", 0.0, cells) for name, cells in (("a", cells_x), ("b", cells_y)))
    return Frame(0, x, y, cells_x, cells_y)


def label(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def answer(point: Point, labels: Labels, levels: int) -> tuple[Point, Outcome | None]:
    shift = levels - point.level
    return point, _OUTCOMES[int(labels[point.iy << shift, point.ix << shift])]


def drive(planner: RefinePlanner, labels: Labels, rng: random.Random, batch: int) -> None:
    """Ask and tell in portions of any size up to `batch`, results in any order."""
    flying: list[Point] = []
    while not planner.done:
        flying += planner.ask(rng.randint(1, batch))
        rng.shuffle(flying)
        count = rng.randint(1, len(flying))
        planner.tell([answer(point, labels, planner.levels) for point in flying[:count]])
        del flying[:count]


def asked(planner: RefinePlanner) -> set[tuple[int, int]]:
    x, y, _ = planner.labels()
    return set(zip(x.tolist(), y.tolist(), strict=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Frame, int, Labels]:
    """Draw a small frame, levels, and labels from blobs to noise; some points fail."""
    cells_x, cells_y, levels = (draw(st.integers(1, 3)) for _ in range(3))
    shape = ((cells_y << levels) + 1, (cells_x << levels) + 1)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    field = np.zeros(shape)
    for size in draw(st.sets(st.sampled_from([1, 2, 5]), min_size=1)):
        field += np.kron(rng.normal(size=shape), np.ones((size, size)))[: shape[0], : shape[1]]
    labels = (field > draw(st.sampled_from([0.0, 1.0, 2.0]))).astype(np.int8)
    labels[rng.random(shape) < draw(st.sampled_from([0.0, 0.0, 0.05]))] = -1
    return frame(cells_x, cells_y), levels, labels


@st.composite
def planners(draw: st.DrawFn) -> tuple[Callable[..., RefinePlanner], Labels]:
    """Draw ``make(**changes)``, which makes planners, and the labels that answer them."""
    shape, levels, labels = draw(cases())
    options = {
        "halo": draw(st.sampled_from(HALOS)),
        "audit": draw(st.sampled_from([0.0, 0.1, 0.5])),
        "seed": draw(st.integers(-5, 5)),
        "probes": draw(st.sampled_from([0, 2, 30])),
    }
    return lambda **changes: RefinePlanner(shape, levels, label, **{**options, **changes}), labels


@pytest.fixture(params=[1, 5], autouse=True, scope="module")
def knot_levels(request: pytest.FixtureRequest):
    """Set the size of knot regions: the smallest possible, and that of the whole frame."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halo_module, "_KNOT_LEVELS", request.param)
        yield


@settings(max_examples=50)
@given(planners(), st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_order_of_answers_changes_nothing(
    case: tuple[Callable[..., RefinePlanner], Labels], rng: random.Random, batch: int
) -> None:
    make, labels = case
    one, other = make(), make()
    drive(one, labels, random.Random(0), 1)
    drive(other, labels, rng, batch)
    assert asked(one) == asked(other)


@settings(max_examples=40)
@given(planners(), st.randoms(use_true_random=False), st.floats(0, 1))
def test_what_is_known_before_is_not_asked_for_and_changes_nothing_else(
    case: tuple[Callable[..., RefinePlanner], Labels], rng: random.Random, share: float
) -> None:
    make, labels = case
    fresh = make()
    drive(fresh, labels, rng, 10)
    levels, cells = fresh.levels, fresh.frame
    known = []
    for x, y in sorted(asked(fresh)):
        if rng.random() < share:
            level = next(k for k in range(levels + 1) if not (x | y) % (1 << (levels - k)))
            shift = levels - level
            known.append(answer(cells.point(level, x >> shift, y >> shift), labels, levels))
    rng.shuffle(known)
    planner = make(known=known)
    asked_for: list[Point] = []
    ask = planner.ask
    planner.ask = lambda n: [p for p in ask(n) if asked_for.append(p) is None]  # type: ignore[method-assign]
    drive(planner, labels, rng, 10)
    assert asked(planner) == asked(fresh)
    assert len(asked_for) == len(set(asked_for)) == len(asked(fresh)) - len(known)


@settings(max_examples=100)
@given(planners())
def test_agrees_with_the_rules_read_literally(
    case: tuple[Callable[..., RefinePlanner], Labels],
) -> None:
    make, labels = case
    planner = make()
    drive(planner, labels, random.Random(0), 7)
    assert asked(planner) == literally(planner, labels)


def in_cells_of_failures(labels: Labels, levels: int) -> NDArray[np.bool_]:
    """Mark (ny, nx) nodes in or on the edge of a cell of any level whose four corners fail."""
    found = np.zeros(labels.shape, dtype=bool)
    for step in (1 << level for level in range(1, levels + 1)):
        fail = labels[::step, ::step] < 0
        cells = fail[:-1, :-1] & fail[1:, :-1] & fail[:-1, 1:] & fail[1:, 1:]
        for row, column in np.argwhere(cells) * step:
            found[row : row + step + 1, column : column + step + 1] = True
    return found


@example((lambda: RefinePlanner(frame(1, 1), 1, label, audit=0.0), _FAILING_CORNERS))
@given(planners())
def test_inference_keeps_what_was_measured_and_invents_no_border(
    case: tuple[Callable[..., RefinePlanner], Labels],
) -> None:
    make, labels = case
    planner = make()
    drive(planner, labels, random.Random(0), 7)
    filled, measured = infer(planner)
    points = asked(planner)
    unknowable = in_cells_of_failures(labels, planner.levels)
    for y, x in np.ndindex(*labels.shape):
        assert measured[y, x] == ((x, y) in points and labels[y, x] >= 0)
        if (x, y) in points:
            assert filled[y, x] == labels[y, x]
        else:
            # A failure is confined to the points around it.
            assert filled[y, x] >= 0 or unknowable[y, x]
    seen = np.where(measured, labels, -1).astype(np.int8)
    assert (boundary_cells(filled).mixed == boundary_cells(seen).mixed).all()


@given(planners(), st.randoms(use_true_random=False), st.integers(0, 60))
def test_a_refinement_that_was_stopped_leaves_open_what_it_would_still_ask(
    case: tuple[Callable[..., RefinePlanner], Labels], rng: random.Random, told: int
) -> None:
    make, labels = case
    planner = make()
    for _ in range(told):
        if planner.done:
            break
        planner.tell([answer(point, labels, planner.levels) for point in planner.ask(1)])
    filled, measured = infer(planner)
    x, y, given_labels = planner.labels()
    assert (filled[y, x] == given_labels).all()
    assert measured.sum() == (given_labels >= 0).sum()


@settings(max_examples=50)
@given(planners())
def test_the_audit_report_adds_up(case: tuple[Callable[..., RefinePlanner], Labels]) -> None:
    make, labels = case
    planner = make()
    drive(planner, labels, random.Random(0), 7)
    report = audit_report(planner)
    assert 0 <= report.surprises + report.undecided <= report.audited <= report.skipped
    assert all(f <= c for f, c in zip(report.found, report.corrected, strict=True))
    assert len(report.found) == planner.levels + 1
    if planner.probes:
        assert report.upper is not None
        assert all(c <= u for c, u in zip(report.corrected, report.upper, strict=True))
        assert 0 <= report.hits <= report.probed <= len(planner.tree.probed)
    else:
        assert (report.probed, report.hits, report.upper) == (0, 0, None)
    bare = make(audit=0.0, probes=0)
    drive(bare, labels, random.Random(0), 7)
    assert report.skipped == len(whole_and_open(bare))
    if planner.audit == 0:
        assert report.audited == 0
        assert report.corrected == report.found
    if report.rate is not None:
        assert report.low is not None
        assert report.high is not None
        assert 0 <= report.low <= report.rate <= report.high <= 1
    _, measured = infer(planner)
    seen = boundary_cells(np.where(measured, labels, -1).astype(np.int8))
    assert report.found[-1] == seen.n_mixed


def whole_and_open(planner: RefinePlanner) -> list[tuple[int, int, int]]:
    """Find cells that refinement left whole although it does not know what a split would show."""
    tree, points, cells = planner.tree, asked(planner), planner.frame
    return [
        (level, x, y)
        for level in range(planner.levels)
        for y in range(cells.cells_y << level)
        for x in range(cells.cells_x << level)
        if not tree.is_boundary(level, x, y)
        and (not level or tree.is_boundary(level - 1, x // 2, y // 2))
        and not split((level, x, y), planner.levels) <= points
    ]


def infer(planner: RefinePlanner) -> tuple[Labels, NDArray[np.bool_]]:
    cells = planner.frame
    return infer_labels(
        *planner.labels(), cells_x=cells.cells_x, cells_y=cells.cells_y, levels=planner.levels
    )


# The rules of quadtree.py, halo.py and rim.py once more, as plainly as they can be said ---------

Cell = tuple[int, int, int]
"""(level, x, y)."""


def literally(planner: RefinePlanner, labels: Labels) -> set[tuple[int, int]]:
    """Apply all rules to all cells of all levels until nothing changes."""
    levels, cells = planner.levels, planner.frame
    every = [
        (level, x, y)
        for level in range(levels + 1)
        for y in range(cells.cells_y << level)
        for x in range(cells.cells_x << level)
    ]
    known = {p for cell in every if cell[0] == 0 for p in corners(cell, levels)}
    while True:
        kinds = {
            (level, x, y): {int(labels[n, m]) for m, n in known & square((level, x, y), levels)}
            for level, x, y in every
        }
        boundary = {cell for cell in every if len(kinds[cell]) > 1}
        tree = {c for c in every if c[0] == 0 or (c[0] - 1, c[1] // 2, c[2] // 2) in boundary}
        more: set[tuple[int, int]] = set()
        for cell in tree:
            if cell[0] < levels and (cell in boundary or planner.tree.audited(*cell)):
                more |= split(cell, levels)
        if planner.halo:
            more |= rings(planner, labels, known, boundary, every)
        around = rim(labels)
        shown = [labels[y, x] for x, y in around if (x, y) in known and labels[y, x] >= 0]
        if sum(a != b for a, b in itertools.pairwise(shown)) >= 3:
            more |= set(around)
        more |= probed(planner, labels, known)
        if more <= known:
            return known
        known |= more


def probed(
    planner: RefinePlanner, labels: Labels, known: set[tuple[int, int]]
) -> set[tuple[int, int]]:
    """List the corners of the first probes, and those of all once five of the first are mixed."""
    cells = [corners((planner.levels, *cell), planner.levels) for cell in planner.tree.probed]
    first = cells[: planner.probes]
    mixed = [{0, 1} <= {int(labels[y, x]) for x, y in cell & known} for cell in first]
    assert len(cells) == planner.probes * (6 if sum(mixed) >= 5 else 1) or not cells[0] <= known
    return set().union(*(cells if sum(mixed) >= 5 else first))


def rim(labels: Labels) -> list[tuple[int, int]]:
    """List the nodes of the rim from (0, 0) anticlockwise."""
    height, width = (n - 1 for n in labels.shape)
    return [
        *((x, 0) for x in range(width)),
        *((width, y) for y in range(height)),
        *((x, height) for x in range(width, 0, -1)),
        *((0, y) for y in range(height, 0, -1)),
    ]


def side_of(cell: Cell, levels: int) -> int:
    return 1 << (levels - cell[0])


def square(cell: Cell, levels: int) -> set[tuple[int, int]]:
    side = side_of(cell, levels)
    return {
        (cell[1] * side + i, cell[2] * side + j)
        for i, j in itertools.product(range(side + 1), repeat=2)
    }


def corners(cell: Cell, levels: int) -> set[tuple[int, int]]:
    side = side_of(cell, levels)
    return {((cell[1] + i) * side, (cell[2] + j) * side) for i in (0, 1) for j in (0, 1)}


def split(cell: Cell, levels: int) -> set[tuple[int, int]]:
    half = side_of(cell, levels) // 2
    return {
        (cell[1] * 2 * half + i * half, cell[2] * 2 * half + j * half)
        for i, j in itertools.product(range(3), repeat=2)
    }


def rings(
    planner: RefinePlanner,
    labels: Labels,
    known: set[tuple[int, int]],
    boundary: set[Cell],
    every: list[Cell],
) -> set[tuple[int, int]]:
    levels = planner.levels
    top = max(0, levels - halo_module._KNOT_LEVELS)
    yes_no = {p: int(labels[p[1], p[0]]) for p in known if labels[p[1], p[0]] >= 0}
    knots = knotted_nodes(yes_no, levels)
    regions = {cell for cell in every if cell[0] <= top and square(cell, levels) & knots}
    around: dict[Cell, int] = {}
    for level, x, y in boundary:
        if level == levels and not {0, 1} <= {yes_no.get(p) for p in square((level, x, y), levels)}:
            continue  # only failed: nothing is sought around it
        shift = max(0, level - top)
        if (level - shift, x >> shift, y >> shift) in regions:
            radius, _ = ring_of(planner, level)
            steps = range(-radius, radius + 1)
            for dx, dy in itertools.product(steps, repeat=2):
                cell = (level, x + dx, y + dy)
                around[cell] = around.get(cell, 0) + 1
    in_frame = set(every)
    wanted: set[tuple[int, int]] = set()
    for cell, count in around.items():
        if cell in in_frame and count >= ring_of(planner, cell[0])[1]:
            wanted |= corners(cell, levels)
    return wanted


def ring_of(planner: RefinePlanner, level: int) -> tuple[int, int]:
    table = halo_module._RINGS[planner.halo]
    return table[min(planner.levels - level, len(table) - 1)]


def knotted_nodes(yes_no: dict[tuple[int, int], int], levels: int) -> set[tuple[int, int]]:
    """Find nodes unlike all four neighbours, and corners of squares with unlike diagonals."""
    found: set[tuple[int, int]] = set()
    for step in (1 << k for k in range(levels + 1)):
        lattice = {p: v for p, v in yes_no.items() if not (p[0] | p[1]) % step}
        for (x, y), value in lattice.items():
            sides = [(x + step, y), (x - step, y), (x, y + step), (x, y - step)]
            if all(lattice.get(p, value) != value for p in sides):
                found.add((x, y))
            a, b, c = (x + step, y), (x, y + step), (x + step, y + step)
            if {a, b, c} <= lattice.keys() and lattice[c] == value != lattice[a] == lattice[b]:
                found |= {(x, y), a, b, c}
    return found
