"""Charts of the page as plain plotly data: the scaling of a border, and D from frame to frame.

Grey lines are the smooth sets of the verification sheet, measured by the frame's estimator in the
frame's stages. A rough border must differ from them.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from fractal_ray.dimension.result import Estimate
from fractal_ray.figures.nesting import magnification
from fractal_ray.report.facts import Facts

Chart = dict[str, Any]
"""``id``, ``alt`` (a text for readers who cannot see it), and plotly's ``data`` and ``layout``."""

_MAIN: Final = "#0072B2"  # of Okabe and Ito, as in the figures
_FIT: Final = "#D55E00"
_SMOOTH: Final = "#999999"
_OURS: Final = "this border"


def scaling(
    number: int, estimate: Estimate, smooth: Mapping[str, Estimate], *, dimension: bool
) -> list[Chart]:
    """Chart the values measured at each scale with the fitted line, and D from scale to scale.

    Parameters
    ----------
    number
        Number of the frame.
    estimate
        The recommended estimate of the frame's sheet.
    smooth
        Estimates of smooth sets by the recommended estimator.
    dimension
        True if the sheet gives a dimension. Otherwise only the measured values are drawn, without
        a slope.
    """
    series = [*((name, null, _SMOOTH) for name, null in smooth.items()), (_OURS, estimate, _MAIN)]
    counts = [_counts(each, name, color) for name, each, color in series]
    slopes = [_slopes(each, name, color) for name, each, color in series]
    if dimension and estimate.value is not None and estimate.fit_scales is not None:
        counts.append(_line(estimate))
        slopes.append(_flat(estimate))
    across = {
        "title": {"text": f"scale / {estimate.unit}"},
        "type": "log",
        "autorange": "reversed",
        "exponentformat": "power",
    }
    charts: list[Chart] = [
        {
            "id": f"counts-{number}",
            "alt": f"Frame {number}, {estimate.method}: what was measured at each scale, on"
            " logarithmic axes, with smooth sets in grey.",
            "data": _one_entry_a_name(counts),
            "layout": {
                "xaxis": across,
                "yaxis": {
                    "title": {"text": "measured"},
                    "type": "log",
                    "exponentformat": "power",
                },
            },
        },
        {
            "id": f"slopes-{number}",
            "alt": f"Frame {number}: the dimension from each scale to the next, with smooth sets"
            " in grey, which lie near 1.",
            "data": _one_entry_a_name(slopes),
            "layout": {
                "xaxis": across,
                "yaxis": {"title": {"text": "D from each scale to the next"}, "range": [-0.1, 2.1]},
            },
        },
    ]
    return charts if dimension else charts[:1]


def against_zoom(facts: Facts) -> list[Chart]:
    """Chart D of every frame with a dimension against its magnification; nothing below two."""
    measured = [frame for frame in facts.frames if frame.analysis.dimension is not None]
    if len(measured) < 2:
        return []
    first = facts.frames[0].data.lattice.frame
    intervals = [frame.interval or (math.nan, math.nan) for frame in measured]
    values = [frame.analysis.dimension or math.nan for frame in measured]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [magnification(first, frame.data.lattice.frame) for frame in measured],
        "y": values,
        "text": [f"frame {frame.number}" for frame in measured],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for (_, high), value in zip(intervals, values, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(intervals, values, strict=True)],
        },
        "marker": {"color": _MAIN, "size": 9},
        "name": "D",
        "hovertemplate": "%{text}: D = %{y:.3f}<extra></extra>",
    }
    layout = {
        "xaxis": {
            "title": {"text": "times narrower than the first frame"},
            "type": "log",
            "exponentformat": "power",
        },
        "yaxis": {"title": {"text": "D"}, "range": [0.9, 2.05]},
        "showlegend": False,
    }
    alt = "Dimension of every frame that has one, with its interval, against its magnification."
    return [{"id": "zoom-chart", "alt": alt, "data": [trace], "layout": layout}]


def _counts(estimate: Estimate, name: str, color: str) -> dict[str, Any]:
    measured = [each if each > 0 else None for each in estimate.measured]
    return _trace(estimate.scales, measured, name, color, "%{x:.3g}: %{y:.4g}")


def _slopes(estimate: Estimate, name: str, color: str) -> dict[str, Any]:
    between = [math.sqrt(wide * fine) for wide, fine in pairwise(estimate.scales)]
    slopes = [None if each is None or math.isnan(each) else each for each in estimate.local_slopes]
    return _trace(between, slopes, name, color, "%{x:.3g}: D = %{y:.3f}")


def _trace(x: Any, y: Any, name: str, color: str, hover: str) -> dict[str, Any]:
    smooth = color == _SMOOTH
    return {
        "type": "scatter",
        "mode": "lines" if smooth else "lines+markers",
        "x": list(x),
        "y": list(y),
        "name": "smooth sets" if smooth else name,
        "legendgroup": color,
        "line": {"color": color, "width": 1 if smooth else 1.5},
        "opacity": 0.7 if smooth else 1,
        "hovertemplate": f"{name}, {hover}<extra></extra>",
    }


def _line(estimate: Estimate) -> dict[str, Any]:
    """Draw a line through the middle of the fitted scales, with the slope of the dimension."""
    assert estimate.value is not None
    assert estimate.fit_scales is not None
    coarse, fine = estimate.fit_scales
    points = [
        (math.log(scale), math.log(measured))
        for scale, measured in zip(estimate.scales, estimate.measured, strict=True)
        if fine <= scale <= coarse and measured > 0
    ]
    x, y = (sum(each) / len(points) for each in zip(*points, strict=True))
    slope = estimate.base - estimate.value
    ends = [math.exp(y + slope * (math.log(scale) - x)) for scale in (coarse, fine)]
    return _fit([coarse, fine], ends, f"fit, D = {estimate.value:.3f}")


def _flat(estimate: Estimate) -> dict[str, Any]:
    assert estimate.value is not None
    coarse, fine = estimate.fit_scales or (1.0, 1.0)
    return _fit([coarse, fine], [estimate.value] * 2, f"D = {estimate.value:.3f}")


def _fit(x: list[float], y: list[float], name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "name": name,
        "line": {"color": _FIT, "width": 3},
        "hoverinfo": "skip",
    }


def _one_entry_a_name(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names: set[str] = set()
    traces = []
    for trace in data:
        traces.append({**trace, "showlegend": trace["name"] not in names})
        names.add(trace["name"])
    return traces
