"""Limits of the lattices of a plan: their size, axes, and the depth that arithmetic resolves."""

import math
from fractions import Fraction
from typing import Final

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Frame
from fractal_ray.plane.precision import Arithmetics, deepest_level, refuse_unresolved
from fractal_ray.plane.zoom import centre_of, zoom_in
from fractal_ray.spec.plan import StagePlan
from fractal_ray.spec.stages import (
    GridStage,
    PairsStage,
    RefineStage,
    StageKind,
    TransectsStage,
    ZoomStage,
)

LARGEST_LATTICE: Final = 8192
"""Largest number of cells along a side of the finest lattice; its raster must fit in memory."""
LONGEST_SIDE: Final = 65_536
"""Largest number of cells along a side of a grid; its values are listed in exact arithmetic."""
MOST_POINTS: Final = (LARGEST_LATTICE + 1) ** 2
"""Largest number of points of a grid, of the dense positions of lines, or of pairs."""
MOST_FRAMES: Final = 900
"""Largest number of frames of a zoom.

A stage has 1000 frame numbers, and the last of them belong to its bisections.
"""
MOST_BISECTIONS: Final = 100
"""Largest number of frames in which a zoom may search for points of the border."""
_NARROWEST: Final = 2**1000
"""Largest number of cells along an axis of `deepest_frame`; no arithmetic resolves it."""


def check_sizes(plan: StagePlan) -> None:
    """Refuse stages of too many points, before the values of any lattice are listed.

    Raises
    ------
    ValueError
        The message names the stage, its size and the largest size.
    """
    for index, stage in enumerate(plan.stages):
        part, level = stage.part, plan.level(index)
        cells = max(plan.cells(index)) << level
        if isinstance(part, GridStage) and cells > LONGEST_SIDE:
            raise ValueError(
                f"stages.{index}: {cells + 1:,} points along a side; at most {LONGEST_SIDE + 1:,}"
            )
        if isinstance(part, ZoomStage) and cells > LARGEST_LATTICE:
            raise ValueError(
                f"stages.{index}: {cells + 1:,} points a side; at most {LARGEST_LATTICE + 1:,}"
            )
        if level and cells > LARGEST_LATTICE:
            raise ValueError(
                f"stages.{index}: {level} levels make {cells:,} cells a side; at most"
                f" {LARGEST_LATTICE:,}"
            )
        if (points := _listed_points(part)) > MOST_POINTS:
            raise ValueError(
                f"stages.{index}: {stage.name} has {points:,} points; at most {MOST_POINTS:,}"
            )


def _listed_points(part: StageKind) -> int:
    """Return the number of points that a planner lists at once; 0 for refinements and zooms."""
    if isinstance(part, GridStage):
        return math.prod(part.shape)
    if isinstance(part, TransectsStage):
        return part.count * (2 ** min(part.dense, part.levels) + 1)
    if isinstance(part, PairsStage):
        return 2 * part.count * len(part.distances)
    return 0


def check_lattices(plan: StagePlan, arithmetics: Arithmetics, *, allow_unresolved: bool) -> None:
    """Refuse a plan with a lattice that has gaps or is finer than its arithmetic.

    Parameters
    ----------
    plan
    arithmetics
        Arithmetic that uses the values of x, and that of y.
    allow_unresolved
        Accept lattices that are finer than their arithmetic.

    Raises
    ------
    ValueError
        The message names the stage, its value and the allowed values.
    """
    for index in range(len(plan.stages)):
        _check_lattice(plan, index)
        # A grid on an integer axis may have more nodes than the axis has values: nodes with
        # equal values share a run.
        if not (allow_unresolved or (_has_gaps(plan) and not plan.level(index))):
            _check_resolved(plan, index, arithmetics)


def _has_gaps(plan: StagePlan) -> bool:
    return any(axis.integer for axis in plan.axes)


def _check_lattice(plan: StagePlan, index: int) -> None:
    stage = plan.stages[index]
    if _has_gaps(plan) and not isinstance(stage.part, GridStage | RefineStage):
        raise ValueError(
            f"stages.{index}: {stage.name} needs axes without gaps, and an axis of whole numbers"
            " has them"
        )
    if isinstance(stage.part, ZoomStage):
        _check_zoom(plan, index, stage.part)


def _check_resolved(plan: StagePlan, index: int, arithmetics: Arithmetics) -> None:
    base = plan.stages[plan.base(index)].part
    if isinstance(base, ZoomStage):
        _check_resolved_chain(plan, index, base, arithmetics)
    else:
        refuse_unresolved(plan.frame(index), plan.level(index), arithmetics)


def deepest_frame(plan: StagePlan, index: int, depth: int | None = None) -> Frame:
    """Return a frame with cells as small as those of the deepest frame of a stage.

    Labels choose the place of the deepest frame. The returned frame therefore covers both axes, so
    that arithmetic must resolve the cells at the worst place of the axes. For a zoom to a center
    that the spec sets, the returned frame is the deepest frame itself.

    Parameters
    ----------
    plan
    index
        Index of a zoom, or of a stage that follows one.
    depth
        Depth of the zoom; None for the depth that the plan gives.
    """
    base = plan.base(index)
    zoom = plan.stages[base].part
    if not isinstance(zoom, ZoomStage):
        return plan.frame(index)
    depth = zoom.depth if depth is None else depth
    cells = plan.cells(index)
    if zoom.center is not None:
        root = plan.frame(plan.root(index))
        at = centre_of(root, zoom.center.x, zoom.center.y)
        chain = zoom_in(
            root, at, zoom.factor, cells=cells, first_id=base, rule="center", depth=depth
        )
        if len(chain) == depth:
            return chain[-1].frame
    times = Fraction(zoom.factor) ** depth
    for number in range(plan.root(index), base):
        outer = plan.stages[number].part
        if isinstance(outer, ZoomStage):
            times *= Fraction(outer.factor) ** outer.depth
    x, y = (math.ceil(min(times, _NARROWEST) * side) for side in cells)
    return Frame(base, *plan.axes, x, y)


def _check_zoom(plan: StagePlan, index: int, zoom: ZoomStage) -> None:
    before = plan.base(index - 1)
    refinement = plan.refinement(before)
    levels = 0 if refinement is None else plan.level(refinement)
    finest = min(plan.cells(before)) << levels
    if zoom.pick != "center" and zoom.factor > finest:
        raise ValueError(
            f"stages.{index}: factor {zoom.factor:g} makes windows smaller than a cell: the"
            f" frame before is known at {finest} cells a side; refine it further, or take a factor"
            f" of at most {finest}"
        )
    if zoom.chosen_again and zoom.depth > 1:
        refinement = plan.refinement(index)
        levels = 0 if refinement is None else plan.level(refinement)
        if zoom.factor > (own := min(plan.cells(index)) << levels):
            raise ValueError(
                f"stages.{index}: factor {zoom.factor:g} makes windows smaller than a cell of"
                f" the zoom's own frames, which are known at {own} cells a side; refine them, or"
                f" take a factor of at most {own}"
            )
    if isinstance(outer := plan.stages[before].part, ZoomStage):
        if zoom.center is not None:
            raise ValueError(
                f"stages.{index}: a center lies on the axes, so its zoom follows the grid; stage"
                f" {before} before it is a zoom"
            )
        if outer.direction == "out":
            raise ValueError(
                f"stages.{index}: stage {before} zooms out, which ends where it began; a zoom"
                " cannot follow it"
            )
    if zoom.center is not None:
        try:
            centre_of(plan.frame(before), zoom.center.x, zoom.center.y)
        except SweepError as error:
            raise ValueError(f"stages.{index}: {error}") from error
    if zoom.pick == "boundary-point" and (starts := plan.chains(before)) > MOST_BISECTIONS:
        raise ValueError(
            f"stages.{index}: boundary-point looks for points in each of {starts} frames; at"
            f" most {MOST_BISECTIONS}"
        )
    if (frames := plan.frames(index)) > MOST_FRAMES:
        raise ValueError(
            f"stages.{index}: windows and depth make {frames:,} frames; at most {MOST_FRAMES}"
        )


def _check_resolved_chain(
    plan: StagePlan, index: int, zoom: ZoomStage, arithmetics: Arithmetics
) -> None:
    base, level = plan.base(index), plan.level(index)
    if deepest_level(deepest_frame(plan, index), arithmetics) >= level:
        return
    allowed = [
        depth
        for depth in range(1, zoom.depth)
        if deepest_level(deepest_frame(plan, index, depth), arithmetics) >= level
    ]
    texts = [
        f"{axis.param} in {arithmetic}, {cells << level} cells"
        for axis, cells, arithmetic in zip(plan.axes, plan.cells(index), arithmetics, strict=True)
    ]
    resolved = f"depth {max(allowed)} is" if allowed else "not even depth 1 is"
    raise ValueError(
        f"stages.{base}: frames {zoom.factor:g}^{zoom.depth} times narrower are finer at level"
        f" {level} than the arithmetic that will use them ({'; '.join(texts)}); {resolved}"
        " resolved."
        " Take less depth, a smaller factor or fewer levels; allow_unresolved: true runs it as it"
        " is"
    )
