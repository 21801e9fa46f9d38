"""Two maps of labels on one lattice: how much they differ, where, and by how much the share of yes.

Shares have Wilson's interval (J. Am. Stat. Assoc. 22, 209 (1927)). The share that says yes is
compared by drawing tiles of the lattice again, for neighbours depend on each other and a pair of
labels is no independent trial, as McNemar's test (Psychometrika 12, 153 (1947)) would have it;
`dimension/intervals.py` has the sources of the resampling.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.compare.result import Interval, Share
from fractal_ray.dimension.intervals import half_width, resampled
from fractal_ray.dimension.pair_counts import by_tile, tile_edges
from fractal_ray.plane.boundary import OUTCOME_CODES, boundary_cells
from fractal_ray.plane.outcome import Outcome

FAR: Final = 3
"""Cells from the border at which all is far."""

Labels = NDArray[np.int8]
"""(ny, nx) of 1, 0 and -1 (not known)."""


def steps_to_border(given: Labels) -> NDArray[np.int64]:
    """(ny, nx) cells from each node to the nearest corner of a boundary cell, along rows, columns
    or diagonals; `FAR` at most, and where there is no border."""
    from scipy.ndimage import distance_transform_cdt  # takes a while to import

    mixed = np.pad(boundary_cells(given).mixed, 1)
    corner = mixed[:-1, :-1] | mixed[:-1, 1:] | mixed[1:, :-1] | mixed[1:, 1:]
    if not corner.any():
        return np.full(given.shape, FAR)
    steps = np.asarray(distance_transform_cdt(~corner, metric="chessboard"), dtype=np.int64)
    return np.minimum(steps, FAR)


def outcome_table(a: NDArray[np.int8], b: NDArray[np.int8]) -> tuple[tuple[int, ...], ...]:
    """Pairs of outcomes counted, of (n,) codes: `a` down, `b` across, in the order of `Outcome`."""
    kinds = len(Outcome)
    codes = [OUTCOME_CODES[outcome] for outcome in Outcome]
    counts = np.bincount(a.astype(np.int64) * kinds + b, minlength=kinds**2).reshape(kinds, kinds)
    return tuple(tuple(row) for row in counts[np.ix_(codes, codes)].tolist())


def wilson(count: int, total: int) -> Share:
    """A share with its interval."""
    if not total:
        return Share(0, 0, None, None)
    from scipy.stats import binomtest  # takes a while to import

    within = binomtest(count, total).proportion_ci(method="wilson")
    return Share(count, total, float(within.low), float(within.high))


def correlation(a: NDArray[np.int8], b: NDArray[np.int8]) -> float | None:
    """Pearson's, of (n,) labels 1 and 0; None where a side has one only."""
    if min(np.unique(a).size, np.unique(b).size) < 2:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def apart(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """Median distance, in cells, from boundary cells of each to the nearest of the other.

    Parameters
    ----------
    a, b
        (ny - 1, nx - 1), set in boundary cells.

    Returns
    -------
    None where a side has none.
    """
    if not (a.any() and b.any()):
        return None
    from scipy.ndimage import distance_transform_edt  # takes a while to import

    from_a, from_b = (np.asarray(distance_transform_edt(~cells)) for cells in (a, b))
    return float(np.median(np.concatenate([from_b[a], from_a[b]])))


def yes_difference(labelled: tuple[Labels, Labels], both: NDArray[np.bool_]) -> Interval | None:
    """Share of yes in the second less that in the first.

    Parameters
    ----------
    labelled
        Labels of one lattice.
    both
        (ny, nx) nodes that both know.

    Returns
    -------
    With the interval of tiles of 1/8 of the sides drawn again. Where no label differs it is as
    wide as Wilson's of no flip: nodes between these could. None without nodes.
    """
    total = int(both.sum())
    if not total:
        return None
    edges = tile_edges(both.shape)
    gained = by_tile(both & (labelled[0] < labelled[1]), edges)
    lost = by_tile(both & (labelled[0] > labelled[1]), edges)
    value = float((gained - lost).sum() / total)
    if not (gained + lost).any():
        most = wilson(0, total).high or 0.0
        return Interval(0.0, -most, most)
    known = by_tile(both, edges)
    some = known > 0
    parts = np.stack([gained - lost, known], axis=1)[some]
    draws = resampled(parts, None, 0)
    error = float((draws[:, 0] / np.maximum(draws[:, 1], 1)).std())
    half = half_width([error], int(some.sum()))
    return Interval(value, value - half, value + half)
