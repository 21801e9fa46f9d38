"""Figure of two maps on their common lattice, and of the nodes where they differ."""

from dataclasses import replace
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from fractal_ray.analysis.compare.result import Comparison
from fractal_ray.figures.canvas import color_patch, new_figure
from fractal_ray.figures.coloring import colormap
from fractal_ray.figures.panels import label_panel, legend_below
from fractal_ray.figures.style import BLANK_COLOR, shared_style
from fractal_ray.figures.tiles import draw_tiles, missing_patch, set_frame
from fractal_ray.plane.boundary import UNKNOWN, labels
from fractal_ray.plane.color_schemes import Colors
from fractal_ray.plane.palette import MEASURED_COLORS, NO, YES

_SAME: Final = ("#FFFFFF", BLANK_COLOR)
_FLIPS: Final = (MEASURED_COLORS[1], MEASURED_COLORS[3])


def difference_figure(comparison: Comparison, *, colors: Colors = "safe") -> Figure:
    """Draw the labels of A, those of B, and the flips by direction, 18 x 6 in.

    Parameters
    ----------
    comparison
        The comparison.
    colors
        Colours of the labels, as in `fractal_ray.figures.coloring.colormap`. Flips have the
        safe colour of their label in B in either case (vermilion: yes in A alone), on white and
        grey.
    """
    boundary = comparison.label["boundary"]
    with shared_style():
        title = f"{comparison.a.name} and {comparison.b.name}"
        figure = new_figure((18, 6), title, f"labels agree on {comparison.agree}")
        panels = figure.subplots(1, 3)
        look = colormap("label", colors)
        sides = (comparison.a, comparison.b)
        for axes, raster, letter, side in zip(
            panels[:2], comparison.rasters, "AB", sides, strict=True
        ):
            label_panel(axes, raster, boundary, look)
            axes.set_title(f"{letter}: {side.name}, frame {side.frame}")
        _flips_panel(panels[2], comparison, boundary)
        return figure


def _flips_panel(axes: Axes, comparison: Comparison, boundary: str) -> None:
    """Draw the nodes with equal labels, and the flips by direction."""
    before, after = (labels(raster, boundary) for raster in comparison.rasters)
    kind = np.select([before == after, before > after], [np.where(before == 1, 1, 0), 2], default=3)
    both = (before != UNKNOWN) & (after != UNKNOWN)
    # A raster of the nodes that both sweeps know: the ground is hatched at all other nodes.
    first = comparison.rasters[0]
    outcome = np.where(both, first.outcome, UNKNOWN).astype(np.int8)
    common = replace(first, outcome=outcome, inferred=None, long_window=None)
    set_frame(axes, common)
    colors = [*_SAME, *_FLIPS]
    norm = BoundaryNorm(np.arange(len(colors) + 1) - 0.5, len(colors))
    draw_tiles(axes, common, kind, both, cmap=ListedColormap(colors), norm=norm)
    axes.set_title("Difference")
    names = [f"both {NO[boundary]}", f"both {YES[boundary]}", f"{YES[boundary]} in A alone"]
    names.append(f"{YES[boundary]} in B alone")
    handles = [
        color_patch(f"{name} ({np.count_nonzero(both & (kind == code)):,})", color)
        for code, (name, color) in enumerate(zip(names, colors, strict=True))
    ]
    legend_below(axes, [*handles, *missing_patch(common)])
