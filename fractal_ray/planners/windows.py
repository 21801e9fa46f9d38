"""Windows of a frame to zoom into, picked from its labels.

A window is ``1 / factor`` of the frame along each side. Windows never overlap, and each holds at
least one whole boundary cell, so a short border gives fewer windows than requested. Equal labels
and seeds give equal windows.

A window need not be a whole number of cells. Its score counts the block of whole cells in its
middle, so that all counted border lies inside the window.
"""

import math
import random
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.zoom import Centre

Cell = tuple[int, int]
"""(row, column) of a lattice's cell."""


def densest(labels: NDArray[np.int8], factor: float, windows: int = 1) -> list[Centre]:
    """Pick the windows with the most boundary cells, the fullest first.

    Among equally full windows the window that is best centred on its boundary cells is picked, then
    the lowest, then the leftmost.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known) at any level, as `boundary.labels` gives them.
    factor
        Width of the frame divided by that of a window: above 1, and at most the number of cells
        along the shorter side.
    windows
        Number of windows, at least 1.

    Returns
    -------
    Centres in unit coordinates of the frame.

    Raises
    ------
    SweepError
        If a window would be smaller than a cell.
    """
    mixed = boundary_cells(labels).mixed
    size, apart = _block(mixed.shape, factor), _apart(mixed.shape, factor)
    rows, columns = (np.arange(n) for n in mixed.shape)
    table, up, right = (_table(w) for w in (mixed, mixed * rows[:, None], mixed * columns))
    free = _in_windows(table, *_low_corners(mixed.shape, size), size)  # set to 0 where taken
    corners: list[Cell] = []
    while len(corners) < windows and free.max(initial=0) > 0:
        best_rows, best_columns = np.nonzero(free == free.max())
        best = best_rows, best_columns
        off = [
            2 * _in_windows(sums, best_rows, best_columns, size)
            - free.max() * (2 * low + length - 1)
            for sums, low, length in zip((up, right), best, size, strict=True)
        ]
        choice = int(np.argmin(off[0] ** 2 + off[1] ** 2))
        row, column = int(best[0][choice]), int(best[1][choice])
        corners.append((row, column))
        free[_around((row, column), apart)] = 0
    return [_centre(window, size, mixed.shape) for window in corners]


def diverse(
    labels: NDArray[np.int8], factor: float, windows: int = 1, seed: int = 0
) -> list[Centre]:
    """Pick windows on boundary cells that lie far apart and differ in their numbers of such cells.

    The first window is around a boundary cell drawn evenly from all, so that a kind of border is
    favoured only by its amount. Each further window is as far as possible from all before it, in
    units of the frame's sides and of the rank by boundary cells (greedy k-centres: Gonzalez, Theor.
    Comput. Sci. 38, 293 (1985)).

    Parameters and errors are those of `densest`; `seed` is the seed of the first window.
    """
    mixed = boundary_cells(labels).mixed
    size, apart = _block(mixed.shape, factor), _apart(mixed.shape, factor)
    cells = np.argwhere(mixed)
    lows = _lows(cells, size, mixed.shape)
    counts = _in_windows(_table(mixed), lows[:, 0], lows[:, 1], size)
    ranks = np.unique(counts, return_inverse=True)[1]
    places = np.column_stack([cells / mixed.shape, ranks / max(1, ranks.max(initial=0))])
    distance = np.full(len(cells), np.inf)
    corners: list[Cell] = []
    while len(corners) < windows and distance.max(initial=0.0) > 0:
        first = not corners
        choice = _draw(len(cells), random.Random(seed)) if first else int(np.argmax(distance))
        corners.append((int(lows[choice, 0]), int(lows[choice, 1])))
        distance = np.minimum(distance, ((places - places[choice]) ** 2).sum(axis=1))
        distance[_overlapping(lows, lows[choice], apart)] = 0.0
    return [_centre(window, size, mixed.shape) for window in corners]


def random_cells(
    labels: NDArray[np.int8], factor: float, windows: int = 1, seed: int = 0
) -> list[Cell]:
    """Draw boundary cells evenly, such that windows around any point of each do not overlap.

    `bisect.py` starts from these cells. Parameters and errors are those of `densest`.
    """
    mixed = boundary_cells(labels).mixed
    _block(mixed.shape, factor)  # refuses windows smaller than a cell
    rows, columns = (math.ceil(n / factor) for n in mixed.shape)
    # One cell more, because the centre may lie anywhere in its cell; on a frame of the size of
    # the window there is room for one only.
    size = min(rows + 1, mixed.shape[0]), min(columns + 1, mixed.shape[1])
    cells = np.argwhere(mixed)
    lows = _lows(cells, size, mixed.shape)
    rng = random.Random(seed)
    free = np.arange(len(cells))
    corners: list[Cell] = []
    while len(corners) < windows and free.size:
        choice = free[_draw(free.size, rng)]
        corners.append((int(cells[choice, 0]), int(cells[choice, 1])))
        free = free[~_overlapping(lows[free], lows[choice], size)]
    return corners


def _draw(n: int, rng: random.Random) -> int:
    # `random()` is the one method whose numbers Python promises to keep.
    return int(rng.random() * n)


def _block(shape: Sequence[int], factor: float) -> Cell:
    """Return the (rows, columns) of whole cells that a window around their middle holds."""
    if factor > min(shape):
        raise SweepError(
            f"factor {factor:g} asks for windows smaller than a cell: the frame is known at"
            f" {shape[1]} x {shape[0]} cells; refine it further first, or take a factor of at"
            f" most {min(shape)}"
        )
    return int(shape[0] / factor), int(shape[1] / factor)


def _apart(shape: Sequence[int], factor: float) -> Cell:
    """Return the distances (rows, columns) that keep windows apart.

    The lowest cells of two blocks have to be so far apart along one side at least. A window may be
    shifted inside the frame by less than half a cell.
    """
    rows, columns = (
        whole if (whole := int(n / factor)) == n / factor else whole + 2 for n in shape
    )
    return rows, columns


def _table(weights: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the sums of all cells below and to the left: (ny, nx) -> (ny + 1, nx + 1)."""
    sums = np.zeros((weights.shape[0] + 1, weights.shape[1] + 1), dtype=np.int64)
    np.cumsum(weights, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def _low_corners(shape: Sequence[int], size: Cell) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = (np.arange(n - length + 1) for n, length in zip(shape, size, strict=True))
    return rows[:, None], columns


def _in_windows(
    table: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], size: Cell
) -> NDArray[np.int64]:
    """Return the sums over the windows whose lowest cells are at (rows, columns)."""
    tops, rights = rows + size[0], columns + size[1]
    return table[tops, rights] - table[rows, rights] - table[tops, columns] + table[rows, columns]


def _lows(cells: NDArray[np.int64], size: Cell, shape: Sequence[int]) -> NDArray[np.int64]:
    """Return the (n, 2) lowest cells of the windows around `cells`, shifted inside the frame."""
    return np.clip(cells - np.array(size) // 2, 0, np.array(shape) - size)


def _overlapping(lows: NDArray[np.int64], low: NDArray[np.int64], size: Cell) -> NDArray[np.bool_]:
    return np.all(np.abs(lows - low) < size, axis=1)


def _around(low: Cell, size: Cell) -> tuple[slice, slice]:
    """Return the lowest cells of all windows that overlap one."""
    rows, columns = (
        slice(max(0, at - length + 1), at + length) for at, length in zip(low, size, strict=True)
    )
    return rows, columns


def _centre(low: Cell, size: Cell, shape: Sequence[int]) -> Centre:
    fy, fx = (
        Decimal(2 * at + length) / Decimal(2 * n)
        for at, length, n in zip(low, size, shape, strict=True)
    )
    return fx, fy
