"""Dense raster of labels from the points that were run, with a mask of these points."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.boundary import UNKNOWN
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.refine import RefinePlanner


def labels_of(
    planner: GridPlanner | RefinePlanner, label: Callable[[Outcome], bool]
) -> tuple[NDArray[np.int8], NDArray[np.bool_], int]:
    """Return the labels on the finest lattice of a planner that is done.

    Returns
    -------
    (labels, measured, level)
        (ny, nx) int8 of 1, 0 and -1 (not known); (ny, nx) bool, True where the label is that of a
        run; and the level of the lattice.
    """
    frame = planner.frame
    if isinstance(planner, RefinePlanner):
        x, y, labels = planner.labels()
        size = {"cells_x": frame.cells_x, "cells_y": frame.cells_y, "levels": planner.levels}
        return *infer_labels(x, y, labels, **size), planner.levels
    labels = np.full((frame.cells_y + 1, frame.cells_x + 1), UNKNOWN, dtype=np.int8)
    for point, outcome in planner.results:
        labels[point.iy, point.ix] = UNKNOWN if outcome is None else label(outcome)
    return labels, labels != UNKNOWN, 0


def infer_labels(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    labels: NDArray[np.int8],
    *,
    cells_x: int,
    cells_y: int,
    levels: int,
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Fill a lattice: a node that was not run has the label of the cell that it lies in.

    That cell is the finest cell whose corners are known, by a run or as part of a larger cell. It
    has the label of its corners if all known nodes of its closed square agree; if they do not,
    nodes stay unknown.

    Parameters
    ----------
    x, y
        (n,) addresses at level `levels`, each node once.
    labels
        (n,) 1 (yes), 0 (no) or -1: a run is needed and its outcome is not known. Without such
        nodes their neighbours would decide their labels.
    cells_x, cells_y
        Cells along each side at level 0.
    levels
        Level of the lattice that is filled.

    Returns
    -------
    ``(filled, measured)``, both (ny, nx), row = y address: int8 of 1, 0 and -1 (not known), and
    bool, True where the label is that of a run.
    """
    shape = ((cells_y << levels) + 1, (cells_x << levels) + 1)
    sparse = np.full(shape, _ABSENT, dtype=np.int8)
    sparse[y, x] = labels
    mixed = _mixed(sparse, levels)
    filled = sparse[:: 1 << levels, :: 1 << levels]
    filled = np.where(filled == _ABSENT, UNKNOWN, filled)
    for level in range(levels):
        step = 1 << (levels - level - 1)
        filled = _halved(filled, _cell_labels(filled, mixed[level]), sparse[::step, ::step])
    return filled.astype(np.int8), (sparse == 0) | (sparse == 1)


_ABSENT = -2


def _mixed(sparse: NDArray[np.int8], levels: int) -> list[NDArray[np.bool_]]:
    """Return, by level below the finest: cells in whose closed square known nodes differ."""
    kinds = []
    for label in (UNKNOWN, 0, 1):
        nodes = sparse == label
        cells = nodes[:-1, :-1] | nodes[1:, :-1] | nodes[:-1, 1:] | nodes[1:, 1:]
        pyramid = []
        for _ in range(levels):
            rows = cells[0::2] | cells[1::2]
            cells = rows[:, 0::2] | rows[:, 1::2]
            pyramid.append(cells)
        kinds.append(pyramid)
    return [a.astype(np.int8) + b + c > 1 for a, b, c in reversed(list(zip(*kinds, strict=True)))]


def _cell_labels(filled: NDArray[np.int8], mixed: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return the label of cells whose corners agree and that are not mixed, else unknown."""
    first = filled[:-1, :-1]
    same = (first == filled[1:, :-1]) & (first == filled[:-1, 1:]) & (first == filled[1:, 1:])
    return np.where(same & ~mixed, first, UNKNOWN)


def _halved(
    filled: NDArray[np.int8], cells: NDArray[np.int8], sparse: NDArray[np.int8]
) -> NDArray[np.int8]:
    """Return the lattice of the next level: known nodes, old nodes, else the cells' labels.

    Two cells that share an edge and both have a label share its two ends, so they agree.
    """
    finer = np.full(sparse.shape, UNKNOWN, dtype=np.int8)
    finer[1::2, 1::2] = cells
    padded = np.pad(cells, 1, constant_values=UNKNOWN)
    finer[0::2, 1::2] = np.maximum(padded[:-1, 1:-1], padded[1:, 1:-1])
    finer[1::2, 0::2] = np.maximum(padded[1:-1, :-1], padded[1:-1, 1:])
    finer[0::2, 0::2] = filled
    return np.where(sparse == _ABSENT, finer, sparse)
