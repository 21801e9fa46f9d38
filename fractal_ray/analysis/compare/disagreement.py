"""Statistics of two maps of labels on one lattice: their differences and the shares of yes.

Shares have Wilson's interval (J. Am. Stat. Assoc. 22, 209 (1927)). The shares of yes are compared
by resampling tiles of the lattice. McNemar's test (Psychometrika 12, 153 (1947)) takes pairs of
labels for independent trials, and they are not: neighbours depend on each other.
`dimension/intervals.py` has the references for the resampling.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.compare.result import Interval, Share
from fractal_ray.dimension.intervals import half_width, resampled, wilson_interval
from fractal_ray.dimension.pair_counts import by_tile, tile_edges
from fractal_ray.plane.boundary import OUTCOME_CODES, boundary_cells
from fractal_ray.plane.outcome import STORED

FAR: Final = 3
"""Largest distance from the border, in cells, that is distinguished."""

Labels = NDArray[np.int8]
"""Array of labels, (ny, nx) of 1, 0 and -1 (not known)."""


def steps_to_border(node_labels: Labels) -> NDArray[np.int64]:
    """Return the distance of each node, in cells, to the nearest corner of a boundary cell.

    Returns
    -------
    (ny, nx) int64
        Steps along rows, columns or diagonals; `FAR` at most, and everywhere without a border.
    """
    from scipy.ndimage import distance_transform_cdt  # takes a while to import

    mixed = np.pad(boundary_cells(node_labels).mixed, 1)
    corner = mixed[:-1, :-1] | mixed[:-1, 1:] | mixed[1:, :-1] | mixed[1:, 1:]
    if not corner.any():
        return np.full(node_labels.shape, FAR)
    steps = np.asarray(distance_transform_cdt(~corner, metric="chessboard"), dtype=np.int64)
    return np.minimum(steps, FAR)


def outcome_table(a: NDArray[np.int8], b: NDArray[np.int8]) -> tuple[tuple[int, ...], ...]:
    """Count pairs of outcomes, given as (n,) codes: `a` down, `b` across, in `STORED`'s order."""
    kinds = len(STORED)
    order = np.zeros(max(OUTCOME_CODES.values()) + 1, dtype=np.int64)
    for outcome, code in OUTCOME_CODES.items():
        order[code] = STORED.index(outcome.stored)
    counts = np.bincount(order[a] * kinds + order[b], minlength=kinds**2).reshape(kinds, kinds)
    return tuple(tuple(row) for row in counts.tolist())


def wilson(count: int, total: int) -> Share:
    """Return a share with Wilson's interval."""
    if not total:
        return Share(0, 0, None, None)
    low, high = wilson_interval(np.array([count]), np.array([total]))
    return Share(count, total, float(low[0]), float(high[0]))


def correlation(a: NDArray[np.int8], b: NDArray[np.int8]) -> float | None:
    """Return Pearson's correlation of (n,) labels 1 and 0; None if a side has only one label."""
    if min(np.unique(a).size, np.unique(b).size) < 2:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def apart(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """Return the median distance, in cells, from boundary cells of a side to the other side's.

    Parameters
    ----------
    a, b
        (ny - 1, nx - 1), True in boundary cells.

    Returns
    -------
    float or None
        The median over the boundary cells of both sides of the distance to the nearest boundary
        cell of the other side; None if a side has no boundary cells.
    """
    if not (a.any() and b.any()):
        return None
    from scipy.ndimage import distance_transform_edt  # takes a while to import

    from_a, from_b = (np.asarray(distance_transform_edt(~cells)) for cells in (a, b))
    return float(np.median(np.concatenate([from_b[a], from_a[b]])))


def yes_difference(labelled: tuple[Labels, Labels], both: NDArray[np.bool_]) -> Interval | None:
    """Return the share of yes in the second map minus the share in the first.

    Parameters
    ----------
    labelled
        Labels of both maps on one lattice.
    both
        (ny, nx), True at nodes whose label is known in both maps.

    Returns
    -------
    Interval or None
        The difference, with an interval from resampled tiles of 1/8 of the sides. If no label
        differs, it is as wide as Wilson's interval of no flip, since nodes between these could
        differ. None without nodes.
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
