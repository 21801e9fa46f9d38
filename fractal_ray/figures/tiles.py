"""Functions that draw values on a frame's lattice: points as tiles, axes in real or log units.

Every tile is centred on its point and reaches half way to its neighbours. Points without a value
let a hatched ground show through, unless a `Filled` raster gives them their neighbours' colours.
"""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from fractal_ray.figures.ruler import Ruler, ruler
from fractal_ray.figures.style import MISSING_COLOR, MISSING_EDGE, MISSING_HATCH
from fractal_ray.plane.boundary import Raster

_DOT: dict[str, Any] = {
    "color": "white",
    "linestyle": "none",
    "marker": "o",
    "markeredgecolor": "black",
}


_WINDOW_DOT: dict[str, Any] = {
    "color": "black",
    "linestyle": "none",
    "marker": "o",
    "markeredgecolor": "white",
}


class Filled(Raster):
    """Raster whose points without an outcome are painted like the nearest point with one.

    Features V4. The paint is for the picture only: outcomes, labels, counts and boundary cells stay
    those of the points that were run. Every painted point carries a dot, and the legend gives their
    number.
    """


def filled(raster: Raster) -> int:
    """Count the points painted like their neighbours; 0 without `Filled` or without outcomes."""
    known = int(raster.known.sum())
    return raster.known.size - known if isinstance(raster, Filled) and known else 0


def edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n + 1,) edges of tiles with (n,) centres: midpoints, extended at both ends.

    A single point, or a row of points that share one value, gets a tile of width 1.
    """
    if centres[0] == centres[-1]:
        return centres[0] + np.linspace(-0.5, 0.5, centres.size + 1)
    middle = (centres[:-1] + centres[1:]) / 2
    return np.r_[2 * centres[0] - middle[0], middle, 2 * centres[-1] - middle[-1]]


def rulers(raster: Raster) -> tuple[Ruler, Ruler]:
    """Return the rulers of a raster, along x and along y."""
    return (
        ruler(raster.x, raster.x_name, raster.x_scale),
        ruler(raster.y, raster.y_name, raster.y_scale),
    )


def set_frame(axes: Axes, raster: Raster) -> None:
    """Hatch the ground of a panel, label its axes and set their limits to the tiles."""
    x, y = _tile_edges(raster)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    for axis, along in zip((axes.xaxis, axes.yaxis), rulers(raster), strict=True):
        axis.set_label_text(along.label)
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    if raster.long_window is not None:
        _draw_dots(axes, raster, raster.long_window, 90, _WINDOW_DOT)
    if filled(raster):
        _draw_dots(axes, raster, ~raster.known, 150, _DOT)
    elif not raster.known.all():
        ground = Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=0, **_missing_look())
        axes.add_patch(ground)


def _draw_dots(
    axes: Axes, raster: Raster, nodes: NDArray[np.bool_], points: float, look: dict[str, Any]
) -> None:
    """Draw a dot at each node of a mask, of `points` divided by the nodes along a side in size."""
    row, column = np.nonzero(nodes)
    across, up = _positions(raster)
    size = float(np.clip(points / max(raster.outcome.shape), 0.5, points / 30))
    axes.plot(across[column], up[row], ms=size, markeredgewidth=0.15 * size, zorder=4, **look)


def draw_tiles(
    axes: Axes, raster: Raster, values: ArrayLike, where: NDArray[np.bool_], **look: Any
) -> ScalarMappable:
    """Paint (ny, nx) `values` at the points `where`, leaving the other points see-through.

    `look` goes to matplotlib: cmap, norm, vmin, vmax. Evenly spaced lattices become one image, so
    4096 x 4096 points cost no more than their pixels.
    """
    x, y = _tile_edges(raster)
    if filled(raster):
        from scipy.ndimage import distance_transform_edt  # takes a while to import

        nearest = distance_transform_edt(~raster.known, return_distances=False, return_indices=True)
        at = tuple(np.asarray(nearest))
        values, where = np.asarray(values)[at], where[at]
    return axes.pcolorfast(x, y, np.ma.masked_array(values, mask=~where), zorder=1, **look)


def outline_cells(axes: Axes, raster: Raster, mixed: NDArray[np.bool_]) -> None:
    """Draw a line around the (ny - 1, nx - 1) cells that are set; a cell spans four points.

    On lattices of more than 1024 points a side, where a cell is less than a pixel, cells are
    painted black instead.
    """
    x, y = _positions(raster)
    if max(raster.outcome.shape) > 1024:
        paint_cells(axes, raster, mixed, "black", zorder=3)
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


def paint_cells(
    axes: Axes, raster: Raster, where: NDArray[np.bool_], color: str, *, zorder: int = 1
) -> None:
    """Paint the (ny - 1, nx - 1) cells that are set; a cell spans four points."""
    x, y = _positions(raster)
    cells = np.ma.masked_array(where, mask=~where)
    axes.pcolorfast(x, y, cells, zorder=zorder, cmap=ListedColormap([color]))


def limit_to_cells(axes: Axes, raster: Raster) -> None:
    """Cut a panel at its outermost points, where cells end, instead of at their tiles' edges."""
    x, y = _positions(raster)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])


def missing_patch(raster: Raster) -> list[Artist]:
    """Return the legend entries for points without an outcome, and for long label windows."""
    marks = window_entry(raster)
    if count := filled(raster):
        name = f"not known, painted\nlike the nearest ({count:,})"
        return [Line2D([], [], label=name, **_DOT), *marks]
    missing = int(raster.known.size - raster.known.sum())
    patches = [Patch(label=f"not known ({missing})", **_missing_look())] if missing else []
    return [*patches, *marks]


def window_entry(raster: Raster) -> list[Artist]:
    """Return the legend entry for runs with a long label window; empty if there are none."""
    count = 0 if raster.long_window is None else int(raster.long_window.sum())
    name = f"window above half\nof the steps ({count:,})"
    return [Line2D([], [], label=name, ms=3, **_WINDOW_DOT)] if count else []


def inferred_patch(raster: Raster) -> list[Patch]:
    """Return the legend entry for nodes with the number of a nearby run; empty without any."""
    inferred = int(np.count_nonzero(raster.known & ~raster.measured))
    name = f"not run, value of the nearest run ({inferred:,})"
    return [Patch(label=name, facecolor="none", linewidth=0)] if inferred else []


def _missing_look() -> dict[str, Any]:
    return {
        "facecolor": MISSING_COLOR,
        "edgecolor": MISSING_EDGE,
        "hatch": MISSING_HATCH,
        "linewidth": 0,
    }


def _positions(raster: Raster) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    along_x, along_y = rulers(raster)
    return along_x.positions(raster.x), along_y.positions(raster.y)


def _tile_edges(raster: Raster) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = _positions(raster)
    return edges(x), edges(y)
