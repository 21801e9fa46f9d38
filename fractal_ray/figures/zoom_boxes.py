"""Figure of the frames of zooms as boxes on the map of the frame around them (features V7)."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from fractal_ray.figures.maps import outcome_map
from fractal_ray.figures.nesting import chain, inside, magnification
from fractal_ray.figures.style import shared_style
from fractal_ray.figures.tiles import rulers
from fractal_ray.plane.axes import Frame
from fractal_ray.plane.boundary import Raster
from fractal_ray.spec.frames import SweepFrame

_SMALLEST = 150.0
"""Largest ratio of the map's width to a frame's; narrower frames are too small to be seen and are
not drawn."""

_NAME = (0.1, 0.045)
"""Width and height of a frame's number, in shares of the map's sides."""


def zoom_boxes(
    raster: Raster,
    lattices: Mapping[int, SweepFrame],
    number: int,
    *,
    title: str,
    boundary: str = "trainable",
) -> Figure:
    """Draw the outcomes of a frame and a box around every frame in it, 9 x 7 in.

    Parameters
    ----------
    raster
        Outcomes of the frame.
    lattices
        All frames of the sweep by number.
    number
        Number of the frame.
    title
        Heading.
    boundary
        Label whose boundary cells are outlined, as in `fractal_ray.figures.maps.outcome_map`.
    """
    outer = lattices[number].frame
    inner = [
        lattice.frame
        for each, lattice in lattices.items()
        if outer in (around.frame for around in chain(lattices, each)[:-1])
    ]
    inner.sort(key=lambda frame: (magnification(outer, frame), frame.id))
    visible = [frame for frame in inner if magnification(outer, frame) <= _SMALLEST]
    note = "no frame lies in this one"
    if inner:
        note = (
            f"{len(visible)} of the {len(inner)} frames in it; the others are too small to be seen"
        )
    if 0 < len(visible) == len(inner):
        note = f"{len(visible)} frames in it"
    figure = outcome_map(raster, title=title, boundary=boundary, note=note)
    with shared_style():
        _draw(figure.axes[0], raster, outer, visible)
    return figure


def _draw(axes: Axes, raster: Raster, outer: Frame, inner: list[Frame]) -> None:
    named: list[tuple[float, float]] = []
    for frame in inner:
        _box(axes, raster, frame)
        left, right, _, high = map(float, inside(outer, frame))
        big = right - left > 2 * _NAME[0]
        at = (left, high - _NAME[1]) if big else (min(right, 1 - _NAME[0]), high)
        # A number that would lie on another is left out: `status --frames` lists them all.
        if all(any(abs(at[i] - other[i]) > _NAME[i] for i in (0, 1)) for other in named):
            named.append(at)
            _name(axes, at, frame.id)


def _box(axes: Axes, raster: Raster, frame: Frame) -> None:
    along_x, along_y = rulers(raster)
    left, right = (along_x.position_at(end) for end in frame.x.ends())
    low, high = (along_y.position_at(end) for end in frame.y.ends())
    box = Rectangle((left, low), right - left, high - low, fill=False, linewidth=1.8, zorder=5)
    box.set_path_effects([withStroke(linewidth=4, foreground="white")])
    axes.add_patch(box)


def _name(axes: Axes, at: tuple[float, float], number: int) -> None:
    text = axes.annotate(
        str(number), at, (3, 3), "axes fraction", textcoords="offset points", zorder=6
    )
    text.set_path_effects([withStroke(linewidth=4, foreground="white")])
