"""Labels along random lines of a label function, finest where they flip.

The design is that of the stage `transects` (`planners/transects.py`, which gives the references),
for a function that labels whole arrays at once. It has one additional rule: an interval whose ends
agree is bisected for certain if one of the two intervals next to it on either side flips, since
most hidden flips lie there. All other agreeing intervals are bisected with the probability `AUDIT`,
and each bisected one counts ``1 / AUDIT`` times. The rule depends only on labels that are known
before the draw, so the counts have the right mean at every level.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Label = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]
"""Function from (n,) x and y to (n,) labels."""

Window = tuple[float, float, float, float]
"""Rectangle (x min, x max, y min, y max) in the label function's own coordinates."""

DENSE: Final = 7
"""Level up to which every position of a line is labelled."""

AUDIT: Final = 0.5
"""Probability of bisecting an agreeing interval; with one half, their number stays about constant
over the levels."""

_NEAR: Final = 2  # intervals on either side of a flip


@dataclass(frozen=True)
class LineFlips:
    """Counts of neighbouring positions with different labels.

    Parameters
    ----------
    estimate
        (lines, levels + 1) float64: unbiased for the flips of each line when it is cut in
        ``2**level`` intervals.
    labels
        Number of labels that were computed.
    """

    estimate: NDArray[np.float64]
    labels: int


def sample_lines(label: Label, window: Window, *, labels: int, levels: int, seed: int) -> LineFlips:
    """Count flips along as many random lines as a number of labels allows.

    Parameters
    ----------
    label
        The label function.
    window
        The rectangle to sample; lines are uniform in the unit square that represents it.
    labels
        Approximate number of labels to compute; at least 16 lines are drawn whatever their cost.
    levels
        Number of times that a line is halved, at least `DENSE`.
    seed
        Seed of lines and of bisection.

    Raises
    ------
    ValueError
        If `levels` is below `DENSE`.
    """
    if levels < DENSE:
        raise ValueError(f"levels must be at least {DENSE}; given {levels}")
    rng = np.random.default_rng(seed)
    done = _look(label, window, *_chords(16, rng), levels, rng)
    while True:
        each = done.labels / len(done.estimate)
        left = int((labels - done.labels) / each)
        if left < 1:
            return done
        # Lines differ in what they take, so the last tenth waits until that is known better.
        count = left if left < 10 else left * 9 // 10
        more = _look(label, window, *_chords(count, rng), levels, rng)
        done = LineFlips(np.concatenate([done.estimate, more.estimate]), done.labels + more.labels)


def _chords(
    count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends, (count, 2) each in the unit square, of random lines from rim to rim.

    The lines go through uniform places in uniform directions.
    """
    place, angle = rng.random((count, 2)), rng.uniform(0, 2 * np.pi, count)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ways = np.stack([-place / along, (1 - place) / along])
    back, on = ways.min(axis=0).max(axis=1), ways.max(axis=0).min(axis=1)
    return place + back[:, None] * along, place + on[:, None] * along


def _look(
    label: Label,
    window: Window,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    levels: int,
    rng: np.random.Generator,
) -> LineFlips:
    left, right, bottom, top = window
    evaluated = 0

    def labels_at(line: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.bool_]:
        nonlocal evaluated
        evaluated += share.size
        x, y = (start[line] + share[:, None] * (end[line] - start[line])).T
        return label(left + (right - left) * x, bottom + (top - bottom) * y)

    lines, cells = len(start), 1 << DENSE
    line = np.repeat(np.arange(lines), cells + 1)
    dense = labels_at(line, np.tile(np.arange(cells + 1) / cells, lines)).reshape(lines, -1)
    estimate = np.zeros((lines, levels + 1))
    for level in range(DENSE + 1):
        known = dense[:, :: cells >> level]
        estimate[:, level] = (known[:, 1:] != known[:, :-1]).sum(axis=1)
    # Intervals in order along each line: line, index at the level, labels at both ends, weight.
    line, index = np.repeat(np.arange(lines), cells), np.tile(np.arange(cells), lines)
    low, high, weight = dense[:, :-1].ravel(), dense[:, 1:].ravel(), np.ones(line.size)
    for level in range(DENSE, levels):
        flips = low != high
        chance = np.where(flips | _beside(line, index, level, flips), 1.0, AUDIT)
        taken = rng.random(line.size) < chance
        line, index, low, high = line[taken], index[taken], low[taken], high[taken]
        weight = np.repeat(weight[taken] / chance[taken], 2)
        middle = labels_at(line, (2 * index + 1) / (2 << level))
        line, index = np.repeat(line, 2), np.stack([2 * index, 2 * index + 1], axis=1).ravel()
        low, high = np.stack([low, middle, middle, high], axis=1).reshape(-1, 2).T
        flips = low != high
        estimate[:, level + 1] = np.bincount(line[flips], weight[flips], minlength=lines)
    return LineFlips(estimate, evaluated)


def _beside(
    line: NDArray[np.int64], index: NDArray[np.int64], level: int, flips: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Select the intervals within `_NEAR` of one that flips, on their own line."""
    place = (line << level + 1) + index  # lines lie further apart than any two of its intervals
    beside = np.zeros(flips.size, dtype=np.bool_)
    for steps in range(1, _NEAR + 1):
        near = place[steps:] - place[:-steps] <= _NEAR
        beside[:-steps] |= near & flips[steps:]
        beside[steps:] |= near & flips[:-steps]
    return beside
