"""Maps of a frame: what trained, how low the loss went, where the border runs.

Figures are plain `matplotlib.figure.Figure` objects on an Agg canvas, without pyplot, so they can
be made in any thread and need no screen.
"""

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fractal_ray.boundary import OUTCOME_CODES, Raster, boundary_cells, labels
from fractal_ray.errors import SweepError
from fractal_ray.figures.lattice import draw_tiles, missing_patch, outline_cells, set_frame
from fractal_ray.figures.style import (
    BLANK_COLOR,
    MEASURED_COLORS,
    OUTCOME_COLORS,
    OUTCOME_NAMES,
    VALUE_COLORS,
    shared_style,
)

FORMATS: Final = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Suffixes that `save` writes, each with the metadata to leave out: same figure, same bytes."""

_NO: Final = {"trainable": "not trainable", "stable": "diverged"}


def value_map(raster: Raster, boundary: str = "trainable") -> NDArray[np.float64]:
    """Fold label and loss into one number for colouring (features D7).

    Parameters
    ----------
    raster
        Outcomes and losses of a frame.
    boundary
        Which label separates yes from no, as in `fractal_ray.boundary.labels`.

    Returns
    -------
    (ny, nx) float64: -1 where the label is no; ``1 - 0.7 (loss - min) / (max - min)`` where it is
    yes, so 1 at the lowest loss and 0.3 at the highest, with min and max over the yes points; 1 if
    they all have the same loss; NaN where unknown. A yes point whose loss was not recorded counts
    as the highest.
    """
    label = labels(raster, boundary)
    yes = label == 1
    values = np.where(label == 0, -1.0, np.nan)
    values[yes] = 1.0
    finite = yes & np.isfinite(raster.loss)
    if not finite.any():
        return values
    low, high = raster.loss[finite].min(), raster.loss[finite].max()
    if low < high:
        values[finite] = 1.0 - 0.7 * ((raster.loss[finite] - low) / (high - low))
    values[yes & ~finite] = 0.3
    return values


def three_panel(raster: Raster, *, title: str, label: str = "trainable", note: str = "") -> Figure:
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
    """
    answer = labels(raster, label)
    with shared_style():
        figure = _figure((18, 6), title, note)
        left, centre, right = figure.subplots(1, 3)
        _value_panel(figure, left, raster, label)
        _loss_panel(figure, centre, raster, answer, label)
        _label_panel(right, raster, answer, label)
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
        figure = _figure((9, 7), title, note)
        axes = figure.subplots()
        set_frame(axes, raster)
        colors = ListedColormap([OUTCOME_COLORS[o] for o in OUTCOME_CODES])
        norm = BoundaryNorm(np.arange(len(OUTCOME_CODES) + 1) - 0.5, len(OUTCOME_CODES))
        draw_tiles(axes, raster, raster.outcome, raster.known, cmap=colors, norm=norm)
        outline_cells(axes, raster, cells.mixed)
        handles = [
            _patch(
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
    names = [f"{_NO[boundary]}, inferred", f"{_NO[boundary]}, run"]
    names += [f"{boundary}, inferred", f"{boundary}, run"]
    with shared_style():
        figure = _figure((9, 7), title, note)
        axes = figure.subplots()
        set_frame(axes, raster)
        norm = BoundaryNorm(np.arange(5) - 0.5, 4)
        draw_tiles(
            axes, raster, kind, raster.known, cmap=ListedColormap(list(MEASURED_COLORS)), norm=norm
        )
        handles = [
            _patch(f"{name} ({np.count_nonzero(raster.known & (kind == code)):,})", color)
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
    figure = _figure((8.0, 6.0), title, "")
    axes = figure.subplots()
    set_frame(axes, raster)
    known = np.isfinite(share)
    tiles = draw_tiles(
        axes, raster, np.where(known, share, 0.0), known, cmap="RdBu", vmin=0, vmax=1
    )
    figure.colorbar(tiles, ax=axes, shrink=0.8, label="share of seeds that say yes")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure whole or not at all, and free its memory.

    Parameters
    ----------
    figure
        A figure of this module; it is empty afterwards.
    path
        Local file whose suffix is one of `FORMATS`: PNG at 150 dots per inch, SVG or PDF. Missing
        folders are made.

    Returns
    -------
    The path written.

    Raises
    ------
    SweepError
        If the suffix is another, or the file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise SweepError(f"cannot write {target.name!r}: use one of {', '.join(FORMATS)}")
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with shared_style():
            figure.savefig(part, format=suffix[1:], dpi=150, metadata=FORMATS[suffix])
        part.replace(target)
    except OSError as error:
        raise SweepError(f"cannot write {target}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        figure.clear()
    return target


def _figure(inches: tuple[float, float], title: str, note: str) -> Figure:
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}\n{note}" if note else title)
    return figure


def _value_panel(figure: Figure, axes: Axes, raster: Raster, boundary: str) -> None:
    set_frame(axes, raster)
    values = value_map(raster, boundary)
    tiles = draw_tiles(axes, raster, values, raster.known, cmap=VALUE_COLORS, vmin=-1, vmax=1)
    axes.set_title(f"{boundary.capitalize()} and how well")
    meaning = f"0.3 (highest loss) to 1 (lowest)\n-1: {_NO[boundary]}"
    bar = figure.colorbar(tiles, ax=axes, shrink=0.8, label=meaning)
    bar.set_ticks([-1, 0, 0.3, 1], labels=["-1", "0", "0.3", "1"])
    _legend(axes, missing_patch(raster))


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
        figure.colorbar(tiles, ax=axes, shrink=0.8, label="final loss (nats per token)")
    else:
        reason = "no loss recorded" if (answer == 1).any() else f"no {boundary} point"
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center")
    grey = [_patch(_NO[boundary], BLANK_COLOR)] if blank.any() else []
    _legend(axes, [*grey, *missing_patch(raster)])


def _label_panel(axes: Axes, raster: Raster, answer: NDArray[np.int8], boundary: str) -> None:
    set_frame(axes, raster)
    colors = matplotlib.colormaps["RdBu"]
    draw_tiles(axes, raster, answer, raster.known, cmap=colors, vmin=0, vmax=1)
    axes.set_title(f"{boundary.capitalize()} or not")
    yes, no = int(np.count_nonzero(answer == 1)), int(np.count_nonzero(answer == 0))
    handles = [
        _patch(f"{boundary} ({yes})", colors(1.0)),
        _patch(f"{_NO[boundary]} ({no})", colors(0.0)),
    ]
    _legend(axes, [*handles, *missing_patch(raster)])


def _patch(name: str, color: Any) -> Patch:
    return Patch(facecolor=color, edgecolor="black", linewidth=0.5, label=name)


def _legend(axes: Axes, handles: list[Patch]) -> None:
    """Put a legend under a panel, clear of its axis title; nothing for no entries."""
    if handles:
        # In units of the panel's height, below an axis title of one line or two.
        below = -0.18 if "\n" in axes.get_xlabel() else -0.13
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, below), ncols=2)
