"""What a raster of labels shows, in words, before any dimension is believed.

Labels that their neighbours say nothing of have no border that a lattice of this step resolves:
they fill every box, and an estimator would say D = 2 of what may be noise. Their correlation from
node to node is near 0, and the verdict is "unresolved". Everything else is held against smooth
curves on the same lattice (`nulls.py`).
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
"""Least correlation between neighbours. A level set of D = 1.8 on 64 cells has 0.6; independent
labels have 0, within 0.02 on as many."""


@dataclass(frozen=True)
class Reading:
    """A verdict and what it rests on.

    Parameters
    ----------
    verdict
        `UNRESOLVED`, or what `nulls.verdict` says.
    correlation
        Between the labels of neighbouring nodes, -1 to 1; None without two labels.
    dimension
        The box count that was held against the smooth range; None where there is none, or where
        labels are unresolved.
    smooth
        What smooth curves show on this lattice, or None.
    reasons
        Sentences for a reader.
    """

    verdict: str
    correlation: float | None
    dimension: float | None
    smooth: tuple[float, float] | None
    reasons: tuple[str, ...]


def read_raster(labels: NDArray[np.int8]) -> Reading:
    """Say what a raster of labels shows.

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
    found = boxcount(boundary_cells(labels).mixed)
    if found.dimension is None:
        return Reading(TOO_SMALL, correlation, None, None, found.warnings)
    smooth = smooth_range(*found.shape, sizes=found.fit_sizes, n_boundary=found.n_boundary)
    reason = (
        f"box counting reads {found.dimension:.2f}, smooth curves read {smooth[0]:.2f} to"
        f" {smooth[1]:.2f} on this lattice"
    )
    word = verdict(found, smooth)
    return Reading(word, correlation, found.dimension, smooth, (reason, *found.warnings))


def neighbour_correlation(labels: NDArray[np.int8]) -> float | None:
    """How much labels of neighbours along rows and columns agree beyond chance.

    ``1 - d / (2 p (1 - p))``, d being the share of known neighbours that differ and p that of known
    nodes with label 1: Pearson's correlation of two labels from the same population. None where
    all known nodes have one label.
    """
    known = labels >= 0
    yes = float((labels[known] == 1).mean()) if known.any() else 0.0
    if yes in (0.0, 1.0):
        return None
    pairs, differ = lattice_pairs(labels, [[(1, 0), (0, 1)]])
    return 1 - float(differ.sum() / max(1.0, pairs.sum())) / (2 * yes * (1 - yes))
