"""Figures of the counts of dimension estimators at each scale, and of their fitted lines.

A dimension is drawn only if a verification sheet allows one. Otherwise the figures show counts,
without a slope or a line.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from fractal_ray.dimension.audit import AuditReport
from fractal_ray.dimension.recommend import Data
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import new_figure
from fractal_ray.figures.style import LINE_COLOR, MARK_COLOR, shared_style

_MEASURED: Final[dict[str, str]] = {
    "transects": "flips along the lines",
    "pairs": "2/π sin(π f/2), f: share of pairs that differ",
    "refined levels": "boxes with border",
    "raster": "flips per cell of a line",
}


def scaling_figure(
    estimates: Mapping[Data, Estimate],
    *,
    title: str,
    note: str,
    dimensions: bool,
    recommended: Data | None = None,
) -> Figure:
    """Draw all estimators of a frame, one column each: the log-log fit above its local slopes.

    Parameters
    ----------
    estimates
        Estimates by the data that they use.
    title, note
        Heading and its second line, which gives the evidence for the dimensions.
    dimensions
        True to draw dimensions: fits, slopes and intervals. False draws the counts alone.
    recommended
        Data of the recommended estimate.

    Raises
    ------
    SweepError
        If nothing was counted at any scale.
    """
    counted = {data: each for data, each in estimates.items() if any(m > 0 for m in each.measured)}
    if not counted:
        raise SweepError("no estimator of this frame met a border: nothing to draw")
    rows = 2 if dimensions else 1
    with shared_style():
        figure = new_figure((max(7, 5.2 * len(counted)), 4.2 * rows), title, note)
        panels = figure.subplots(rows, len(counted), squeeze=False)
        for column, (data, estimate) in enumerate(counted.items()):
            counts = panels[0, column]
            _counts(counts, estimate, _MEASURED[data])
            star = "\n(recommended)" if dimensions and data == recommended else ""
            counts.set_title(f"{estimate.method}{star}", fontsize=12)
            if dimensions:
                _fit(counts, estimate)
                _slopes(panels[1, column], estimate)
        return figure


def levels_figure(audit: AuditReport, *, title: str, boundary: str) -> Figure:
    """Draw the number of boundary cells by level, with and without missed cells, 8 x 6 in.

    Parameters
    ----------
    audit
        Audit of a refinement.
    title
        Heading.
    boundary
        Label of the boundary cells.
    """
    levels = np.arange(len(audit.found))
    counted, corrected = np.array(audit.found, float), np.array(audit.corrected)
    if audit.upper is None:  # a dataset without probes
        above, method = 1.96 * np.array(audit.stderr), "audit (95 %)"
        below = np.minimum(above, corrected - counted)
    else:
        above, method = np.array(audit.upper) - corrected, "audit; bound by probes (95 %)"
        below = corrected - counted
    with shared_style():
        figure = new_figure((8, 6), title)
        axes = figure.subplots()
        axes.errorbar(
            levels, corrected, np.c_[below, above].T,
            fmt="o", mfc="white", ms=9, capsize=4, color=MARK_COLOR,
            label=f"with what skipped cells hide, by the {method}",
        )  # fmt: skip
        axes.plot(levels, counted, "o-", color=LINE_COLOR, ms=5, label="found")
        if audit.rate is None:
            axes.plot([], [], " ", label="no skipped cell was run: nothing is said of them")
        if counted.any():
            axes.set_yscale("log", base=2, nonpositive="mask")
            axes.yaxis.set_major_formatter("{x:,.0f}")
        for level, count in zip(levels, audit.found, strict=True):
            axes.annotate(
                f"{count:,}", (level, max(count, 1)), (0, -18), textcoords="offset points",
                ha="center", fontsize=10,
            )  # fmt: skip
        axes.margins(0.08, 0.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("level")
        axes.set_ylabel(f"boundary cells, {boundary}")
        axes.legend(loc="upper left")
        return figure


def _counts(axes: Axes, estimate: Estimate, meaning: str) -> None:
    """Draw the measured values over scale, coarse scales on the left, as estimators list them."""
    scales, measured = np.array(estimate.scales), np.array(estimate.measured)
    is_positive = measured > 0
    inside = is_positive & _fitted(estimate)
    for where, face in ((inside, LINE_COLOR), (is_positive & ~inside, "white")):
        axes.plot(scales[where], measured[where], "o", color=LINE_COLOR, mfc=face, zorder=3)
    low, high = measured[is_positive].min(), measured[is_positive].max()
    middle, reach = (low * high) ** 0.5, max(2.5, 1.3 * (high / low) ** 0.5)
    axes.set_yscale("log", base=2)
    axes.set_ylim(middle / reach, middle * reach)
    _scale_axis(axes, estimate)
    axes.set_ylabel(meaning)


def _fit(axes: Axes, estimate: Estimate) -> None:
    if estimate.value is None:
        axes.text(
            0.5, 0.03, "no dimension:\n" + "\n".join(estimate.warnings), transform=axes.transAxes,
            ha="center", va="bottom", fontsize=9, wrap=True,
        )  # fmt: skip
        return
    inside = _fitted(estimate) & (np.array(estimate.measured) > 0)
    x = np.log2(np.array(estimate.scales)[inside])
    y = np.log2(np.array(estimate.measured)[inside])

    def line(dimension: float) -> np.ndarray:
        return np.exp2(y.mean() + (estimate.base - dimension) * (x - x.mean()))

    name = f"D = {estimate.value:.3f}"
    if estimate.interval is not None:
        low, high = estimate.interval
        name += f" ({low:.3f} to {high:.3f})"
        axes.fill_between(
            np.exp2(x), line(low), line(high), color=MARK_COLOR, alpha=0.25, linewidth=0
        )
        lowest, highest = axes.get_ylim()
        fan = np.r_[line(low), line(high)]
        axes.set_ylim(min(lowest, fan.min() / 1.2), max(highest, fan.max() * 1.2))
    axes.plot(np.exp2(x), line(estimate.value), color=MARK_COLOR, label=name)
    axes.legend(loc="best")


def _slopes(axes: Axes, estimate: Estimate) -> None:
    """Draw the dimension from each scale to the next, over the interval as a band."""
    scales = np.array(estimate.scales)
    between = np.sqrt(scales[:-1] * scales[1:])
    inside = _fitted(estimate)
    for where, face in ((inside[:-1] & inside[1:], LINE_COLOR), (..., "white")):
        slopes = np.array(estimate.local_slopes)[where]
        zorder = 3 if face == LINE_COLOR else 2
        axes.plot(between[where], slopes, "o", color=LINE_COLOR, mfc=face, zorder=zorder)
    axes.set_ylim(-0.1, 2.1)
    if estimate.value is not None and estimate.fit_scales is not None:
        if estimate.interval is not None:
            axes.fill_between(
                estimate.fit_scales, *estimate.interval, color=MARK_COLOR, alpha=0.25, linewidth=0
            )
        axes.plot(estimate.fit_scales, [estimate.value] * 2, color=MARK_COLOR)
    _scale_axis(axes, estimate)
    axes.set_ylabel("D from each scale to the next")


def _scale_axis(axes: Axes, estimate: Estimate) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(estimate.scales[0] * 1.3, estimate.scales[-1] / 1.3)
    axes.set_xlabel(f"scale / {estimate.unit}")


def _fitted(estimate: Estimate) -> np.ndarray:
    """Return (k,) bool: True for the scales of the fit."""
    scales = np.array(estimate.scales)
    if estimate.fit_scales is None:
        return np.zeros(scales.size, dtype=bool)
    coarse, fine = estimate.fit_scales
    return (scales <= coarse) & (scales >= fine)
