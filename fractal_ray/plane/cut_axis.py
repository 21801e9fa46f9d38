"""Parts of an axis with exact ends, and conversion between an axis's values and its coordinate.

An axis's own coordinate is the value on a linear scale and its natural logarithm on a log scale,
in the 50-digit decimals of `plane.axes.Axis`.
"""

from dataclasses import dataclass, field
from decimal import Context, Decimal

from fractal_ray.plane.axes import Axis

DECIMAL = Context(prec=50)
"""Arithmetic of coordinates, equal to the arithmetic of `plane.axes.Axis`."""


@dataclass(frozen=True, slots=True)
class CutAxis(Axis):
    """Part of an axis of real numbers with exact ends; `min` and `max` are the rounded ends.

    Parameters
    ----------
    low, high
        The ends in the axis's own coordinate.
    """

    low: Decimal = field(kw_only=True)
    high: Decimal = field(kw_only=True)

    def ends(self) -> tuple[Decimal, Decimal]:
        """Return the coordinates of both ends."""
        return self.low, self.high

    def value(self, address: int, cells: int) -> float:
        """Return the value at `address` of a lattice of `cells` cells (0 <= address <= cells)."""
        if not 0 <= address <= cells:
            raise ValueError(f"address {address} outside 0..{cells} on axis {self.param}")
        fraction = DECIMAL.divide(Decimal(address), Decimal(cells))
        return value_at(self, coordinate_at(self, fraction))


def cut(axis: Axis, low: Decimal, high: Decimal) -> CutAxis:
    """Return the part of an axis of real numbers between two coordinates."""
    values = value_at(axis, low), value_at(axis, high)
    return CutAxis(axis.param, axis.scale, *values, low=low, high=high)


def coordinate(axis: Axis, value: float) -> Decimal:
    """Return the coordinate of a value, of the number as written, as `Axis` reads its ends."""
    written = Decimal(repr(value))
    return DECIMAL.ln(written) if axis.scale == "log" else written


def value_at(axis: Axis, coordinate: Decimal) -> float:
    """Return the value at a coordinate, rounded once."""
    return float(DECIMAL.exp(coordinate) if axis.scale == "log" else coordinate)


def coordinate_at(axis: Axis, share: Decimal) -> Decimal:
    """Return the coordinate at a share of the way from the low end of an axis to its high end."""
    low, high = axis.ends()
    return DECIMAL.fma(share, DECIMAL.subtract(high, low), low)


def share_at(axis: Axis, coordinate: Decimal) -> Decimal:
    """Return the share of the way at which a coordinate lies."""
    low, high = axis.ends()
    return DECIMAL.divide(DECIMAL.subtract(coordinate, low), DECIMAL.subtract(high, low))
