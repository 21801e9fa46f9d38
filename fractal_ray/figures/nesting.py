"""How the frames of a sweep lie in each other."""

from collections.abc import Mapping
from decimal import Decimal

from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.cut_axis import DECIMAL, ends, share_at
from fractal_ray.spec.frames import Lattice

Window = tuple[Decimal, Decimal, Decimal, Decimal]
"""Low and high end along x, then along y, in shares of the sides of a frame."""


def chain(every: Mapping[int, Lattice], number: int) -> list[Lattice]:
    """The frames around a frame, from the axes down to the frame itself.

    Parameters
    ----------
    every
        All frames by number.
    number
        Of the last.

    Returns
    -------
    Each lies in the one before it and is narrower. A frame of a zoom lies in the frame that it was
    cut from; one of a zoom outwards, whose frames are all cut from the same, in the next wider one
    around the same centre. Of two that are equally wide the later one is taken.
    """
    found = [every[number]]
    while (outer := _around(every, found[-1])) is not None:
        found.append(outer)
    return found[::-1]


def innermost(every: Mapping[int, Lattice]) -> list[int]:
    """Numbers of the frames that no other lies in: where chains end."""
    outer = {lattice.frame.id for number in every for lattice in chain(every, number)[:-1]}
    return [number for number in every if number not in outer]


def inside(outer: Frame, inner: Frame) -> Window:
    """Where a frame lies in another, exactly."""
    return (
        *(share_at(outer.x, end) for end in ends(inner.x)),
        *(share_at(outer.y, end) for end in ends(inner.y)),
    )  # pyright: ignore[reportReturnType]


def magnification(outer: Frame, inner: Frame) -> float:
    """How many times narrower a frame is than another, along x."""
    return float(DECIMAL.divide(_width(outer.x), _width(inner.x)))


def _around(every: Mapping[int, Lattice], lattice: Lattice) -> Lattice | None:
    zoom = lattice.zoom
    if zoom is None:
        return None
    centre = zoom.parent_id, zoom.fx, zoom.fy, zoom.x, zoom.y
    beside = [
        other
        for other in every.values()
        if other.zoom is not None
        and (other.zoom.parent_id, other.zoom.fx, other.zoom.fy, other.zoom.x, other.zoom.y)
        == centre
        and _width(other.frame.x) > _width(lattice.frame.x)
    ]
    if beside:
        return min(beside, key=lambda other: _width(other.frame.x))
    parent = every[zoom.parent_id]
    wider = _width(parent.frame.x) > _width(lattice.frame.x)
    return parent if wider else _around(every, parent)


def _width(axis: Axis) -> Decimal:
    low, high = ends(axis)
    return DECIMAL.subtract(high, low)
