"""Single figures of fractal-llm (features V5), 9 x 7 in each."""

from typing import Final

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import color_patch, new_figure
from fractal_ray.figures.coloring import colormap, fill_inferred
from fractal_ray.figures.panels import draw_either, label_panel, legend_below, value_panel
from fractal_ray.figures.style import BLANK_COLOR, shared_style
from fractal_ray.figures.tiles import (
    draw_tiles,
    inferred_patch,
    limit_to_cells,
    missing_patch,
    paint_cells,
    set_frame,
    window_entry,
)
from fractal_ray.plane.boundary import UNKNOWN, Raster, boundary_cells, labels
from fractal_ray.plane.color_schemes import Colors

LOSS_CAP: Final = 20.0
"""Largest loss of a map; losses above it are drawn as this value."""


def heat_map(raster: Raster, *, title: str, boundary: str, colors: Colors = "safe") -> Figure:
    """Draw label and loss as one number, -1 to 1.

    Parameters
    ----------
    raster
        Outcomes and losses of a frame.
    title
        Heading.
    boundary
        Label of the map, as in `fractal_ray.plane.boundary.labels`.
    colors
        As in `fractal_ray.figures.coloring.colormap`.
    """
    with shared_style():
        figure = new_figure((9, 7), title)
        value_panel(figure, figure.subplots(), raster, boundary, colors)
        return figure


def stability_map(raster: Raster, *, title: str, colors: Colors = "safe") -> Figure:
    """Draw the points that diverged; parameters as in `heat_map`."""
    with shared_style():
        figure = new_figure((9, 7), title)
        label_panel(figure.subplots(), raster, "stable", colormap("stability", colors))
        return figure


def loss_map(raster: Raster, *, title: str, boundary: str) -> Figure:
    """Draw log10(final loss + 0.1) of every run, losses capped at `LOSS_CAP`.

    Parameters
    ----------
    raster, title, boundary
        As in `heat_map`. Nodes that were not run have the loss of the nearest run with their label.

    Raises
    ------
    SweepError
        If no run has a finite loss.
    """
    loss = fill_inferred(raster.loss, raster, boundary)
    finite = raster.known & np.isfinite(loss)
    if not finite.any():
        raise SweepError("this figure needs final losses, and no run of this frame has one")
    lost = (labels(raster, boundary) != UNKNOWN) & ~finite
    values = np.log10(np.clip(np.where(finite, loss, 0.0), 0.0, LOSS_CAP) + 0.1)
    with shared_style():
        figure = new_figure((9, 7), title)
        axes = figure.subplots()
        set_frame(axes, raster)
        look = matplotlib.colormaps["viridis_r"]
        tiles = draw_tiles(axes, raster, values, finite, cmap=look)
        meaning = f"log10(final loss + 0.1), losses above {LOSS_CAP:g} as {LOSS_CAP:g}"
        figure.colorbar(tiles, ax=axes, shrink=0.8, label=meaning)
        handles: list[Artist] = [*draw_either(axes, raster, boundary)]
        if lost.any():
            draw_tiles(axes, raster, lost, lost, cmap=ListedColormap(["black"]))
            runs = np.count_nonzero(lost & raster.measured)
            handles.append(color_patch(f"no finite loss ({runs:,} runs)", "black"))
        legend_below(axes, [*handles, *inferred_patch(raster), *missing_patch(raster)])
        return figure


def boundary_map(raster: Raster, *, title: str, boundary: str) -> Figure:
    """Draw the boundary cells, the others and those that missing points leave open.

    Parameters
    ----------
    raster, title, boundary
        As in `heat_map`.
    """
    cells = boundary_cells(labels(raster, boundary))
    kinds = (
        (f"boundary cells, {boundary}", cells.mixed, "black"),
        ("other cells", cells.known & ~cells.mixed, "white"),
        ("not known", ~cells.known, BLANK_COLOR),
    )
    with shared_style():
        figure = new_figure((9, 7), title)
        axes = figure.subplots()
        set_frame(axes, raster)
        limit_to_cells(axes, raster)
        handles = []
        for name, where, color in kinds:
            if where.any():
                paint_cells(axes, raster, where, color)
                handles.append(color_patch(f"{name} ({np.count_nonzero(where):,})", color))
        legend_below(axes, [*handles, *window_entry(raster)])
        return figure
