"""Figure of D against zoom, steps or threshold (`fractal_ray.analysis.series`), with its gaps."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from fractal_ray.analysis.series import Against, Entry
from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import new_figure
from fractal_ray.figures.style import LINE_COLOR, MARK_COLOR, shared_style

_MEANING: Final[dict[Against, str]] = {
    "zoom": "how many times narrower than the first frame",
    "steps": "steps after which training is cut short",
    "threshold": "threshold of the label",
}

_WIDEST: Final = 26
"""Largest number of letters in a line of a reason."""


def against_figure(
    entries: Sequence[Entry], against: Against, *, title: str, own: float | None = None
) -> Figure:
    """Draw a series of dimensions with their intervals, 9 x 7 in.

    Parameters
    ----------
    entries
        Entries of `analysis/series.py`. A dimension is hollow if no sheet verifies the labels of
        its entry. An entry without a dimension lies in the strip below, in the row of its reason.
    against
        Variable of the series.
    title
        Heading.
    own
        Threshold or steps of the sweep itself, marked on the axis.

    Raises
    ------
    SweepError
        If there are no entries.
    """
    if not entries:
        raise SweepError("the series is empty: nothing to draw")
    at = [1 / entry.width if entry.width else entry.at for entry in entries]
    places = _side_by_side(at) if against == "zoom" else at
    measured = [k for k, entry in enumerate(entries) if _value(entry) is not None]
    reasons = list(dict.fromkeys(_reason(e) for e in entries if _value(e) is None))
    with shared_style():
        figure = new_figure((9, 7), title, _note(entries, len(measured)))
        heights = [8, 0.35 + 0.7 * len(reasons)] if reasons else [1]
        axes, *strip = figure.subplots(
            len(heights), 1, sharex=True, height_ratios=heights, squeeze=False
        )[:, 0]
        _dimensions(axes, entries, places, measured)
        for k in measured if against == "zoom" else ():
            above = (places[k], _interval(entries[k])[1])
            axes.annotate(
                str(entries[k].frame), above, (0, 6), textcoords="offset points", ha="center"
            )
        for below in strip:
            _without(below, entries, places, reasons)
        last = strip[0] if strip else axes
        last.set_xlabel(_MEANING[against])
        _place_axis(axes, last, against, at)
        if own is not None:
            axes.axvline(own, color="black", linewidth=0.8, linestyle=":")
        return figure


def _dimensions(
    axes: Axes, entries: Sequence[Entry], places: list[float], measured: list[int]
) -> None:
    for verified, face in ((True, LINE_COLOR), (False, "white")):
        drawn = [k for k in measured if entries[k].verified == verified]
        if not drawn:
            continue
        values = np.array([_value(entries[k]) for k in drawn])
        reach = np.array([_interval(entries[k]) for k in drawn])
        name = "verified" if verified else "unverified"
        axes.errorbar(
            [places[k] for k in drawn], values, np.abs(reach - values[:, None]).T, fmt="o",
            color=LINE_COLOR, mfc=face, ms=7, capsize=4, label=f"D, 95 %, {name} ({len(drawn)})",
        )  # fmt: skip
    low = min((_interval(entries[k])[0] for k in measured), default=1.0)
    axes.set_ylim(min(0.9, low - 0.05), 2.05)
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylabel("dimension of the border")
    if measured:
        axes.legend(loc="best")
    else:
        axes.text(0.5, 0.5, "no dimension is given", transform=axes.transAxes, ha="center")


def _without(axes: Axes, entries: Sequence[Entry], places: list[float], reasons: list[str]) -> None:
    """Draw a row of crosses for each reason for a missing dimension."""
    for place, entry in zip(places, entries, strict=True):
        if _value(entry) is None:
            axes.plot(place, reasons.index(_reason(entry)), "x", color=MARK_COLOR, clip_on=False)
    counts = Counter(_reason(entry) for entry in entries if _value(entry) is None)
    names = [textwrap.fill(f"no D: {reason} ({counts[reason]})", _WIDEST) for reason in reasons]
    axes.set_yticks(range(len(reasons)), labels=names)
    axes.set_ylim(-0.6, len(reasons) - 0.4)


def _place_axis(axes: Axes, last: Axes, against: Against, places: list[float]) -> None:
    if against == "threshold":
        return
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(places) / 1.5, max(places) * 1.5)
    ticks = sorted(set(places))
    last.xaxis.set_major_locator(FixedLocator(ticks[:: -(-len(ticks) // 12)]))
    last.xaxis.set_minor_locator(NullLocator())
    last.xaxis.set_major_formatter(StrMethodFormatter("{x:,.4g}"))
    last.xaxis.set_minor_formatter(NullFormatter())


def _side_by_side(at: list[float]) -> list[float]:
    """Place equally narrow frames a little apart."""
    groups = {place: [k for k, other in enumerate(at) if other == place] for place in at}
    apart = min(0.25, 1.2 / max(len(group) for group in groups.values()))
    return [
        place * 2 ** (apart * (groups[place].index(k) - (len(groups[place]) - 1) / 2))
        for k, place in enumerate(at)
    ]


def _value(entry: Entry) -> float | None:
    return None if entry.estimate is None else entry.estimate.value


def _interval(entry: Entry) -> tuple[float, float]:
    """Return an entry's interval; without one the value twice, which draws no bar."""
    assert entry.estimate is not None and entry.estimate.value is not None
    return entry.estimate.interval or (entry.estimate.value, entry.estimate.value)


def _reason(entry: Entry) -> str:
    if entry.estimate is not None:
        return entry.estimate.warnings[0] if entry.estimate.warnings else "no fit"
    return entry.note


def _note(entries: Sequence[Entry], measured: int) -> str:
    unverified = sum(not e.verified for e in entries if _value(e) is not None)
    if unverified:
        return f"{unverified} of {measured} dimensions are unverified (hollow)"
    return ""
