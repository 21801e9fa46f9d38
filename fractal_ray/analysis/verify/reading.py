"""Reading of a raster of labels in words, before any dimension is believed.

If neighbouring labels are independent, a lattice of this step resolves no border: the labels fill
every box, and an estimator would give D = 2 for possible noise. Their correlation from node to node
is near 0, and the verdict is "unresolved". All other rasters are compared with smooth curves on a
lattice of equal size (`smooth_range.py`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.verify.smooth_range import NO_BOUNDARY, TOO_SMALL, smooth_range, verdict
from fractal_ray.dimension.box_counts import boxcount
from fractal_ray.dimension.pair_counts import lattice_pairs
from fractal_ray.plane.boundary import boundary_cells

UNRESOLVED: Final = "unresolved"

RESOLVED_FROM: Final = 0.25
"""Least correlation between neighbours of a resolved raster. On 64 cells a level set of D = 1.8 has
0.6, and independent labels have 0, within 0.02."""


@dataclass(frozen=True)
class Reading:
    """A verdict on a raster and its grounds.

    Parameters
    ----------
    verdict
        `UNRESOLVED`, or the verdict of `smooth_range.verdict`.
    correlation
        Correlation of the labels of neighbouring nodes, -1 to 1; None without two labels.
    dimension
        Dimension by box counting, compared with the smooth range; None if there is none, or if
        labels are unresolved.
    smooth
        Smallest and largest dimension of smooth curves on this lattice, or None.
    reasons
        Sentences for a reader.
    """

    verdict: str
    correlation: float | None
    dimension: float | None
    smooth: tuple[float, float] | None
    reasons: tuple[str, ...]


def read_raster(labels: NDArray[np.int8]) -> Reading:
    """Judge a raster of labels in words.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known), as `boundary.labels` returns it.
    """
    correlation = neighbour_correlation(labels)
    if correlation is None:
        return Reading(NO_BOUNDARY, None, None, None, ("all known points have one label",))
    if correlation < RESOLVED_FROM:
        reason = f"neighbouring labels correlate by {correlation:.2f}, as noise does"
        return Reading(UNRESOLVED, correlation, None, None, (reason,))
    count = boxcount(boundary_cells(labels).mixed)
    if count.dimension is None:
        return Reading(TOO_SMALL, correlation, None, None, count.warnings)
    smooth = smooth_range(*count.shape, sizes=count.fit_sizes, n_boundary=count.n_boundary)
    reason = (
        f"box counting reads {count.dimension:.2f}, smooth curves read {smooth[0]:.2f} to"
        f" {smooth[1]:.2f} on this lattice"
    )
    word = verdict(count, smooth)
    return Reading(word, correlation, count.dimension, smooth, (reason, *count.warnings))


def neighbour_correlation(labels: NDArray[np.int8]) -> float | None:
    """Return the correlation of the labels of neighbours along rows and columns.

    ``1 - d / (2 p (1 - p))``, with d the share of known neighbours that differ and p the share of
    known nodes with label 1: Pearson's correlation of two labels from one population. None if all
    known nodes have one label.
    """
    known = labels >= 0
    yes = float((labels[known] == 1).mean()) if known.any() else 0.0
    if yes in (0.0, 1.0):
        return None
    pairs, differ = lattice_pairs(labels, [[(1, 0), (0, 1)]])
    return 1 - float(differ.sum() / max(1.0, pairs.sum())) / (2 * yes * (1 - yes))
