"""Zooms: new frames around the border of a filled frame, chosen from its labels.

A centre is picked from labels (`planners/windows.py`), located by bisection (`planners/bisect.py`)
or named by the user; `zoom_in` and `zoom_out` make the frames. Their ends are exact
(`cut_axis.py`), not rounded to float64: a window has its exact size at any depth, and a node that
it shares with the lattice around it has equal bits there, so it is run once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.cut_axis import (
    DECIMAL,
    CutAxis,
    coordinate,
    coordinate_at,
    cut,
    share_at,
    value_at,
)

Centre = tuple[Decimal, Decimal]
"""Place in a frame: 0 to 1 along x and along y, linear in the axes' own coordinates."""


@dataclass(frozen=True, slots=True)
class Zoom:
    """Frame that was cut from another, with the reason for its place.

    Parameters
    ----------
    frame
        The new frame.
    parent_id
        Number of the frame that it was cut from.
    fx, fy
        The chosen centre in unit coordinates of the parent, rounded to float64.
    x, y
        The centre in real values. The frame is centred there unless it would have left its parent.
    factor
        Width of the parent divided by the width of the frame, along each side.
    rule
        Name of the rule that chose the centre.
    seed
        Seed of the rule.
    label
        Label of the points when the centre was chosen, in the form of a spec.
    """

    frame: Frame
    parent_id: int
    fx: float
    fy: float
    x: float
    y: float
    factor: float
    rule: str
    seed: int
    label: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, from which `from_json` makes an equal zoom, bit for bit."""
        frame = self.frame
        return {
            "frame": frame.id,
            "parent": self.parent_id,
            "axes": {"x": _axis_to_json(frame.x), "y": _axis_to_json(frame.y)},
            "cells": [frame.cells_x, frame.cells_y],
            "centre": {"fx": self.fx, "fy": self.fy, "x": self.x, "y": self.y},
            "factor": self.factor,
            "rule": self.rule,
            "seed": self.seed,
            "label": dict(self.label),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Zoom":
        """Return the zoom that `to_json` wrote."""
        x, y = (_axis_from_json(data["axes"][side]) for side in ("x", "y"))
        frame = Frame(data["frame"], x, y, *data["cells"])
        return cls(
            frame=frame,
            parent_id=data["parent"],
            **data["centre"],
            factor=data["factor"],
            rule=data["rule"],
            seed=data["seed"],
            label=data["label"],
        )


def centre_of(frame: Frame, x: float, y: float) -> Centre:
    """Return the unit coordinates of a pair of values.

    Raises
    ------
    SweepError
        If it lies outside the frame.
    """
    for name, axis, value in (("x", frame.x, x), ("y", frame.y, y)):
        if not axis.min <= value <= axis.max:
            raise SweepError(
                f"the centre's {name} ({axis.param}) is {value!r}; the frame goes from"
                f" {axis.min!r} to {axis.max!r}"
            )
    return share_at(frame.x, coordinate(frame.x, x)), share_at(frame.y, coordinate(frame.y, y))


def zoom_in(
    frame: Frame,
    centre: Centre,
    factor: float,
    *,
    cells: tuple[int, int],
    first_id: int,
    rule: str,
    depth: int = 1,
    seed: int = 0,
) -> list[Zoom]:
    """Return frames around one centre, each `factor` times narrower than the one before.

    Parameters
    ----------
    frame
        Frame that the first new frame is cut from.
    centre
        Centre in unit coordinates of `frame`. A window that would leave its parent is shifted
        inside.
    factor
        Width of each frame divided by the width of the next, above 1.
    cells
        Cells of the new frames along x and y, at level 0.
    first_id
        Number of the first new frame; the numbers count up, and each frame is the parent of the
        next.
    rule, seed
        Rule that chose the centre and its seed, for the record.
    depth
        Number of frames. Fewer are returned if a frame would have only one float64 along an axis.

    Raises
    ------
    SweepError
        If an axis takes whole numbers only, or `factor` is not above 1.
    """
    _check(frame, factor)
    at = coordinate_at(frame.x, centre[0]), coordinate_at(frame.y, centre[1])
    zooms: list[Zoom] = []
    for number in range(first_id, first_id + depth):
        zoom = _zoom(frame, at, Decimal(repr(factor)), cells, number, rule, seed)
        if not _resolved(zoom.frame):
            break
        zooms.append(zoom)
        frame = zoom.frame
    return zooms


def zoom_out(
    frame: Frame,
    centre: Centre,
    factor: float = 2.0,
    *,
    cells: tuple[int, int],
    first_id: int,
    rule: str,
    depth: int,
    seed: int = 0,
) -> list[Zoom]:
    """Return the frames of `zoom_in` from the deepest outwards; the last covers all of `frame`.

    The movie of Sohl-Dickstein 2024 (arXiv 2402.06184) is made in this way: the side of a deep box
    is doubled until it covers the axes. Its last boxes leave the axes. Here they stay inside,
    because settings beyond the axes were never allowed, so their centre drifts to one side. All
    frames are recorded as cut from `frame`.

    Parameters
    ----------
    depth
        The deepest frame is ``factor**depth`` times narrower than `frame`: ``depth + 1`` frames,
        fewer where the deepest would have only one float64 along an axis.

    Other parameters and errors are those of `zoom_in`.
    """
    _check(frame, factor)
    at = coordinate_at(frame.x, centre[0]), coordinate_at(frame.y, centre[1])
    zooms: list[Zoom] = []
    for power in range(depth, -1, -1):
        times = DECIMAL.power(Decimal(repr(factor)), power)
        zoom = _zoom(frame, at, times, cells, first_id + len(zooms), rule, seed)
        if _resolved(zoom.frame):
            zooms.append(zoom)
    return zooms


def _check(frame: Frame, factor: float) -> None:
    for axis in (frame.x, frame.y):
        if axis.integer:
            raise SweepError(
                f"{axis.param} takes whole numbers, so there is nothing to find between two"
                " neighbours: zoom needs axes of real numbers"
            )
    if not 1 < factor < math.inf:
        raise SweepError(f"a zoom's factor must be above 1; given {factor:g}")


def _zoom(
    parent: Frame,
    at: tuple[Decimal, Decimal],
    factor: Decimal,
    cells: tuple[int, int],
    number: int,
    rule: str,
    seed: int,
) -> Zoom:
    x, y = parent.x, parent.y
    return Zoom(
        frame=Frame(number, _cut(x, at[0], factor), _cut(y, at[1], factor), *cells),
        parent_id=parent.id,
        fx=float(share_at(x, at[0])),
        fy=float(share_at(y, at[1])),
        x=value_at(x, at[0]),
        y=value_at(y, at[1]),
        factor=float(factor),
        rule=rule,
        seed=seed,
    )


def _cut(axis: Axis, centre: Decimal, factor: Decimal) -> CutAxis:
    lowest, highest = axis.ends()
    width = DECIMAL.divide(DECIMAL.subtract(highest, lowest), factor)
    low = DECIMAL.subtract(centre, DECIMAL.divide(width, Decimal(2)))
    low = max(lowest, min(low, DECIMAL.subtract(highest, width)))
    return cut(axis, low, min(highest, DECIMAL.add(low, width)))


def _resolved(frame: Frame) -> bool:
    return frame.x.min < frame.x.max and frame.y.min < frame.y.max


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    low, high = axis.ends()
    plain = {"param": axis.param, "scale": axis.scale, "min": axis.min, "max": axis.max}
    return {**plain, "low": str(low), "high": str(high)}


def _axis_from_json(data: Mapping[str, Any]) -> CutAxis:
    low, high = Decimal(data["low"]), Decimal(data["high"])
    return CutAxis(data["param"], data["scale"], data["min"], data["max"], low=low, high=high)
