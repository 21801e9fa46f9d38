"""Maps of whole loss curves: the ranks of arXiv 2402.06184, and steps until outcomes settle."""

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from fractal_ray.figures.canvas import new_figure
from fractal_ray.figures.coloring import colormap, rank_map
from fractal_ray.figures.style import shared_style
from fractal_ray.figures.tiles import (
    draw_tiles,
    inferred_patch,
    missing_patch,
    outline_cells,
    set_frame,
)
from fractal_ray.plane.boundary import Raster, boundary_cells, labels
from fractal_ray.plane.color_schemes import Colors
from fractal_ray.plane.palette import NO, YES


def rank_figure(
    raster: Raster,
    measure: NDArray[np.float64],
    *,
    title: str,
    boundary: str = "trainable",
    colors: Colors = "safe",
) -> Figure:
    """Draw the speed of convergence or divergence of runs, by rank, 9 x 7 in (features V8).

    Parameters
    ----------
    raster
        Outcomes of a frame.
    measure
        (ny, nx) float64, of `fractal_ray.figures.curves.measures`.
    title
        Heading.
    boundary
        Label that the sign of `measure` stands for.
    colors
        As in `fractal_ray.figures.coloring.colormap`.
    """
    with shared_style():
        figure = new_figure((9, 7), title)
        axes = figure.subplots()
        set_frame(axes, raster)
        known = raster.known & ~np.isnan(measure)
        look = colormap("rank", colors)
        tiles = draw_tiles(axes, raster, rank_map(measure), known, cmap=look, vmin=-1, vmax=1)
        bar = figure.colorbar(tiles, ax=axes, shrink=0.8)
        ends = [f"{NO[boundary]}\nslowest", "fastest", "fastest", f"{YES[boundary]}\nslowest"]
        bar.set_ticks([-1, -0.25, 0.25, 1], labels=ends)
        _legend(figure, raster)
        return figure


def settled_map(
    raster: Raster, steps: NDArray[np.float64], *, title: str, boundary: str = "trainable"
) -> Figure:
    """Draw the number of steps after which runs show their final outcome, 9 x 7 in.

    Parameters
    ----------
    raster
        Outcomes of a frame.
    steps
        (ny, nx) float64, of `fractal_ray.figures.curves.settled`.
    title
        Heading.
    boundary
        Label whose boundary cells are outlined.
    """
    with shared_style():
        figure = new_figure((9, 7), title)
        axes = figure.subplots()
        set_frame(axes, raster)
        known = raster.known & ~np.isnan(steps)
        if known.any():
            norm = LogNorm(max(1, steps[known].min()), max(2, steps[known].max()))
            look = matplotlib.colormaps["cividis"]
            values = np.where(known, steps, 1.0)
            tiles = draw_tiles(axes, raster, values, known, cmap=look, norm=norm)
            meaning = "steps after which the outcome no longer changes"
            bar = figure.colorbar(tiles, ax=axes, shrink=0.8, label=meaning)
            bar.locator = LogLocator(subs=(1, 2, 5))
            bar.formatter = StrMethodFormatter("{x:g}")
            bar.minorformatter = NullFormatter()
            bar.update_ticks()
        outline_cells(axes, raster, boundary_cells(labels(raster, boundary)).mixed)
        _legend(figure, raster)
        return figure


def _legend(figure: Figure, raster: Raster) -> None:
    handles = [*inferred_patch(raster), *missing_patch(raster)]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
