"""The frames of a sweep: those that its spec names, and those that its zooms have chosen.

`plane/frame_numbers.py` says how frames are numbered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fractal_ray.plane.axes import Frame
from fractal_ray.plane.frame_numbers import stage_of
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.sweep_spec import SweepSpec


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
