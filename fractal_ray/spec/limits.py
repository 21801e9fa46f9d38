"""What a spec's lattices may be: how large, on which axes, and how deep before arithmetic ends."""

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Frame
from fractal_ray.plane.precision import deepest_level, refuse_unresolved
from fractal_ray.plane.zoom import centre_of, zoom_in
from fractal_ray.spec.stages import ZoomStage

if TYPE_CHECKING:
    from fractal_ray.spec.sweep_spec import SweepSpec

LARGEST_LATTICE: Final = 8192
"""Cells along a side of the finest lattice: its raster has to fit in memory."""
MOST_FRAMES: Final = 900
"""Of a zoom: frames.py has a thousand numbers for a stage, the last of them for its bisections."""
MOST_BISECTIONS: Final = 100
_NARROWEST: Final = 2**1000  # of an axis; no arithmetic here has so many numbers


def check_lattice(spec: "SweepSpec", index: int) -> None:
    """Refuse a stage whose lattice is too large, has gaps or is finer than its arithmetic.

    Raises
    ------
    ValueError
        Naming the stage, what it asks for and what is allowed.
    """
    stage, level = spec.stages[index], spec.level(index)
    x, y = spec.axis("x"), spec.axis("y")
    whole = x.integer or y.integer
    if whole and stage.grid is None and stage.refine is None:
        raise ValueError(
            f"stages.{index}: {stage.name} needs axes without gaps, and an axis of whole numbers"
            " has them"
        )
    cells = max(spec.cells(index)) << level
    if level and cells > LARGEST_LATTICE:
        raise ValueError(
            f"stages.{index}: {level} levels make {cells:,} cells a side; at most"
            f" {LARGEST_LATTICE:,}"
        )
    if stage.zoom is not None:
        _check_zoom(spec, index, stage.zoom)
    # A grid over whole numbers may be finer than they are: nodes with one value share a run.
    if spec.allow_unresolved or (whole and not level):
        return
    if spec.stages[spec.base(index)].zoom is None:
        refuse_unresolved(spec.frame(index), level, spec.arithmetics)
    else:
        _refuse_unresolved_chain(spec, index)


def deepest_frame(spec: "SweepSpec", index: int, depth: int | None = None) -> Frame:
    """A frame as fine as the deepest of stage number `index`, at the worst place of the axes.

    Labels choose where it will really lie, so the whole of both axes stands for it, in cells of
    its size. Where a center is given it is the frame itself.

    Parameters
    ----------
    spec
    index
        A zoom, or a stage that follows one.
    depth
        Of the zoom; None for its own.
    """
    base = spec.base(index)
    zoom = spec.stages[base].zoom
    if zoom is None:
        return spec.frame(index)
    depth = zoom.depth if depth is None else depth
    cells = spec.cells(index)
    if zoom.center is not None:
        root = spec.frame(spec.root(index))
        at = centre_of(root, zoom.center.x, zoom.center.y)
        chain = zoom_in(
            root, at, zoom.factor, cells=cells, first_id=base, rule="center", depth=depth
        )
        if len(chain) == depth:
            return chain[-1].frame
    times = Fraction(zoom.factor) ** depth
    for number in range(spec.root(index), base):
        outer = spec.stages[number].zoom
        times *= Fraction(outer.factor) ** outer.depth if outer is not None else 1
    x, y = (math.ceil(min(times, _NARROWEST) * side) for side in cells)
    return Frame(base, spec.axis("x"), spec.axis("y"), x, y)


def _check_zoom(spec: "SweepSpec", index: int, zoom: ZoomStage) -> None:
    before = spec.base(index - 1)
    refinement = spec.refinement(before)
    levels = 0 if refinement is None else spec.level(refinement)
    finest = min(spec.cells(before)) << levels
    if zoom.pick != "center" and zoom.factor > finest:
        raise ValueError(
            f"stages.{index}: factor {zoom.factor:g} asks for windows smaller than a cell: the"
            f" frame before is known at {finest} cells a side; refine it further, or take a factor"
            f" of at most {finest}"
        )
    if zoom.chosen_again and zoom.depth > 1:
        refinement = spec.refinement(index)
        levels = 0 if refinement is None else spec.level(refinement)
        if zoom.factor > (own := min(spec.cells(index)) << levels):
            raise ValueError(
                f"stages.{index}: factor {zoom.factor:g} asks for windows smaller than a cell of"
                f" the zoom's own frames, which are known at {own} cells a side; refine them, or"
                f" take a factor of at most {own}"
            )
    if (outer := spec.stages[before].zoom) is not None:
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
            centre_of(spec.frame(before), zoom.center.x, zoom.center.y)
        except SweepError as error:
            raise ValueError(f"stages.{index}: {error}") from error
    if zoom.pick == "boundary-point" and (before_it := spec.chains(before)) > MOST_BISECTIONS:
        raise ValueError(
            f"stages.{index}: boundary-point looks for points in each of {before_it} frames; at"
            f" most {MOST_BISECTIONS}"
        )
    if max(zoom.shape) - 1 > LARGEST_LATTICE:
        raise ValueError(
            f"stages.{index}: {max(zoom.shape):,} points a side; at most {LARGEST_LATTICE + 1:,}"
        )
    if (frames := spec.frames(index)) > MOST_FRAMES:
        raise ValueError(
            f"stages.{index}: windows and depth make {frames:,} frames; at most {MOST_FRAMES}"
        )


def _refuse_unresolved_chain(spec: "SweepSpec", index: int) -> None:
    base, level = spec.base(index), spec.level(index)
    zoom = spec.stages[base].zoom
    assert zoom is not None
    if deepest_level(deepest_frame(spec, index), spec.arithmetics) >= level:
        return
    allowed = [
        depth
        for depth in range(1, zoom.depth)
        if deepest_level(deepest_frame(spec, index, depth), spec.arithmetics) >= level
    ]
    texts = [
        f"{axis.param} in {arithmetic}, {cells << level} cells"
        for axis, cells, arithmetic in zip(
            (spec.axis("x"), spec.axis("y")), spec.cells(index), spec.arithmetics, strict=True
        )
    ]
    resolved = f"depth {max(allowed)} is" if allowed else "not even depth 1 is"
    raise ValueError(
        f"stages.{base}: frames {zoom.factor:g}^{zoom.depth} times narrower are finer at level"
        f" {level} than the arithmetic that will use them ({'; '.join(texts)}); {resolved}"
        " resolved."
        " Take less depth, a smaller factor or fewer levels; allow_unresolved: true runs it as it"
        " is"
    )
