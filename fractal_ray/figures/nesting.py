"""Nesting of a sweep's frames."""

from collections.abc import Mapping
from decimal import Decimal

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.cut_axis import DECIMAL, share_at
from fractal_ray.spec.frames import SweepFrame

Window = tuple[Decimal, Decimal, Decimal, Decimal]
"""Low and high end along x, then along y, in shares of the sides of a frame."""


def chain(lattices: Mapping[int, SweepFrame], number: int) -> list[SweepFrame]:
    """Return the frames around a frame, from the axes down to the frame itself.

    Parameters
    ----------
    lattices
        All frames by number.
    number
        Number of the innermost frame.

    Returns
    -------
    Each frame lies in the one before it and is narrower. A frame of a zoom lies in the frame that
    it was cut from. The frames of a zoom outwards are all cut from one frame; each lies in the next
    wider one around its centre. Of two equally wide frames the later one is taken.
    """
    frames = [lattices[number]]
    while (outer := _around(lattices, frames[-1])) is not None:
        frames.append(outer)
    return frames[::-1]


def innermost(lattices: Mapping[int, SweepFrame]) -> list[int]:
    """Return the numbers of the frames that no other frame lies in: the ends of chains."""
    outer = {lattice.frame.id for number in lattices for lattice in chain(lattices, number)[:-1]}
    return [number for number in lattices if number not in outer]


def no_zooms(sweep: SweepData) -> SweepError:
    """Return the error for a figure of zooms where no frame of a zoom lies in another frame."""
    names = [stage.name for stage in sweep.spec.stages]
    if "zoom" not in names:
        return SweepError(
            f"{sweep.location} has no zooms: its stages are {', '.join(names)}; add one to the"
            " stages of the spec, for example zoom: {points: 33, factor: 4, depth: 3}, and run it"
            " again: fractal-ray run SPEC.yaml"
        )
    return SweepError(
        f"{sweep.location} has no frame of a zoom yet; go on with it: {sweep.run_command}"
    )


def inside(outer: Frame, inner: Frame) -> Window:
    """Return the exact place of a frame in another."""
    return (
        *(share_at(outer.x, end) for end in inner.x.ends()),
        *(share_at(outer.y, end) for end in inner.y.ends()),
    )  # pyright: ignore[reportReturnType]


def magnification(outer: Frame, inner: Frame) -> float:
    """Return the ratio of the widths of two frames along x."""
    return float(DECIMAL.divide(_width(outer.x), _width(inner.x)))


def _around(lattices: Mapping[int, SweepFrame], lattice: SweepFrame) -> SweepFrame | None:
    zoom = lattice.zoom
    if zoom is None:
        return None
    centre = zoom.parent_id, zoom.fx, zoom.fy, zoom.x, zoom.y
    beside = [
        other
        for other in lattices.values()
        if other.zoom is not None
        and (other.zoom.parent_id, other.zoom.fx, other.zoom.fy, other.zoom.x, other.zoom.y)
        == centre
        and _width(other.frame.x) > _width(lattice.frame.x)
    ]
    if beside:
        return min(beside, key=lambda other: _width(other.frame.x))
    parent = lattices[zoom.parent_id]
    wider = _width(parent.frame.x) > _width(lattice.frame.x)
    return parent if wider else _around(lattices, parent)


def _width(axis: Axis) -> Decimal:
    low, high = axis.ends()
    return DECIMAL.subtract(high, low)
