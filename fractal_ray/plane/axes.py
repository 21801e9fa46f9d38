"""Axes, frames and points: integer lattice addresses <-> exact float64 values.

A value depends only on the axis and on the *fraction* ``address / cells``, so a lattice and its
halving share their common points bit for bit. Values are computed in 50-digit decimal arithmetic
and rounded once. Their bits are thus equal on every machine, whatever its maths library: a point's
identity is made of these bits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["log", "linear"]

PER_STAGE: Final = 1000
"""Count of frame numbers that are reserved for one stage.

A grid of stage i fills frame i. The frames of a zoom of stage i are 1000 i, 1000 i + 1, ... in the
order in which they were chosen; lines and pairs on them have numbers of their own.
"""

# libmpdec rounds exp and ln correctly at this precision, so the result is platform-independent.
_DECIMAL = Context(prec=50)


@dataclass(frozen=True, slots=True)
class Axis:
    """Swept hyperparameter.

    Parameters
    ----------
    param
        Name of the recipe field.
    scale
        "log" (equal ratios between neighbours) or "linear" (equal differences).
    min, max
        Ends of the range in real values, ``min < max``; ``min > 0`` on a log scale.
    integer
        Round values half-to-even to whole numbers; neighbouring addresses may then share a value.

    Examples
    --------
    >>> from fractal_ray import Axis
    >>> axis = Axis("matrix_lr", "log", 1e-4, 1.0)
    >>> [axis.value(address, 4) for address in range(5)]
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """

    param: str
    scale: Scale
    min: float
    max: float
    integer: bool = False

    def ends(self) -> tuple[Decimal, Decimal]:
        """Return the coordinates of both ends: their logarithms on a log scale."""
        # The decimal number as written, not the binary number next to it: a range from 1e-6
        # to 1e-1 then has 1e-3 among its values, as another sweep's range may.
        low, high = Decimal(repr(self.min)), Decimal(repr(self.max))
        if self.scale == "log":
            return _DECIMAL.ln(low), _DECIMAL.ln(high)
        return low, high

    def value(self, address: int, cells: int) -> float:
        """Return the value at `address` of a lattice of `cells` cells (0 <= address <= cells)."""
        if not 0 <= address <= cells:
            raise ValueError(f"address {address} outside 0..{cells} on axis {self.param}")
        if address == 0:
            return self.min
        if address == cells:
            return self.max
        lo, hi = self.ends()
        fraction = _DECIMAL.divide(Decimal(address), Decimal(cells))
        value = _DECIMAL.fma(fraction, _DECIMAL.subtract(hi, lo), lo)
        if self.scale == "log":
            value = _DECIMAL.exp(value)
        return float(value.to_integral_value()) if self.integer else float(value)

    def values(self, cells: int) -> NDArray[np.float64]:
        """Return the read-only values of a lattice of `cells` cells, (cells + 1,), not falling."""
        return _values(self, cells)

    def addresses(self, values: NDArray[np.float64], cells: int) -> NDArray[np.int64]:
        """Return the addresses of exact lattice values, -1 for values that are not on the lattice.

        Of several addresses that share a value (an integer axis, or a range finer than float64)
        the lowest is returned.
        """
        lattice = self.values(cells)
        indices = np.searchsorted(lattice, values, side="left").astype(np.int64)
        exact = lattice[np.minimum(indices, cells)] == values
        return np.where(exact, indices, -1)

    def fraction(self, value: float) -> float:
        """Return the position of a value between the ends, 0 to 1, exact enough for a picture."""
        if self.scale == "log":  # the logarithms of the ends of a narrow range are equal
            low, high = self.min, self.max
            return math.log1p((value - low) / low) / math.log1p((high - low) / low)
        return (value - self.min) / (self.max - self.min)

    def distinct(self, cells: int) -> int:
        """Return how many different values a lattice of `cells` cells has."""
        return int(np.unique(self.values(cells)).size)


@lru_cache(maxsize=256)
def _values(axis: Axis, cells: int) -> NDArray[np.float64]:
    values = np.array([axis.value(i, cells) for i in range(cells + 1)], dtype=np.float64)
    values.flags.writeable = False
    return values


@dataclass(frozen=True, slots=True)
class Point:
    """Lattice node: one pair of values, one training run.

    `ix`, `iy` count from the low end of the axes on the lattice of `level`, so the address stays
    true however much deeper the frame is refined later.

    Examples
    --------
    >>> from fractal_ray import Axis, Frame
    >>> side = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 2.0)
    >>> Frame(0, *side, cells_x=2, cells_y=2).point(level=1, ix=1, iy=4)
    Point(frame=0, level=1, ix=1, iy=4, x=0.25, y=2.0)
    """

    frame: int
    level: int
    ix: int
    iy: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of the axes plane with an integer lattice over it.

    Parameters
    ----------
    id
        Number of the frame within its sweep, from 0.
    x, y
        The axes, cut to the frame's range.
    cells_x, cells_y
        Cells along each side at level 0, at least 1; level L has ``cells << L``.

    Examples
    --------
    >>> from fractal_ray import Axis, Frame
    >>> side = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 2.0)
    >>> frame = Frame(0, *side, cells_x=2, cells_y=1)
    >>> [(point.x, point.y) for point in frame.points()][:4]
    [(0.0, 0.0), (1.0, 0.0), (0.5, 0.0), (0.0, 2.0)]
    >>> len(list(frame.points(level=1)))
    15
    """

    id: int
    x: Axis
    y: Axis
    cells_x: int
    cells_y: int

    def point(self, level: int, ix: int, iy: int) -> Point:
        """Return the node at (ix, iy) of the lattice of `level`."""
        x = float(self.x.values(self.cells_x << level)[ix])
        y = float(self.y.values(self.cells_y << level)[iy])
        return Point(self.id, level, ix, iy, x, y)

    def points(self, level: int = 0) -> Iterator[Point]:
        """Yield all nodes of a level, coarse to fine, so that a map fills in evenly."""
        nx, ny = (self.cells_x << level) + 1, (self.cells_y << level) + 1
        stride = 1
        while stride * 2 < max(nx, ny):
            stride *= 2
        coarser = 0
        while stride:
            for iy in range(0, ny, stride):
                for ix in range(0, nx, stride):
                    if not coarser or ix % coarser or iy % coarser:
                        yield self.point(level, ix, iy)
            coarser, stride = stride, stride // 2


def stage_of(frame_id: int) -> int:
    """Return the number of the stage that a frame belongs to."""
    return frame_id if frame_id < PER_STAGE else frame_id // PER_STAGE


def is_bisection(stage: str) -> bool:
    """Return True if a stage, by its name, runs points of bisections, which are no nodes."""
    return stage.endswith(":bisect")


def sampler_id(frame_id: int, index: int) -> int:
    """Return the frame number for the lines or pairs that stage `index` places on a frame."""
    return index * PER_STAGE + frame_id % PER_STAGE if frame_id >= PER_STAGE else index
