"""The frames of a sweep: the frames of its grids, and the frames that its zooms have chosen.

`plane/axes.py` describes the numbers of frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fractal_ray.plane.axes import Frame, stage_of
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.stages import GridStage, ZoomStage
from fractal_ray.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class SweepFrame:
    """A frame of a sweep with its finest lattice.

    Attributes
    ----------
    frame
        The frame, with the cells of level 0.
    level
        Level of the finest lattice over the frame.
    refinement
        Index of the stage that refined it; None for a frame that only has its grid.
    zoom
        Record of how the frame was chosen; None for the axes as the spec gives them.
    """

    frame: Frame
    level: int
    refinement: int | None = None
    zoom: Zoom | None = None


def sweep_frames(spec: SweepSpec, zooms: Sequence[Zoom]) -> dict[int, SweepFrame]:
    """Return all frames by number, in the order of the stages that fill them.

    Parameters
    ----------
    spec
    zooms
        Frames that zooms have chosen up to now.
    """
    frames: dict[int, SweepFrame] = {}
    for index, stage in enumerate(spec.stages):
        refinement = spec.plan.refinement(index)
        level = 0 if refinement is None else spec.plan.level(refinement)
        if isinstance(stage.part, GridStage):
            frames[index] = SweepFrame(spec.plan.frame(index), level, refinement)
        for zoom in zooms if isinstance(stage.part, ZoomStage) else ():
            if stage_of(zoom.frame.id) == index:
                frames[zoom.frame.id] = SweepFrame(zoom.frame, level, refinement, zoom)
    return frames
