"""Box counting with an interval: the mean over box origins, tile by tile.

Reference and formula are those of `box_counts.py`, ``N(s) ~ s**-D``. That module counts once, on
boxes that cover the whole mask; verdicts and smooth nulls use its counts. This module counts whole
boxes only, from `ORIGINS` origins along each side that are evenly spaced over the largest fitted
box, and averages the counts: the position of the grid then matters little, and each tile of the
mask has counts of its own that can be resampled.

Scales are in cells. The fit runs from 8 cells to 1/16 of the short side's points; below 8 cells the
lattice shows. A raster with too few points for that is fitted from 1 cell to 1/4, with a warning.
Graphs of rough functions read low by up to 0.3 on any raster of practical size.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.intervals import resampled
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import MIN_SCALES, fit_scaling

METHOD = "box counting"

ORIGINS: Final = 3
"""Number of box origins along each side, so nine in all."""

_TILES: Final = 8


def from_mask(mixed: NDArray[np.bool_], *, seed: int = 0) -> Estimate:
    """Estimate the dimension from boundary cells.

    Parameters
    ----------
    mixed
        (rows, columns) bool, True in boundary cells (`boundary.BoundaryCells.mixed`).
    seed
        Seed of the bootstrap over tiles of about 1/8 of the sides.

    Raises
    ------
    ValueError
        If `mixed` is not a two-dimensional boolean array.
    """
    if mixed.ndim != 2 or mixed.dtype != np.bool_:
        raise ValueError(f"need a 2-D bool mask, not {mixed.dtype} of shape {mixed.shape}")
    points = min(mixed.shape) + 1
    low, high, notes = 8, points // 16, ()
    if high < low << MIN_SCALES - 1:
        low, high = 1, points // 4
        bend = "fitted below 8 cells, where the lattice bends the slope"
        notes = (f"{points} points on the short side: {bend}",)
    largest = 1 << max(0, high.bit_length() - 1)
    sizes = [1 << k for k in range(largest.bit_length())][::-1]
    counts = _counts(mixed, largest, len(sizes))
    scales = np.array(sizes, dtype=np.float64)
    return fit_scaling(
        f"{METHOD} of a raster",
        "cells",
        scales,
        counts.sum(axis=0),
        resampled(counts, None, seed),
        len(counts),
        base=0,
        fit=scales >= low,
        notes=notes,
    )


def _counts(mixed: NDArray[np.bool_], largest: int, sizes: int) -> NDArray[np.float64]:
    """Return the (tiles, sizes) mean numbers of occupied boxes over origins, largest size first."""
    # A later origin may leave one largest box less, and no tile may be empty.
    tiles = [min(_TILES, max(1, side // largest - 1)) for side in mixed.shape]
    counts = np.zeros((tiles[0] * tiles[1], sizes))
    starts = sorted({largest * i // ORIGINS for i in range(ORIGINS)})
    for row in starts:
        for column in starts:
            part = mixed[row:, column:]
            rows, columns = (side // largest * largest for side in part.shape)
            part = part[:rows, :columns]
            for number in range(sizes - 1, -1, -1):
                counts[:, number] += _by_tile(part, tiles)
                if number:
                    part = part[0::2] | part[1::2]
                    part = part[:, 0::2] | part[:, 1::2]
    return counts / len(starts) ** 2


def _by_tile(boxes: NDArray[np.bool_], tiles: list[int]) -> NDArray[np.float64]:
    rows, columns = (
        [side * i // count for i in range(count + 1)]
        for count, side in zip(tiles, boxes.shape, strict=True)
    )
    counts = [
        np.count_nonzero(boxes[rows[i] : rows[i + 1], columns[j] : columns[j + 1]])
        for i in range(tiles[0])
        for j in range(tiles[1])
    ]
    return np.array(counts, dtype=np.float64)
