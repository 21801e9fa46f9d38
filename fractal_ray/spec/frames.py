"""The frames of a sweep: those that its spec names, and those that its zooms have chosen.

A grid of stage i fills frame i. The frames of a zoom of stage i are 1000 i, 1000 i + 1, ... in the
order in which they were chosen; lines and pairs on them have numbers of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fractal_ray.plane.axes import Frame
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.sweep_spec import SweepSpec

PER_STAGE: Final = 1000
"""Numbers of frames that a stage has for itself."""


def stage_of(frame_id: int) -> int:
    """Number of the stage that a frame's number belongs to."""
    return frame_id if frame_id < PER_STAGE else frame_id // PER_STAGE


def sampler_id(frame_id: int, index: int) -> int:
    """Number of the frame that lines or pairs of stage number `index` have on a frame."""
    return index * PER_STAGE + frame_id % PER_STAGE if frame_id >= PER_STAGE else index


@dataclass(frozen=True)
class Lattice:
    """A frame and its finest lattice.

    Parameters
    ----------
    frame
        The frame.
    level
        Of the finest lattice over it.
    refinement
        Number of the stage that refined it; None where it is a grid only.
    zoom
        How it was chosen; None for the axes as the spec gives them.
    """

    frame: Frame
    level: int
    refinement: int | None = None
    zoom: Zoom | None = None


def lattices(spec: SweepSpec, zooms: Sequence[Zoom]) -> dict[int, Lattice]:
    """All frames by number, in the order of the stages that fill them.

    Parameters
    ----------
    spec
    zooms
        Frames chosen so far.
    """
    made: dict[int, Lattice] = {}
    for index, stage in enumerate(spec.stages):
        refinement = spec.refinement(index)
        level = 0 if refinement is None else spec.level(refinement)
        if stage.grid is not None:
            made[index] = Lattice(spec.frame(index), level, refinement)
        for zoom in zooms if stage.zoom is not None else ():
            if stage_of(zoom.frame.id) == index:
                made[zoom.frame.id] = Lattice(zoom.frame, level, refinement, zoom)
    return made
