"""Notes at the foot of figures: what a reader has to know about rates and outcomes."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from fractal_ray.analysis.rates import notes_on_rates
from fractal_ray.analysis.summary import notes_on_baseline
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.figures.style import shared_style
from fractal_ray.plane.boundary import POSSIBLE, Raster
from fractal_ray.plane.outcome import Outcome

_POINTS: Final = 9
"""Size of the letters."""
_LETTERS_PER_INCH: Final = 13


def notes_on(sweep: SweepData, raster: Raster, *, splits: bool = False) -> list[str]:
    """Return the notes on a map of a frame.

    Parameters
    ----------
    sweep
        The sweep.
    raster
        Outcomes of the frame.
    splits
        True if the figure tells `too_slow` from `degraded` under every border.
    """
    rule = sweep.rule
    notes = notes_on_rates(sweep.spec, rule)
    if splits or rule.boundary == "broken":
        notes += notes_on_baseline(rule, _counts(raster))
    return notes


def _counts(raster: Raster) -> Mapping[Outcome, int]:
    """Return the number of nodes that may have each outcome."""
    codes, counts = np.unique(raster.outcome[raster.known], return_counts=True)
    totals: dict[Outcome, int] = {}
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        for outcome in POSSIBLE[code]:
            totals[outcome] = totals.get(outcome, 0) + count
    return totals


def add_foot(figure: Figure, notes: Sequence[str]) -> None:
    """Write notes in small letters at the foot of a figure, wrapped to its width."""
    if not notes:
        return
    width = int(_LETTERS_PER_INCH * figure.get_size_inches()[0])
    lines = [line for note in notes for line in textwrap.wrap(note, width)]
    with shared_style():
        figure.supxlabel("\n".join(lines), fontsize=_POINTS)
