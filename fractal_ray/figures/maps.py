"""Maps of a frame: labels, final losses, outcomes, measured nodes, and shares of seeds."""

from dataclasses import replace

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fractal_ray.figures.canvas import color_patch, new_figure
from fractal_ray.figures.coloring import NO_TO_YES, colormap
from fractal_ray.figures.panels import draw_either, label_panel, loss_panel, value_panel
from fractal_ray.figures.style import shared_style
from fractal_ray.figures.tiles import draw_tiles, missing_patch, outline_cells, set_frame
from fractal_ray.plane.boundary import OUTCOME_CODES, UNKNOWN, Raster, boundary_cells, labels
from fractal_ray.plane.color_schemes import Colors
from fractal_ray.plane.outcome import STORED
from fractal_ray.plane.palette import CODE_COLORS, CODE_NAMES, MEASURED_COLORS, NO, YES


def three_panel(
    raster: Raster,
    *,
    title: str,
    label: str = "trainable",
    note: str = "",
    colors: Colors = "safe",
) -> Figure:
    """Draw value map, final loss and label side by side, 18 x 6 in (features V1).

    Parameters
    ----------
    raster
        Outcomes and losses of a frame.
    title
        Heading of the figure.
    label
        Boundary that decides yes and no, as in `fractal_ray.plane.boundary.labels`.
    note
        Second line of the heading, such as the dimension with its smooth range.
    colors
        As in `fractal_ray.figures.coloring.colormap`.
    """
    with shared_style():
        figure = new_figure((18, 6), title, note)
        left, centre, right = figure.subplots(1, 3)
        value_panel(figure, left, raster, label, colors)
        loss_panel(figure, centre, raster, label)
        label_panel(right, raster, label, colormap("label", colors))
        return figure


def four_panel(
    raster: Raster,
    *,
    title: str,
    label: str = "trainable",
    note: str = "",
    colors: Colors = "safe",
) -> Figure:
    """Draw the three panels and stability beside them, 24 x 6 in (features V2).

    Parameters
    ----------
    raster, title, label, note, colors
        As in `three_panel`.
    """
    with shared_style():
        figure = new_figure((24, 6), title, note)
        value, loss, answer, stability = figure.subplots(1, 4)
        value_panel(figure, value, raster, label, colors)
        loss_panel(figure, loss, raster, label)
        label_panel(answer, raster, label, colormap("label", colors))
        label_panel(stability, raster, "stable", colormap("stability", colors))
        return figure


def outcome_map(
    raster: Raster, *, title: str, boundary: str = "trainable", note: str = ""
) -> Figure:
    """Draw the outcomes, the missing points and the boundary cells, 9 x 7 in.

    Nodes that were not run and may have either of two outcomes are pale.

    Parameters
    ----------
    raster
        Outcomes of a frame.
    title, note
        Heading of the figure and its second line.
    boundary
        Label whose boundary cells are outlined, as in `fractal_ray.plane.boundary.labels`.
    """
    cells = boundary_cells(labels(raster, boundary))
    with shared_style():
        figure = new_figure((9, 7), title, note)
        axes = figure.subplots()
        set_frame(axes, raster)
        colors = ListedColormap(list(CODE_COLORS.values()))
        norm = BoundaryNorm(np.arange(len(CODE_COLORS) + 1) - 0.5, len(CODE_COLORS))
        draw_tiles(axes, raster, raster.outcome, raster.known, cmap=colors, norm=norm)
        outline_cells(axes, raster, cells.mixed)
        handles, always = [], [OUTCOME_CODES[outcome] for outcome in STORED]
        for code, color in CODE_COLORS.items():
            count, name = np.count_nonzero(raster.outcome == code), CODE_NAMES[code]
            if code not in OUTCOME_CODES.values():
                name = f"not run: {name}".replace(" or ", "\nor ")
            if count or code in always:
                handles.append(color_patch(f"{name} ({count})", color))
        handles += missing_patch(raster)
        border = f"boundary cells,\n{boundary} ({cells.n_mixed})"
        handles.append(Patch(facecolor="none", edgecolor="black", linewidth=1.4, label=border))
        figure.legend(handles=handles, loc="outside right center")
        return figure


def measured_map(
    raster: Raster, *, title: str, boundary: str = "trainable", note: str = ""
) -> Figure:
    """Draw the nodes that were run and those with the label of their cell, 9 x 7 in.

    Parameters
    ----------
    raster
        Outcomes of a frame.
    title, note
        Heading of the figure and its second line.
    boundary
        Label of the map, as in `fractal_ray.plane.boundary.labels`.
    """
    answer = labels(raster, boundary)
    # In the order of the names and of the colours.
    kind = np.where(answer == 1, 2, 0) + raster.measured
    names = [f"{NO[boundary]}, inferred", f"{NO[boundary]}, run"]
    names += [f"{YES[boundary]}, inferred", f"{YES[boundary]}, run"]
    with shared_style():
        figure = new_figure((9, 7), title, note)
        axes = figure.subplots()
        set_frame(axes, raster)
        norm = BoundaryNorm(np.arange(5) - 0.5, 4)
        known, look = answer != UNKNOWN, ListedColormap(list(MEASURED_COLORS))
        either = draw_either(axes, raster, boundary)
        draw_tiles(axes, raster, kind, known, cmap=look, norm=norm)
        handles = [
            color_patch(f"{name} ({np.count_nonzero(known & (kind == code)):,})", color)
            for code, (name, color) in enumerate(zip(names, MEASURED_COLORS, strict=True))
        ]
        handles += [*either, *missing_patch(raster)]
        figure.legend(handles=handles, loc="outside right center")
        return figure


def share_map(
    raster: Raster, share: NDArray[np.float64], *, title: str, colors: Colors = "safe"
) -> Figure:
    """Draw the share of seeds whose label is yes, 8 x 6 in.

    Parameters
    ----------
    raster
        A lattice of any of the seeds.
    share
        (ny, nx) float64 from 0 to 1, NaN where it is not known: drawn as missing.
    title
        Heading.
    colors
        "safe": vermilion over white to blue; "fractal-llm": red over white to blue.
    """
    look = NO_TO_YES if colors == "safe" else "RdBu"
    with shared_style():
        figure = new_figure((8, 6), title)
        axes = figure.subplots()
        set_frame(axes, replace(raster, long_window=None))  # each seed has a map of its own
        known = np.isfinite(share)
        values = np.where(known, share, 0.0)
        tiles = draw_tiles(axes, raster, values, known, cmap=look, vmin=0, vmax=1)
        figure.colorbar(tiles, ax=axes, shrink=0.8, label="share of seeds that say yes")
        return figure
