"""Figure of the loss curves along a line across the frame, and of their final losses."""

from typing import Final, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import new_figure
from fractal_ray.figures.profile import Line
from fractal_ray.figures.style import shared_style
from fractal_ray.plane.outcome import Criterion, Outcome
from fractal_ray.plane.palette import OUTCOME_COLORS, OUTCOME_NAMES

MOST_CURVES: Final = 64
"""Largest number of curves in a figure, because more cannot be distinguished. Of a longer line, the
curves beside the border and evenly spaced others are drawn."""

_DASHES: Final[dict[Outcome, Literal["-", "--", ":"]]] = {
    Outcome.TRAINED: "-",
    Outcome.NOT_IMPROVED: "--",
    Outcome.TOO_SLOW: "--",
    Outcome.DEGRADED: "--",
    Outcome.TOO_SHORT: "--",
    Outcome.DIVERGED: ":",
}


def curves_figure(line: Line, criterion: Criterion, *, title: str, boundary: str) -> Figure:
    """Draw the loss curves of a line, and the final loss of each along the line, 14 x 6 in.

    Parameters
    ----------
    line
        Runs in their order, with their loss curves.
    criterion
        Criterion of the outcomes; its threshold is drawn.
    title
        Heading.
    boundary
        Label whose border is marked, in black lines.

    Raises
    ------
    SweepError
        If the runs have no loss curves, or only parts of them.
    """
    curves = _whole_curves(line)
    drawn = _chosen(line)
    note = line.name
    if len(drawn) < len(curves):
        note += f"; {len(drawn)} of {len(curves)} curves are drawn"
    with shared_style():
        figure = new_figure((14, 6), title, note)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        low, high = float(line.positions[0]), float(line.positions[-1])
        norm = Normalize(low, high if high > low else low + 1)
        colors = ScalarMappable(norm, matplotlib.colormaps["viridis"])
        _curves(left, line, curves, drawn, colors)
        bar = figure.colorbar(colors, ax=left, label=line.along)
        for at in line.border:
            bar.ax.axhline(at, color="black", linewidth=min(1.5, 20 / line.border.size))
        _ends(right, line, curves, criterion, boundary)
        return figure


def _whole_curves(line: Line) -> list[NDArray[np.float64]]:
    curves = [np.array(curve, dtype=np.float64) for curve in line.rows.column("losses").to_pylist()]
    diverged = line.rows.column("diverged_step").to_pylist()
    if not any(curve.size for curve in curves):
        raise SweepError("this figure needs loss curves, and the runs of this line have none")
    steps = line.rows.column("steps").to_pylist()
    for curve, count, lost in zip(curves, steps, diverged, strict=True):
        if curve.size < (count if lost is None else min(count, lost)):
            raise SweepError(
                "this figure needs whole loss curves, and the runs of this dataset kept only parts"
                " of theirs (workload.kept_losses)"
            )
    return curves


def _beside_border(line: Line) -> NDArray[np.bool_]:
    """Return (n,) bool: the last run before and the first behind each place of the border."""
    behind = np.searchsorted(line.positions, line.border)
    beside = np.zeros(line.positions.size, dtype=bool)
    beside[np.r_[behind - 1, behind].clip(0, beside.size - 1).astype(int)] = True
    return beside


def _chosen(line: Line) -> NDArray[np.int64]:
    count = line.positions.size
    if count <= MOST_CURVES:
        return np.arange(count)
    beside = np.flatnonzero(_beside_border(line))
    if beside.size > MOST_CURVES // 2:
        beside = beside[np.linspace(0, beside.size - 1, MOST_CURVES // 2).astype(int)]
    evenly = np.linspace(0, count - 1, MOST_CURVES - beside.size).astype(int)
    return np.union1d(beside, evenly)


def _curves(
    axes: Axes,
    line: Line,
    curves: list[NDArray[np.float64]],
    drawn: NDArray[np.int64],
    colors: ScalarMappable,
) -> None:
    beside = _beside_border(line)
    highest = [float(curve.max(initial=-np.inf)) for curve in curves]
    trained = [h for h, each in zip(highest, line.shown, strict=True) if each is Outcome.TRAINED]
    first = max(float(curve[0]) for curve in curves if curve.size)
    # Runs that do not train may reach 1e38; all others would be one line at the bottom.
    top = 1.1 * min(max(highest), max([3 * first, *trained]))
    for k in drawn.tolist():
        curve, outcome = curves[k], line.shown[k]
        if not curve.size:
            continue
        color = colors.to_rgba(line.positions[k])
        width = 2.4 if beside[k] else 1.0
        steps = np.arange(1, curve.size + 1)
        axes.plot(steps, curve, _DASHES[outcome], color=color, linewidth=width)
        if outcome is Outcome.DIVERGED:
            axes.plot(steps[-1], min(float(curve[-1]), top), "x", color=color, ms=9, mew=2)
    least = min(float(curve.min()) for curve in curves if curve.size)
    if least > 0 and top / least > 30:
        axes.set_yscale("log")
    axes.set_ylim(top=top * 1.02)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss (cut above {top:.3g})" if max(highest) > top else "loss")
    counts = {outcome: line.shown.count(outcome) for outcome in Outcome}
    handles = [
        Line2D(
            [], [], color="black", linestyle=_DASHES[outcome],
            marker="x" if outcome is Outcome.DIVERGED else "",
            label=f"{OUTCOME_NAMES[outcome]} ({count})",
        )
        for outcome, count in counts.items()
        if count
    ]  # fmt: skip
    if beside.any():
        handles.append(Line2D([], [], color="black", linewidth=2.4, label="beside the border"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4)


def _ends(
    axes: Axes,
    line: Line,
    curves: list[NDArray[np.float64]],
    criterion: Criterion,
    boundary: str,
) -> None:
    """Draw the mean of the last losses over the first, along the line; diverged runs at the top."""
    ratios = np.array([criterion.ratio(curve) for curve in curves])
    diverged = np.array([outcome is Outcome.DIVERGED for outcome in line.shown])
    limit = 3 * criterion.threshold
    within = (ratios < limit) & ~diverged
    highest = max([criterion.threshold, *ratios[within]])
    lowest = min([criterion.threshold, *ratios[within]])
    room = max(highest - lowest, 0.1)
    top = highest + 0.15 * room
    for outcome, color in OUTCOME_COLORS.items():
        where = np.array([each is outcome for each in line.shown])
        y = np.where(where & within, ratios, top)
        marker = "x" if outcome is Outcome.DIVERGED else "o"
        edge = None if outcome is Outcome.DIVERGED else "black"
        axes.scatter(line.positions[where], y[where], marker=marker, c=color, edgecolors=edge,
                     linewidths=0.6 if edge else 1.8, zorder=3)  # fmt: skip
    axes.axhline(criterion.threshold, color="black", linewidth=0.8, linestyle=":")
    for at in line.border:
        axes.axvline(at, color="black", linewidth=min(1.2, 20 / line.border.size))
    axes.set_ylim(lowest - 0.1 * room, top + 0.1 * room)
    axes.set_xlabel(line.along)
    above = f"\n(above {limit:.3g}: at the top)" if (~within & ~diverged).any() else ""
    axes.set_ylabel(f"mean of the last {criterion.window} losses / first{above}")
    names = {
        "border": Line2D([], [], color="black", label=f"border, {boundary} ({line.border.size})"),
        "threshold": Line2D([], [], color="black", linestyle=":", label="threshold"),
    }
    for outcome in dict.fromkeys(line.shown):
        where = "at the top" if outcome is Outcome.DIVERGED else ""
        names[outcome] = Line2D(
            [], [], linestyle="none", color=OUTCOME_COLORS[outcome],
            marker="x" if where else "o", label=f"{OUTCOME_NAMES[outcome]} {where}".strip(),
        )  # fmt: skip
    below = -0.18 if "\n" in line.along else -0.13
    axes.legend(
        handles=list(names.values()), loc="upper center", bbox_to_anchor=(0.5, below), ncols=2
    )
