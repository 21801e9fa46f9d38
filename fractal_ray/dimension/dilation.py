"""Dimension from the area near the border: Minkowski's dilation, by the distance transform.

The area within a distance r of the border goes as ``r**(2 - D)`` (Minkowski-Bouligand; Falconer,
Fractal Geometry (1990), proposition 3.2). A node counts if a node of the other label lies within
r, which is also the "ball" definition of an uncertain point (`uncertainty.py`). The distance goes
to a node of the other label, not to a boundary cell: a boundary cell reaches half a cell too far,
an error that shows at 4 cells.

Distances are in cells, with the side of a cell as 1 along both axes. The measured quantity is a
share of the known nodes. The fit runs from 4 cells to 1/16 of the short side. Assumption: the
border does not end at the frame, or is much longer than its ends. Graphs of rough functions read
low.
"""

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.intervals import resampled
from fractal_ray.dimension.pair_counts import by_tile, tile_edges
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import fit_scaling

METHOD = "dilation"


def from_raster(labels: NDArray[np.int8], *, seed: int = 0) -> Estimate:
    """Estimate the dimension from a raster of labels.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known), as `boundary.labels` returns it.
    seed
        Seed of the bootstrap over tiles of 1/8 of the sides.
    """
    side = min(labels.shape) - 1
    radii = 2.0 ** (np.arange(2 * max(1, side.bit_length() - 3))[::-1] / 2)
    edges = tile_edges(labels.shape)
    away = distance_to_other(labels)
    near = np.stack([by_tile(away <= radius, edges) for radius in radii], axis=1)
    known = by_tile(labels >= 0, edges)
    draws = resampled(np.concatenate([near, known[:, None]], axis=1), None, seed)
    return fit_scaling(
        f"{METHOD} of a raster",
        "cells",
        radii,
        near.sum(axis=0) / max(1, known.sum()),
        draws[:, :-1] / np.maximum(draws[:, -1:], 1),
        known.size,
        base=2,
        fit=(radii >= 4) & (radii <= (side + 1) / 16),
    )


def distance_to_other(labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the (ny, nx) distances of nodes to the nearest node of the other label, in cells.

    A distance is infinite for a node that is not known, or without a node of the other label.
    """
    from scipy.ndimage import distance_transform_edt  # takes a while to import

    away = np.full(labels.shape, np.inf)
    for own, other in ((0, 1), (1, 0)):
        if (labels == other).any():
            to_other = np.asarray(distance_transform_edt(labels != other))
            away[labels == own] = to_other[labels == own]
    return away
