"""Counts, by tile of a raster, of pairs of lattice nodes with different labels."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

TILES: Final = 8
"""Number of tiles along each side of a raster: the blocks of its intervals."""


def lattice_pairs(
    labels: NDArray[np.int8], steps: Sequence[Sequence[tuple[int, int]]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count pairs by tile and by kind.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known).
    steps
        (k,) kinds of pairs: the (rows, columns >= 0) that lead from one node of a pair to the
        other.

    Returns
    -------
    ``(known, differ)``, both (tiles, k) float64: pairs of known nodes whose lowest row and column
    lie in the tile, and those of them that have different labels.
    """
    edges = tile_edges(labels.shape)
    known = np.zeros((TILES * TILES, len(steps)))
    differ = np.zeros_like(known)
    for kind, some in enumerate(steps):
        for rows, columns in some:
            first, second = _shifted(labels, rows, columns)
            both = (first >= 0) & (second >= 0)
            known[:, kind] += by_tile(both, edges)
            differ[:, kind] += by_tile(both & (first != second), edges)
    return known, differ


def _shifted(
    labels: NDArray[np.int8], rows: int, columns: int
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    ny, nx = labels.shape
    first = labels[max(0, -rows) : ny - max(0, rows), : nx - columns]
    return first, labels[max(0, rows) : ny - max(0, -rows), columns:]


def tile_edges(shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return the first rows and the first columns of the tiles, each followed by the end."""
    rows, columns = (np.linspace(0, size, TILES + 1).astype(int).tolist() for size in shape)
    return rows, columns


def by_tile(nodes: NDArray[np.bool_], edges: tuple[list[int], list[int]]) -> NDArray[np.float64]:
    """Count the True nodes of each tile, (tiles,); `nodes` may lack the last rows and columns."""
    rows, columns = edges
    counts = [
        np.count_nonzero(nodes[rows[i] : rows[i + 1], columns[j] : columns[j + 1]])
        for i in range(TILES)
        for j in range(TILES)
    ]
    return np.array(counts, dtype=np.float64)
