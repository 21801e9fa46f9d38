"""Drawing values on a frame's lattice: points as tiles, axes in real or logarithmic units.

Every tile is centred on its point and reaches half way to its neighbours; points without an answer
let a hatched ground show through and are never filled in.
"""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from fractal_ray.boundary import Raster
from fractal_ray.figures.style import MISSING_COLOR, MISSING_EDGE, MISSING_HATCH


def coordinates(values: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Where points are drawn: log10 of positive values on a "log" scale, else the values."""
    return np.log10(values) if scale == "log" else values.astype(np.float64)


def edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) tile centres -> (n + 1,) tile edges: midpoints, and as far out again at either end.

    A single point, or a row of points that share one value, gets a tile of width 1.
    """
    if centres[0] == centres[-1]:
        return centres[0] + np.linspace(-0.5, 0.5, centres.size + 1)
    middle = (centres[:-1] + centres[1:]) / 2
    return np.r_[2 * centres[0] - middle[0], middle, 2 * centres[-1] - middle[-1]]


def tick_units(low: float, high: float) -> tuple[float, float]:
    """Origin and unit in which ticks between `low` and `high` are short numbers.

    (0, 1) unless the range is a thousand times narrower than its values (a deep zoom: origin near
    the middle), or the values are below 1e-3 or from 1e5 on. Ours rather than matplotlib's own
    offset, which it prints across the axis label.
    """
    size, span = max(abs(low), abs(high)), high - low
    if span < 1e-3 * size:
        order = math.floor(math.log10(span))
        return round((low + high) / 2, -order), 10.0**order
    if 1e-3 <= size < 1e5:
        return 0.0, 1.0
    return 0.0, 10.0 ** math.floor(math.log10(size))


def axis_label(name: str, scale: str, origin: float = 0.0, unit: float = 1.0) -> str:
    """Axis title in the units that `coordinates` draws in and `tick_units` counts in."""
    label = f"log10({name})" if scale == "log" else name
    if unit == 1.0:
        return label
    if origin == 0.0:
        return f"{label} / {unit:.0e}"
    return f"{label}\n= {origin:.15g} + tick x {unit:.0e}"


def set_frame(axes: Axes, raster: Raster) -> None:
    """Hatch the ground of a panel, label its axes and set their limits to the tiles."""
    x, y = _tile_edges(raster)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    _name_axis(axes.xaxis, x, raster.x_name, raster.x_scale)
    _name_axis(axes.yaxis, y, raster.y_name, raster.y_scale)
    if not raster.known.all():
        ground = Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=0, **_missing_look())
        axes.add_patch(ground)


def draw_tiles(
    axes: Axes, raster: Raster, values: ArrayLike, where: NDArray[np.bool_], **look: Any
) -> ScalarMappable:
    """Paint (ny, nx) `values` at the points `where`, leaving the other points see-through.

    `look` goes to matplotlib: cmap, norm, vmin, vmax. Evenly spaced lattices become one image, so
    4096 x 4096 points cost no more than their pixels.
    """
    x, y = _tile_edges(raster)
    return axes.pcolorfast(x, y, np.ma.masked_array(values, mask=~where), zorder=1, **look)


def outline_cells(axes: Axes, raster: Raster, mixed: NDArray[np.bool_]) -> None:
    """Draw a line around the (ny - 1, nx - 1) cells that are set; a cell spans four points.

    On lattices of more than 1024 points a side, where a cell is less than a pixel, cells are
    painted black instead.
    """
    x, y = coordinates(raster.x, raster.x_scale), coordinates(raster.y, raster.y_scale)
    if max(raster.outcome.shape) > 1024:
        black = np.ma.masked_array(mixed, mask=~mixed)
        axes.pcolorfast(x, y, black, zorder=3, cmap=ListedColormap(["black"]))
        return
    padded = np.pad(mixed, 1)
    row, column = np.nonzero(padded[:, 1:-1][:-1] != padded[:, 1:-1][1:])
    flat = np.stack([np.c_[x[column], y[row]], np.c_[x[column + 1], y[row]]], axis=1)
    row, column = np.nonzero(padded[1:-1, :-1] != padded[1:-1, 1:])
    upright = np.stack([np.c_[x[column], y[row]], np.c_[x[column], y[row + 1]]], axis=1)
    width = float(np.clip(60 / max(raster.outcome.shape), 0.2, 1.4))
    axes.add_collection(
        LineCollection([*flat, *upright], colors="black", linewidths=width, zorder=3),
        autolim=False,
    )


def missing_patch(raster: Raster) -> list[Patch]:
    """Legend entry for points without an outcome; empty if there are none."""
    missing = int(raster.known.size - raster.known.sum())
    return [Patch(label=f"not known ({missing})", **_missing_look())] if missing else []


def _missing_look() -> dict[str, Any]:
    return {
        "facecolor": MISSING_COLOR,
        "edgecolor": MISSING_EDGE,
        "hatch": MISSING_HATCH,
        "linewidth": 0,
    }


def _name_axis(axis: Axis, ends: NDArray[np.float64], name: str, scale: str) -> None:
    origin, unit = tick_units(float(ends[0]), float(ends[-1]))
    axis.set_label_text(axis_label(name, scale, origin, unit))
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    if unit != 1.0:
        axis.set_major_formatter(lambda value, _: f"{(value - origin) / unit:.4g}")


def _tile_edges(raster: Raster) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        edges(coordinates(raster.x, raster.x_scale)),
        edges(coordinates(raster.y, raster.y_scale)),
    )
