"""Figure of the advice: the map with best, safe region and cliff, and slices through the best."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fractal_ray.analysis.advice.advice import Advice
from fractal_ray.analysis.advice.results import BestPoint, Cliff, Margin
from fractal_ray.analysis.advice.seed_nodes import BEST
from fractal_ray.analysis.advice.surface import State, Surface
from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import color_patch, new_figure, set_scales
from fractal_ray.figures.coloring import NO_TO_YES, listed
from fractal_ray.figures.style import BLANK_COLOR, shared_style
from fractal_ray.figures.tiles import edges, rulers
from fractal_ray.plane.boundary import Raster
from fractal_ray.plane.outcome import Outcome
from fractal_ray.plane.palette import OUTCOME_COLORS, OUTCOME_NAMES

_LOSSES: Final = "Blues_r"
_OTHERS: Final = {
    State.TOO_SLOW: Outcome.TOO_SLOW,
    State.DEGRADED: Outcome.DEGRADED,
    State.DIVERGED: Outcome.DIVERGED,
    State.UNKNOWN: Outcome.TOO_SHORT,
}
_HATCHES: Final = {State.TOO_SLOW: "////"}
"""Hatches of outcomes with a colour that losses have too."""
_SHOWN: Final = 2.0
"""Percentage of the safe region in slices and on the map of `run`."""
_DASHES: Final = {1.0: "solid", 2.0: "dashed", 5.0: "dotted"}
_BEST: Final[dict[str, object]] = {
    "marker": "*",
    "markersize": 16,
    "markerfacecolor": "#F0E442",
    "markeredgecolor": "black",
    "linestyle": "none",
}
_SEEDS: Final[dict[str, object]] = {
    "marker": "o",
    "markersize": 7,
    "markeredgecolor": "black",
    "linestyle": "none",
}


def advice_figure(advice: Advice, *, title: str) -> Figure:
    """Draw map and slices of an advice, 12 x 10 in, with real values on the axes.

    Parameters
    ----------
    advice
        Advice with a best point.
    title
        Heading.

    Raises
    ------
    SweepError
        If the advice has no best point; the message gives the reason.
    """
    best = advice.best
    if not isinstance(best, BestPoint):
        raise SweepError(f"this figure shows the best point, and there is none: {best.reason}")
    with shared_style():
        figure = new_figure((12, 10), title, f"loss: {advice.metric}")
        grid = figure.add_gridspec(2, 2, height_ratios=(2, 1))
        _map(figure, figure.add_subplot(grid[0, :]), advice, best)
        _slice(figure.add_subplot(grid[1, 0]), advice, best, "x")
        _slice(figure.add_subplot(grid[1, 1]), advice, best, "y")
        return figure


def mark_advice(figure: Figure, raster: Raster, advice: Advice) -> None:
    """Mark the best point and the region within 2 % of it on the first panel of a figure.

    Parameters
    ----------
    figure
        A figure of `fractal_ray.figures.maps`; nothing is marked without a best point.
    raster
        The raster that it shows.
    advice
        Advice on the same frame.
    """
    best = advice.best
    if not isinstance(best, BestPoint):
        return
    axes = figure.axes[0]
    along_x, along_y = rulers(raster)
    x, y = along_x.positions(raster.x), along_y.positions(raster.y)
    region = next(each for each in advice.safe if each.percent == _SHOWN)
    _outline(axes, edges(x), edges(y), region.mask[_nearest_runs(advice.surface)], "solid")
    place = np.array([best.x]), np.array([best.y])
    axes.plot(along_x.positions(place[0]), along_y.positions(place[1]), **_BEST)  # pyright: ignore[reportArgumentType]
    name = f"best, and within {_SHOWN:g} % of it ({region.runs:,} runs)"
    handles = [Line2D([], [], label=name, **_BEST)]  # pyright: ignore[reportArgumentType]
    axes.legend(handles=handles, loc="upper left", frameon=True)


def _map(figure: Figure, axes: Axes, advice: Advice, best: BestPoint) -> None:
    """Draw losses of trained runs, other outcomes, contours, and the margins to the cliff.

    Nodes that were not run have the colour of the nearest run with the label of their cell.
    """
    surface = advice.surface
    at = _nearest_runs(surface)
    loss, state = surface.loss[at], surface.state[at]
    x, y = _edges(surface.x, surface.x_scale), _edges(surface.y, surface.y_scale)
    handles: list[Patch | Line2D] = []
    axes.set_facecolor(BLANK_COLOR)
    for kind, outcome in _OTHERS.items():
        here = state == kind
        if here.any():
            cells = np.ma.masked_where(~here, np.zeros(here.shape))
            colors, hatch = listed([OUTCOME_COLORS[outcome]]), _HATCHES.get(kind, "")
            if hatch:
                axes.pcolor(x, y, cells, cmap=colors, hatch=hatch, edgecolor="black", linewidth=0)
            else:
                axes.pcolormesh(x, y, cells, cmap=colors)
            name = f"{OUTCOME_NAMES[outcome]} ({(here & surface.measured).sum():,})"
            patch = color_patch(name, OUTCOME_COLORS[outcome])
            patch.set_hatch(hatch)
            handles.append(patch)
    losses = np.ma.masked_where((state != State.TRAINED) | ~np.isfinite(loss), loss)
    tiles = axes.pcolormesh(x, y, losses, cmap=_LOSSES)
    name = f"loss of trained runs ({surface.trained.sum():,})"
    figure.colorbar(tiles, ax=axes, shrink=0.9, label=name)
    for region in advice.safe:
        _outline(axes, x, y, region.mask[at], _DASHES[region.percent])
        label = f"within {region.percent:g} % ({region.runs:,} runs)"
        handles.append(Line2D([], [], color="black", ls=_DASHES[region.percent], label=label))
    if isinstance(advice.cliff, Cliff):
        for margin in advice.cliff.margins:
            _margin(axes, best, margin)
        handles.append(Line2D([], [], color="black", marker=">", label="margin to the cliff"))
    axes.plot(best.x, best.y, **_BEST)  # pyright: ignore[reportArgumentType]
    handles.append(Line2D([], [], label="best", **_BEST))  # pyright: ignore[reportArgumentType]
    handles += _shares(axes, advice)
    if inferred := int(((state != State.NOT_RUN) & (surface.state == State.NOT_RUN)).sum()):
        name = f"not run, as the\nnearest run ({inferred:,})"
        handles.append(Line2D([], [], ls="none", label=name))
    _scales(axes, surface)
    figure.legend(handles=handles, loc="outside right upper")


def _shares(axes: Axes, advice: Advice) -> list[Line2D]:
    """Mark the nodes with several seeds by their share of broken seeds; return the legend entry.

    The number of broken seeds stands below a node where it is not 0.
    """
    nodes = [each for each in advice.seeds.nodes if each.label.seeds > 1]
    for node in nodes:
        broken, seeds = node.label.broken, node.label.seeds
        look = {**_SEEDS, "markerfacecolor": NO_TO_YES(1 - broken / seeds)}
        if broken or BEST not in node.roles:  # the star of the best stays visible
            axes.plot(node.x, node.y, **look)  # pyright: ignore[reportArgumentType]
        if broken:
            axes.annotate(
                f"{broken}/{seeds}",
                (node.x, node.y),
                xytext=(0, -16),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8},
            )
    if not nodes:
        return []
    name = f"share of {advice.seeds.checked} seeds broken"
    look = {**_SEEDS, "markerfacecolor": NO_TO_YES(0.5)}
    return [Line2D([], [], label=name, **look)]  # pyright: ignore[reportArgumentType]


def _nearest_runs(surface: Surface) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the column of the run that stands for each node, (ny, nx) each.

    At nodes of a refined lattice it is the nearest run with the label of the node, at runs and at
    nodes without a label the node itself.
    """
    at = np.indices(surface.state.shape)
    for label in (0, 1):
        runs = surface.measured & (surface.broken == label)
        inferred = (surface.state == State.NOT_RUN) & (surface.broken == label)
        if runs.any() and inferred.any():
            from scipy.ndimage import distance_transform_edt  # takes a while to import

            nearest = distance_transform_edt(~runs, return_distances=False, return_indices=True)
            at[:, inferred] = np.asarray(nearest)[:, inferred]
    return at[0], at[1]


def _scales(axes: Axes, surface: Surface) -> None:
    set_scales(axes, surface.x_scale, surface.y_scale)
    axes.set_xlabel(surface.x_name)
    axes.set_ylabel(surface.y_name)


def _edges(values: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Return the real values at the edges of tiles around the values of an axis."""
    return 10 ** edges(np.log10(values)) if scale == "log" else edges(values)


def _outline(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    mask: NDArray[np.bool_],
    dashes: str,
) -> None:
    """Draw the edges between the tiles of a region and the others."""
    padded = np.pad(mask, 1)
    for iy, ix in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist():
        axes.plot([x[ix], x[ix]], [y[iy], y[iy + 1]], color="black", ls=dashes, lw=1.3)
    for iy, ix in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist():
        axes.plot([x[ix], x[ix + 1]], [y[iy], y[iy]], color="black", ls=dashes, lw=1.3)


def _margin(axes: Axes, best: BestPoint, margin: Margin) -> None:
    """Draw an arrow from the best to the first broken run of a direction, with its distance."""
    if margin.first_broken is None:
        return
    along_x = margin.direction[1] == "x"
    end = (margin.first_broken, best.y) if along_x else (best.x, margin.first_broken)
    look = {"arrowstyle": "->", "color": "black", "lw": 1.6}
    axes.annotate("", xy=end, xytext=(best.x, best.y), arrowprops=look)
    ends = [each for each in (margin.low, margin.high) if each is not None]
    unit = "x" if margin.scale == "log" else ""
    text = " to ".join(f"{each:.3g}{unit}" for each in ends)
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    axes.annotate(text, xy=end, xytext=(4, 6), textcoords="offset points", bbox=box)


def _slice(axes: Axes, advice: Advice, best: BestPoint, side: str) -> None:
    """Draw the losses of the row (x) or the column (y) through the best."""
    surface = advice.surface
    iy, ix = best.node
    at = (iy, slice(None)) if side == "x" else (slice(None), ix)
    values, scale = (surface.x, surface.x_scale) if side == "x" else (surface.y, surface.y_scale)
    name = surface.x_name if side == "x" else surface.y_name
    other, fixed = (surface.y_name, best.y) if side == "x" else (surface.x_name, best.x)
    loss, state, trained = surface.loss[at], surface.state[at], surface.trained[at]
    top = float(loss[trained].max())
    if advice.untouched is not None:
        top = max(top, advice.untouched)
        axes.axhline(advice.untouched, color="black", lw=0.8, ls=":", label="untouched model")
    axes.plot(values[trained], loss[trained], "-o", ms=4, color=OUTCOME_COLORS[Outcome.TRAINED])
    ceiling = top + 0.08 * (top - best.loss or 1.0)
    for kind, outcome in _OTHERS.items():
        here = surface.measured[at] & (state == kind)
        height = np.where(np.isfinite(loss[here]), np.minimum(loss[here], ceiling), ceiling)
        look = {"color": OUTCOME_COLORS[outcome], "ls": "none", "marker": "x", "mew": 2}
        axes.plot(values[here], height, **look)
    region = next(each for each in advice.safe if each.percent == _SHOWN)
    axes.axhline(region.level, color="black", lw=0.8, ls="--", label="2 % above the best")
    axes.plot(best.x if side == "x" else best.y, best.loss, **_BEST)  # pyright: ignore[reportArgumentType]
    set_scales(axes, scale, "linear")
    axes.set_xlabel(name)
    axes.set_ylabel("loss (cut at the top)")
    axes.set_title(f"{other} = {fixed:.3g}")
    axes.legend()
