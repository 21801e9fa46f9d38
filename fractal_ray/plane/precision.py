"""The depth at which neighbouring nodes of a lattice become one number.

A node's coordinate is a float64. A learning rate goes further: nanochat's optimizers multiply it
by the schedule in float64 and then apply it to float32 weights as a float32 (Muon:
``param.add_(update, alpha=-lr)``; fused AdamW: its step size). Rates that are one float32 make the
same step. A schedule multiplies them by another factor at each step, and now and then one falls on
the other side of a rounding. It thus separates rates down to about 2**-30 of each other, but by
their rounding and no longer by their size. A lattice finer than float32 (2**-24 to 2**-23 of a
rate) shows that rounding. So the arithmetic of a rate is float32, and so is that of all factors of
rates (multipliers, weight decay, fractions of a schedule). The workloads `map` and
`mlp` compute in float64.

Not covered: fractions that count steps (``warmup_frac``) have fewer values than stated here.
"""

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame

Arithmetic = Literal["float64", "float32", "bfloat16"]
Arithmetics = tuple[Arithmetic, Arithmetic]
"""Arithmetics of the x axis and of the y axis."""

# Bits of the significand, and the power of two that the smallest number above 0 is.
_FORMATS: Final = {"float64": (53, -1074), "float32": (24, -149), "bfloat16": (8, -133)}

_MOST_ENUMERATED: Final = 1 << 16
"""Limit on cells; more would take seconds of decimal arithmetic."""
_BLOCKS, _BLOCK = 256, 8
_DEEPEST: Final = 1100
"""Limit on levels; no axis has more before the smallest float64 is reached."""


def rounded(values: NDArray[np.float64], arithmetic: Arithmetic) -> NDArray[np.float64]:
    """Round values to an arithmetic's nearest numbers, ties to even (bfloat16 from float32)."""
    if arithmetic == "float64":
        return values
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if arithmetic == "bfloat16":
        bits = single.view(np.uint32)
        bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        single = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    return single.astype(np.float64)


def next_value(value: float, arithmetic: Arithmetic, *, up: bool) -> float:
    """Return the nearest number above or below that an arithmetic separates from `value`."""
    held = float(rounded(np.array([value]), arithmetic)[0])
    if held == 0:
        gap = math.ldexp(1.0, _FORMATS[arithmetic][1])
    else:
        outwards = up == (held > 0)
        # Towards 0 from a power of two, numbers are half as far apart.
        gap = _spacing(
            abs(held) if outwards else math.nextafter(abs(held), 0.0), arithmetic, integer=False
        )
    return held + gap if up else held - gap


def distinct_values(axis: Axis, cells: int, arithmetic: Arithmetic) -> int:
    """Return the number of different numbers that the nodes of an axis become.

    Parameters
    ----------
    axis
        The axis.
    cells
        Cells of the lattice along it, at least 1.
    arithmetic
        Arithmetic that uses the values.

    Returns
    -------
    From 1 to ``cells + 1``. Exact up to 65,536 cells; beyond, an estimate from 256 evenly spaced
    neighbourhoods of 9 nodes.
    """
    if cells <= _MOST_ENUMERATED:
        return int(np.unique(rounded(axis.values(cells), arithmetic)).size)
    starts = [block * (cells - _BLOCK) // (_BLOCKS - 1) for block in range(_BLOCKS)]
    nodes = [[axis.value(start + i, cells) for i in range(_BLOCK + 1)] for start in starts]
    steps = np.diff(rounded(np.array(nodes), arithmetic), axis=1) > 0
    return 1 + round(float(steps.mean()) * cells)


def deepest_level(frame: Frame, arithmetics: Arithmetics) -> int:
    """Return the deepest level at which all neighbours on a frame differ along both axes.

    Beyond it the distance of neighbours is smaller than the spacing of the arithmetic's numbers
    somewhere on the frame, so that some nodes share one run.

    Parameters
    ----------
    frame
        The frame.
    arithmetics
        Arithmetics that use the values of x and of y.

    Returns
    -------
    0 or more, or -1 if not even level 0 is resolved.
    """
    return min(_deepest(*side) for side in _sides(frame, arithmetics))


def depth_text(frame: Frame, arithmetics: Arithmetics) -> str:
    """Return `deepest_level` by axis as text."""
    texts = []
    for axis, cells, arithmetic in _sides(frame, arithmetics):
        level = _deepest(axis, cells, arithmetic)
        deepest = "none (level 0 is too fine)" if level < 0 else str(level)
        texts.append(f"{axis.param} in {arithmetic}: {deepest}")
    return f"deepest meaningful level of frame {frame.id}, {'; '.join(texts)}"


def refuse_unresolved(frame: Frame, level: int, arithmetics: Arithmetics) -> None:
    """Refuse a level at which some neighbours are one number.

    Raises
    ------
    SweepError
        If some neighbours are one number. The message has the axes, the number of different
        numbers of their nodes, and the deepest level.
    """
    if level <= deepest_level(frame, arithmetics):
        return
    lines = [f"frame {frame.id} at level {level} is finer than the arithmetic that will use it:"]
    for axis, cells, arithmetic in _sides(frame, arithmetics):
        if level > _deepest(axis, cells, arithmetic):
            fine = cells << level
            about = "about " if fine > _MOST_ENUMERATED else ""
            lines.append(
                f"  {axis.param}: {fine + 1} nodes are {about}"
                f"{distinct_values(axis, fine, arithmetic)} different {arithmetic}"
            )
    lines.append(f"  {depth_text(frame, arithmetics)}")
    lines.append(
        "take fewer points or levels, or a wider range; allow_unresolved: true runs it as it is"
    )
    raise SweepError("\n".join(lines))


def _sides(frame: Frame, arithmetics: Arithmetics) -> tuple[tuple[Axis, int, Arithmetic], ...]:
    return (
        (frame.x, frame.cells_x, arithmetics[0]),
        (frame.y, frame.cells_y, arithmetics[1]),
    )


def _deepest(axis: Axis, cells: int, arithmetic: Arithmetic) -> int:
    low, high = axis.ends()
    width = float(high - low)
    worst = [(value, _spacing(value, arithmetic, axis.integer)) for value in _tightest(axis)]
    for level in range(_DEEPEST):
        step = width / cells / 2.0**level
        ratio = math.expm1(min(step, 700.0)) if axis.scale == "log" else step
        if any((value if axis.scale == "log" else 1.0) * ratio < gap for value, gap in worst):
            return level - 1
    raise AssertionError("no axis is as deep as this")


def _tightest(axis: Axis) -> list[float]:
    """Return the values at which the fewest numbers lie between neighbours.

    Numbers are spaced by powers of two. On a linear axis their spacing is largest at the end that
    lies farther from 0. On a log axis the spacing grows in steps and the distance of neighbours
    grows evenly, so the fewest numbers are just above a step, or at the low end.
    """
    if axis.scale == "linear":
        return [math.nextafter(max(abs(axis.min), abs(axis.max)), 0.0)]
    steps = math.ldexp(1.0, math.frexp(math.nextafter(axis.max, 0.0))[1] - 1)
    return [axis.min, max(axis.min, steps)]


def _spacing(value: float, arithmetic: Arithmetic, integer: bool) -> float:
    """Return the distance from a number above 0 to the next one of the arithmetic."""
    bits, least = _FORMATS[arithmetic]
    gap = math.ldexp(1.0, max(math.frexp(value)[1] - bits, least))
    return max(1.0, gap) if integer else gap
