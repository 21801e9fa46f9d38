"""Panels of a figure, a map each: value, final loss, label."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fractal_ray.figures.canvas import color_patch
from fractal_ray.figures.coloring import colormap, value_map
from fractal_ray.figures.style import BLANK_COLOR
from fractal_ray.figures.tiles import draw_tiles, inferred_patch, missing_patch, set_frame
from fractal_ray.plane.boundary import UNKNOWN, Raster, labels
from fractal_ray.plane.color_schemes import Colors
from fractal_ray.plane.palette import NO, UNLABELLED, YES


def value_panel(figure: Figure, axes: Axes, raster: Raster, boundary: str, colors: Colors) -> None:
    """Draw label and loss as one number from -1 to 1 (`coloring.value_map`)."""
    set_frame(axes, raster)
    values, look = value_map(raster, boundary), colormap("value", colors)
    either = draw_either(axes, raster, boundary)
    known = labels(raster, boundary) != UNKNOWN
    tiles = draw_tiles(axes, raster, values, known, cmap=look, vmin=-1, vmax=1)
    axes.set_title(f"{YES[boundary].capitalize()} and how well")
    meaning = f"0.3 (highest loss) to 1 (lowest)\n-1: {NO[boundary]}"
    bar = figure.colorbar(tiles, ax=axes, shrink=0.8, label=meaning)
    bar.set_ticks([-1, 0, 0.3, 1], labels=["-1", "0", "0.3", "1"])
    spread = inferred_patch(raster) if np.isfinite(raster.loss).any() else []
    legend_below(axes, [*spread, *either, *missing_patch(raster)])


def loss_panel(figure: Figure, axes: Axes, raster: Raster, boundary: str) -> None:
    """Draw the final loss of the runs whose label is yes."""
    answer = labels(raster, boundary)
    set_frame(axes, raster)
    axes.set_title(f"Final loss of {YES[boundary]} points")
    blank = raster.known & ~((answer == 1) & np.isfinite(raster.loss))
    with_loss = raster.known & ~blank
    draw_tiles(axes, raster, np.zeros(answer.shape), blank, cmap=ListedColormap([BLANK_COLOR]))
    # Values outside `with_loss` may be infinite, which would spoil the colour scale.
    loss = np.where(with_loss, raster.loss, 0.0)
    look: dict[str, Any] = {"cmap": matplotlib.colormaps["viridis_r"]}
    if with_loss.any():
        tiles = draw_tiles(axes, raster, loss, with_loss, **look)
        figure.colorbar(tiles, ax=axes, shrink=0.8, label="final loss")
    else:
        reason = "no loss recorded" if (answer == 1).any() else f"no {YES[boundary]} point"
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center")
    unshown = NO[boundary] + (" or not run" if (blank & (answer != 0)).any() else "")
    grey = [color_patch(unshown, BLANK_COLOR)] if blank.any() else []
    legend_below(axes, [*grey, *missing_patch(raster)])


def label_panel(axes: Axes, raster: Raster, boundary: str, look: Colormap) -> None:
    """Draw the labels in the colours of the two ends of `look`."""
    answer = labels(raster, boundary)
    set_frame(axes, raster)
    either = draw_either(axes, raster, boundary)
    draw_tiles(axes, raster, answer, answer != UNKNOWN, cmap=look, vmin=0, vmax=1)
    axes.set_title(f"{YES[boundary].capitalize()} or not")
    yes, no = int(np.count_nonzero(answer == 1)), int(np.count_nonzero(answer == 0))
    handles = [
        color_patch(f"{YES[boundary]} ({yes:,})", look(1.0)),
        color_patch(f"{NO[boundary]} ({no:,})", look(0.0)),
    ]
    legend_below(axes, [*handles, *either, *missing_patch(raster)])


def draw_either(axes: Axes, raster: Raster, boundary: str) -> list[Patch]:
    """Paint nodes with an outcome that has no label grey; return their legend entries, if any.

    Inferred nodes may have either label where the refinement has followed the border of another
    label. A run that was too short, or has no loss curve, shows nothing about the border `broken`.
    """
    either = raster.known & (labels(raster, boundary) == UNKNOWN)
    if not either.any():
        return []
    draw_tiles(axes, raster, either, either, cmap=ListedColormap([BLANK_COLOR]))
    runs = np.count_nonzero(either & raster.measured)
    others = np.count_nonzero(either) - runs
    names = [f"not run: {YES[boundary]} or {NO[boundary]} ({others:,})"] if others else []
    names += [f"{UNLABELLED} ({runs:,})"] if runs else []
    return [color_patch(name, BLANK_COLOR) for name in names]


def legend_below(axes: Axes, handles: Sequence[Artist]) -> None:
    """Put a legend under a panel, clear of its axis title; draw none without entries."""
    if handles:
        # In units of the panel's height, below an axis title of one line or two.
        below = -0.18 if "\n" in axes.get_xlabel() else -0.13
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, below), ncols=2)
