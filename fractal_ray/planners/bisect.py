"""Bisection of segments: points of the border itself, to the last bit of the arithmetic.

A segment joins two nodes with different labels. Its midpoint is run, and the half whose ends differ
is halved again, until the midpoint equals one of the ends in the arithmetic that uses the values.
That takes about 50 runs in float64 and 20 in float32, one after the other in a segment; several
segments advance beside each other.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.cut_axis import DECIMAL, coordinate_at, value_at
from fractal_ray.plane.outcome import Outcome
from fractal_ray.plane.precision import Arithmetics, rounded
from fractal_ray.planners.base import Result
from fractal_ray.planners.windows import Cell

_ATTEMPTS: Final = 4
"""Number of points to try if the midpoint's run fails for good, itself included."""
_HALVINGS: Final = 64
"""Most halvings of a segment: on a linear axis float64 has no last bit next to 0, and a border
there could be followed for 1000 halvings."""

Segment = tuple[Point, Point]
"""Pair of a node labelled yes and a node labelled no."""
State = Literal["open", "resolved", "gave up"]


@dataclass(frozen=True, slots=True)
class Bracket:
    """Two points with different labels; the border crosses the segment between them.

    Parameters
    ----------
    yes, no
        Values ``(x, y)`` of the points.
    labels
        Label of each run, in order: True (yes), False (no), or None if it failed for good.
    state
        "resolved": no number lies between, or 64 halvings were made; "gave up": the midpoint and
        3 places beside it failed; "open": more runs are needed.
    """

    yes: tuple[float, float]
    no: tuple[float, float]
    labels: tuple[bool | None, ...]
    state: State

    @property
    def x(self) -> tuple[float, float]:
        """Return the interval of x that holds the border point, ``low <= high``."""
        return min(self.yes[0], self.no[0]), max(self.yes[0], self.no[0])

    @property
    def y(self) -> tuple[float, float]:
        """Return the interval of y that holds the border point, ``low <= high``."""
        return min(self.yes[1], self.no[1]), max(self.yes[1], self.no[1])


def segments_in(
    frame: Frame, level: int, labels: NDArray[np.int8], cells: Sequence[Cell], seed: int = 0
) -> list[Segment]:
    """Draw one segment of each boundary cell: two of its corners that differ, drawn evenly.

    Parameters
    ----------
    frame, level
        The frame, and the level of the lattice of the labels.
    labels
        (ny, nx) int8 of 1, 0 and -1. Nodes that were not run must be -1: a wrong label brackets
        nothing.
    cells
        (row, column) of the cells.
    seed
        Seed of the draw.

    Raises
    ------
    ValueError
        If a cell is not a boundary cell.
    """
    rng = random.Random(seed)
    return [_segment(frame, level, labels, cell, rng) for cell in cells]


def _segment(
    frame: Frame, level: int, labels: NDArray[np.int8], cell: Cell, rng: random.Random
) -> Segment:
    corners = [(cell[0] + up, cell[1] + right) for up in (0, 1) for right in (0, 1)]
    pairs = [(a, b) for a in corners if labels[a] == 1 for b in corners if labels[b] == 0]
    if not pairs:
        raise ValueError(f"the corners of cell {cell} do not differ")
    yes, no = pairs[int(rng.random() * len(pairs))]
    return frame.point(level, yes[1], yes[0]), frame.point(level, no[1], no[0])


@dataclass(slots=True)
class _Search:
    """State of a segment; places are shares of the way from its yes end to its no end."""

    start: tuple[Decimal, Decimal]
    step: tuple[Decimal, Decimal]
    yes: Fraction = Fraction(0)
    no: Fraction = Fraction(1)
    labels: list[bool | None] = field(default_factory=list)
    halvings: int = 0
    attempt: int = 0
    failed: list[tuple[float, float]] = field(default_factory=list)
    out: tuple[Fraction, Point] | None = None
    state: State = "open"


class BisectPlanner:
    """Planner that bisects segments between differing nodes of `frame`.

    The address of a point is its own: `level` counts the halvings from 1, `ix` the segments from
    0, and `iy` the attempts from 0. It names no lattice node.

    Parameters
    ----------
    frame
        The frame that the segments lie in.
    segments
        Known nodes of its lattice, at any level: they are not run again.
    label
        Returns True for outcomes that are labelled yes.
    seed
        Seed of the other places to try, in the middle half, if the midpoint's run fails for good.
    arithmetics
        Arithmetics that use the values of x and of y.

    Raises
    ------
    SweepError
        If an axis takes whole numbers only.
    ValueError
        If a segment leaves the frame.
    """

    def __init__(
        self,
        frame: Frame,
        segments: Sequence[Segment],
        label: Callable[[Outcome], bool],
        seed: int = 0,
        arithmetics: Arithmetics = ("float64", "float64"),
    ) -> None:
        for axis in (frame.x, frame.y):
            if axis.integer:
                raise SweepError(f"{axis.param} takes whole numbers: its border is at a node")
        self.frame = frame
        self._label = label
        self._seed = seed
        self._arithmetics = arithmetics
        self._searches = [self._search(*segment) for segment in segments]
        self._todo: deque[Point] = deque()
        for number in range(len(self._searches)):
            self._next(number)

    @property
    def backlog(self) -> int:
        """Return the number of points that `ask` could return now: at most one per segment."""
        return len(self._todo)

    @property
    def done(self) -> bool:
        """Return True when all segments are resolved or given up."""
        return all(search.state != "open" for search in self._searches)

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points; [] if results are missing, or if the planner is done."""
        return [self._todo.popleft() for _ in range(min(n, len(self._todo)))]

    def tell(self, results: Sequence[Result]) -> None:
        """Take results of points that `ask` returned, in any order; None for a failed point."""
        for point, outcome in results:
            search = self._searches[point.ix]
            if search.out is None or search.out[1] != point:
                raise ValueError(f"{point} was not requested, or already has a result")
            place, search.out = search.out[0], None
            label = None if outcome is None else self._label(outcome)
            search.labels.append(label)
            if label is None:
                search.attempt += 1
                search.failed.append((point.x, point.y))
            else:
                search.attempt, search.halvings = 0, search.halvings + 1
                search.yes, search.no = (place, search.no) if label else (search.yes, place)
            self._next(point.ix)

    def brackets(self) -> list[Bracket]:
        """Return the bracket of each segment, in the order of the segments."""
        return [
            Bracket(
                yes=_values(self.frame, search, search.yes),
                no=_values(self.frame, search, search.no),
                labels=tuple(search.labels),
                state=search.state,
            )
            for search in self._searches
        ]

    def _search(self, yes: Point, no: Point) -> _Search:
        ends = []
        for point in (yes, no):
            if point.frame != self.frame.id:
                raise ValueError(f"{point} is not on frame {self.frame.id}")
            fx = DECIMAL.divide(Decimal(point.ix), Decimal(self.frame.cells_x << point.level))
            fy = DECIMAL.divide(Decimal(point.iy), Decimal(self.frame.cells_y << point.level))
            ends.append((coordinate_at(self.frame.x, fx), coordinate_at(self.frame.y, fy)))
        (x, y), (to_x, to_y) = ends
        return _Search((x, y), (DECIMAL.subtract(to_x, x), DECIMAL.subtract(to_y, y)))

    def _next(self, number: int) -> None:
        """Queue the next point of a segment, or close it."""
        search = self._searches[number]
        ends = [_values(self.frame, search, end) for end in (search.yes, search.no)]
        while search.attempt < _ATTEMPTS:
            place = self._place(number, search)
            values = _values(self.frame, search, place)
            one_of_them = self._rounded(values) in map(self._rounded, ends)
            if not search.attempt and (one_of_them or search.halvings == _HALVINGS):
                search.state = "resolved"
                return
            if not one_of_them and values not in search.failed:
                level = search.halvings + 1
                point = Point(self.frame.id, level, number, search.attempt, *values)
                search.out = place, point
                self._todo.append(point)
                return
            search.attempt += 1
        search.state = "gave up"

    def _rounded(self, values: tuple[float, float]) -> tuple[float, float]:
        """Return the values as the arithmetic rounds them."""
        x, y = (
            float(rounded(np.array([value]), arithmetic)[0])
            for value, arithmetic in zip(values, self._arithmetics, strict=True)
        )
        return x, y

    def _place(self, number: int, search: _Search) -> Fraction:
        share = Fraction(1, 2)
        if search.attempt:
            rng = random.Random(f"{self._seed} {number} {search.halvings} {search.attempt}")
            share = Fraction(256 + int(rng.random() * 513), 1024)
        return search.yes + (search.no - search.yes) * share


def _values(frame: Frame, search: _Search, place: Fraction) -> tuple[float, float]:
    share = DECIMAL.divide(Decimal(place.numerator), Decimal(place.denominator))
    (x, y), (dx, dy) = search.start, search.step
    return (
        value_at(frame.x, DECIMAL.fma(share, dx, x)),
        value_at(frame.y, DECIMAL.fma(share, dy, y)),
    )
