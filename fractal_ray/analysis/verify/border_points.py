"""Runs at the border of a frame, at which the labels that an estimator counts change.

A check of labels protects a dimension only if it checks the labels that the dimension is made of:
the ends of flips along lines or between pairs for an estimate from these, else the corners of
boundary cells.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from fractal_ray.analysis.replay import Replayed
from fractal_ray.dimension.recommend import Data
from fractal_ray.plane.boundary import Raster, boundary_cells, labels
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Result
from fractal_ray.planners.transects import TransectPlanner

Border = list[tuple[float, float, bool]]
"""List of ``(x, y, label)``, each point once, sorted."""


def border_points(
    data: Data, replayed: Replayed, raster: Raster, boundary: str, label: Callable[[Outcome], bool]
) -> Border:
    """Return the runs at which the labels behind an estimate change.

    Parameters
    ----------
    data
        Kind of data that the estimate is made of.
    replayed, raster
        Replayed stages and raster of the frame.
    boundary, label
        The label's boundary by name, and the function that is True for outcomes labelled yes.
    """
    if data == "transects":
        samplers = [r for r in replayed.results[1:] if r and _of_lines(r, replayed.transects)]
        border = {point for results in samplers for point in _along_lines(results, label)}
    elif data == "pairs":
        border = {point for results in replayed.pairs for point in _between_pairs(results, label)}
    else:
        border = _corners(raster, boundary)
    return sorted(border)


def _of_lines(results: tuple[Result, ...], lines: tuple[TransectPlanner, ...]) -> bool:
    return results[0][0].frame in {planner.frame.id for planner in lines}


def _along_lines(
    results: tuple[Result, ...], label: Callable[[Outcome], bool]
) -> set[tuple[float, float, bool]]:
    lines: dict[int, list[tuple[float, float, float, bool]]] = {}
    for point, outcome in results:
        if outcome is not None:
            place = point.iy / 2**point.level
            lines.setdefault(point.ix, []).append((place, point.x, point.y, label(outcome)))
    ends = set()
    for known in lines.values():
        for before, after in pairwise(sorted(known)):
            if before[3] != after[3]:
                ends |= {before[1:], after[1:]}
    return ends


def _between_pairs(
    results: tuple[Result, ...], label: Callable[[Outcome], bool]
) -> set[tuple[float, float, bool]]:
    pairs: dict[tuple[int, int], list[tuple[float, float, bool]]] = {}
    for point, outcome in results:
        if outcome is not None:
            pairs.setdefault((point.level, point.ix), []).append((point.x, point.y, label(outcome)))
    return {
        end
        for ends in pairs.values()
        if len(ends) == 2 and ends[0][2] != ends[1][2]
        for end in ends
    }


def _corners(raster: Raster, boundary: str) -> set[tuple[float, float, bool]]:
    node_labels = labels(raster, boundary)
    mixed = boundary_cells(node_labels).mixed
    near = np.zeros(node_labels.shape, dtype=np.bool_)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            near[rows, columns] |= mixed
    nodes = np.argwhere(near & raster.measured).tolist()
    return {
        (float(raster.x[c]), float(raster.y[r]), bool(node_labels[r, c] == 1)) for r, c in nodes
    }
