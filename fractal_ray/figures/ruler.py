"""Rulers: the positions of an axis's values in a picture, and the units of its ticks.

Pictures are drawn in the units of their ticks, so that ticks are round numbers. A deep frame may be
narrower than the spacing of float64 at its place: its nodes are drawn at their exact differences
from a round origin, which the axis's title gives in full.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.cut_axis import DECIMAL

_TEN: Final = DECIMAL.ln(Decimal(10))


@dataclass(frozen=True)
class Ruler:
    """Axis of a picture: ``position = (coordinate - origin) / unit``.

    Parameters
    ----------
    name
        Name of the swept parameter.
    scale
        "log": coordinates are log10 of values; "linear": values.
    origin, unit
        Round numbers.
    """

    name: str
    scale: str
    origin: Decimal
    unit: Decimal

    def positions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions of values, as exact as their differences in float64."""
        if not self.origin:
            return _coordinates(values, self.scale) / float(self.unit)
        first = float(values[0])
        apart = values - first
        if self.scale == "log":
            apart = np.log1p(apart / first) / math.log(10)
        return self._position(_exact(first, self.scale)) + apart / float(self.unit)

    def position_at(self, coordinate: Decimal) -> float:
        """Return the position of a coordinate of `plane/cut_axis.py` (on "log": a logarithm)."""
        return self._position(
            DECIMAL.divide(coordinate, _TEN) if self.scale == "log" else coordinate
        )

    def _position(self, coordinate: Decimal) -> float:
        return float(DECIMAL.subtract(coordinate, self.origin) / self.unit)

    @property
    def label(self) -> str:
        """Return the title of the axis; a second line gives the origin and unit of its ticks."""
        label = f"log10({self.name})" if self.scale == "log" else self.name
        if self.unit == 1:
            return label
        if not self.origin:
            return f"{label} / {self.unit:.0e}"
        return f"{label}\n= {self.origin:f} + tick x {self.unit:.0e}"


def ruler(values: NDArray[np.float64], name: str, scale: str) -> Ruler:
    """Make the ruler of (n,) values that never decrease and are above 0 on a log scale."""
    low, high = _exact(float(values[0]), scale), _exact(float(values[-1]), scale)
    return Ruler(name, scale, *tick_units(low, high))


def tick_units(low: Decimal, high: Decimal) -> tuple[Decimal, Decimal]:
    """Return origin and unit in which ticks between `low` and `high` are short round numbers.

    They are (0, 1) unless the range is a thousand times narrower than its values (a deep zoom: the
    origin lies in the middle, so ticks go from -5 to 5 at most), or the values are below 1e-3 or
    from 1e5 on. This replaces matplotlib's offset, which is printed across the axis label.
    """
    size, span = max(abs(low), abs(high)), high - low
    if 0 < span < size / 1000:
        unit = _power_below(span)
        return ((low + high) / 2).quantize(unit, context=DECIMAL).normalize(), unit
    if not size or not span or Decimal("1e-3") <= size < Decimal("1e5"):
        return Decimal(0), Decimal(1)
    return Decimal(0), _power_below(size)


def _power_below(number: Decimal) -> Decimal:
    return Decimal(1).scaleb(number.adjusted())


def _coordinates(values: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    return np.log10(values) if scale == "log" else values.astype(np.float64)


def _exact(value: float, scale: str) -> Decimal:
    return DECIMAL.log10(Decimal(value)) if scale == "log" else Decimal(value)
