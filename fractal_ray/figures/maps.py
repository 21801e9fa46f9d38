"""Maps of a frame: what trained, how low the loss went, where the border runs."""

from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fractal_ray.boundary import OUTCOME_CODES, Raster, boundary_cells, labels
from fractal_ray.figures.canvas import color_patch, new_figure
from fractal_ray.figures.lattice import (
    draw_tiles,
    inferred_patch,
    missing_patch,
    outline_cells,
    set_frame,
)
from fractal_ray.figures.shades import Colors, colormap, value_map
from fractal_ray.figures.style import (
    BLANK_COLOR,
    MEASURED_COLORS,
    OUTCOME_COLORS,
    OUTCOME_NAMES,
    shared_style,
)

NO: Final = {"trainable": "not trainable", "stable": "diverged"}
"""What a point without a label yes is called."""


def three_panel(
    raster: Raster,
    *,
    title: str,
    label: str = "trainable",
    note: str = "",
    colors: Colors = "source",
) -> Figure:
    """Draw value map, final loss and label side by side, 18 x 6 in (features V1).

    Parameters
    ----------
    raster
        Outcomes and losses of a frame.
    title
        Heading of the figure.
    label
        Boundary that decides yes and no: "trainable" or "stable".
    note
        Second line of the heading, such as the dimension with its smooth range.
    colors
        As in `fractal_ray.figures.shades.colormap`.
    """
    answer = labels(raster, label)
    with shared_style():
        figure = new_figure((18, 6), title, note)
        left, centre, right = figure.subplots(1, 3)
        _value_panel(figure, left, raster, label, colors)
        _loss_panel(figure, centre, raster, answer, label)
        _label_panel(right, raster, answer, label, colormap("label", colors))
        return figure


def outcome_map(
    raster: Raster, *, title: str, boundary: str = "trainable", note: str = ""
) -> Figure:
    """Draw the three outcomes, the missing points and the boundary cells, 9 x 7 in.

    Parameters
    ----------
    raster
        Outcomes of a frame.
    title, note
        Heading of the figure and its second line.
    boundary
        Whose boundary cells are outlined, as in `fractal_ray.boundary.labels`.
    """
    cells = boundary_cells(labels(raster, boundary))
    with shared_style():
        figure = new_figure((9, 7), title, note)
        axes = figure.subplots()
        set_frame(axes, raster)
        colors = ListedColormap([OUTCOME_COLORS[o] for o in OUTCOME_CODES])
        norm = BoundaryNorm(np.arange(len(OUTCOME_CODES) + 1) - 0.5, len(OUTCOME_CODES))
        draw_tiles(axes, raster, raster.outcome, raster.known, cmap=colors, norm=norm)
        outline_cells(axes, raster, cells.mixed)
        handles = [
            color_patch(
                f"{OUTCOME_NAMES[outcome]} ({np.count_nonzero(raster.outcome == code)})",
                OUTCOME_COLORS[outcome],
            )
            for outcome, code in OUTCOME_CODES.items()
        ]
        handles += missing_patch(raster)
        border = f"boundary cells,\n{boundary} ({cells.n_mixed})"
        handles.append(Patch(facecolor="none", edgecolor="black", linewidth=1.4, label=border))
        figure.legend(handles=handles, loc="outside right center")
        return figure


def measured_map(
    raster: Raster, *, title: str, boundary: str = "trainable", note: str = ""
) -> Figure:
    """Draw which nodes were run and which have the label of their cell, 9 x 7 in.

    Parameters
    ----------
    raster
        Outcomes of a frame.
    title, note
        Heading of the figure and its second line.
    boundary
        Which label is shown, as in `fractal_ray.boundary.labels`.
    """
    answer = labels(raster, boundary)
    # In the order of the names and of the colours.
    kind = np.where(answer == 1, 2, 0) + raster.measured
    names = [f"{NO[boundary]}, inferred", f"{NO[boundary]}, run"]
    names += [f"{boundary}, inferred", f"{boundary}, run"]
    with shared_style():
        figure = new_figure((9, 7), title, note)
        axes = figure.subplots()
        set_frame(axes, raster)
        norm = BoundaryNorm(np.arange(5) - 0.5, 4)
        draw_tiles(
            axes, raster, kind, raster.known, cmap=ListedColormap(list(MEASURED_COLORS)), norm=norm
        )
        handles = [
            color_patch(f"{name} ({np.count_nonzero(raster.known & (kind == code)):,})", color)
            for code, (name, color) in enumerate(zip(names, MEASURED_COLORS, strict=True))
        ]
        figure.legend(handles=handles + missing_patch(raster), loc="outside right center")
        return figure


def share_map(raster: Raster, share: NDArray[np.float64], *, title: str) -> Figure:
    """Draw the share of seeds that say yes.

    Parameters
    ----------
    raster
        A lattice of any of the seeds.
    share
        (ny, nx) float64 from 0 to 1, NaN where it is not known: drawn as missing.
    title
        Heading.
    """
    figure = new_figure((8.0, 6.0), title, "")
    axes = figure.subplots()
    set_frame(axes, raster)
    known = np.isfinite(share)
    tiles = draw_tiles(
        axes, raster, np.where(known, share, 0.0), known, cmap="RdBu", vmin=0, vmax=1
    )
    figure.colorbar(tiles, ax=axes, shrink=0.8, label="share of seeds that say yes")
    return figure


def _value_panel(figure: Figure, axes: Axes, raster: Raster, boundary: str, colors: Colors) -> None:
    set_frame(axes, raster)
    values, look = value_map(raster, boundary), colormap("value", colors)
    tiles = draw_tiles(axes, raster, values, raster.known, cmap=look, vmin=-1, vmax=1)
    axes.set_title(f"{boundary.capitalize()} and how well")
    meaning = f"0.3 (highest loss) to 1 (lowest)\n-1: {NO[boundary]}"
    bar = figure.colorbar(tiles, ax=axes, shrink=0.8, label=meaning)
    bar.set_ticks([-1, 0, 0.3, 1], labels=["-1", "0", "0.3", "1"])
    filled = inferred_patch(raster) if np.isfinite(raster.loss).any() else []
    _legend(axes, [*filled, *missing_patch(raster)])


def _loss_panel(
    figure: Figure, axes: Axes, raster: Raster, answer: NDArray[np.int8], boundary: str
) -> None:
    set_frame(axes, raster)
    axes.set_title(f"Final loss of {boundary} points")
    blank = raster.known & ~((answer == 1) & np.isfinite(raster.loss))
    shown = raster.known & ~blank
    draw_tiles(axes, raster, np.zeros(answer.shape), blank, cmap=ListedColormap([BLANK_COLOR]))
    # Values outside `shown` may be infinite, which would spoil the colour scale.
    loss = np.where(shown, raster.loss, 0.0)
    look: dict[str, Any] = {"cmap": matplotlib.colormaps["viridis_r"]}
    if shown.any():
        tiles = draw_tiles(axes, raster, loss, shown, **look)
        figure.colorbar(tiles, ax=axes, shrink=0.8, label="final loss")
    else:
        reason = "no loss recorded" if (answer == 1).any() else f"no {boundary} point"
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center")
    unshown = NO[boundary] + (" or not run" if (blank & (answer == 1)).any() else "")
    grey = [color_patch(unshown, BLANK_COLOR)] if blank.any() else []
    _legend(axes, [*grey, *missing_patch(raster)])


def _label_panel(
    axes: Axes, raster: Raster, answer: NDArray[np.int8], boundary: str, colors: Colormap
) -> None:
    set_frame(axes, raster)
    draw_tiles(axes, raster, answer, raster.known, cmap=colors, vmin=0, vmax=1)
    axes.set_title(f"{boundary.capitalize()} or not")
    yes, no = int(np.count_nonzero(answer == 1)), int(np.count_nonzero(answer == 0))
    handles = [
        color_patch(f"{boundary} ({yes})", colors(1.0)),
        color_patch(f"{NO[boundary]} ({no})", colors(0.0)),
    ]
    _legend(axes, [*handles, *missing_patch(raster)])


def _legend(axes: Axes, handles: list[Patch]) -> None:
    """Put a legend under a panel, clear of its axis title; nothing for no entries."""
    if handles:
        # In units of the panel's height, below an axis title of one line or two.
        below = -0.18 if "\n" in axes.get_xlabel() else -0.13
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, below), ncols=2)
