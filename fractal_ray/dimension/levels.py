"""Box counting straight from a refined lattice, without drawing its raster.

A cell of any level is a box, and it is occupied if its known nodes show two labels: the counts by
level are those of a quadtree over the border, down to lattices that no raster could hold. The audit
(`dimension/audit.py`) corrects for cells that the refinement missed: the count of a level is
multiplied by corrected over found, and the random error of the audit widens the interval.

Islands that one halving does not show are not in the corrected counts; the probes bound them. An
island that is missed at a level is missed at all finer levels too, so the missed share of the
border is taken to grow towards finer levels. It changes D most if nothing is missed at the coarsest
scale and as much as the bound allows at the finest. D is then larger by ``log2(upper / corrected)``
over the number of halvings between them, and the upper end of the interval moves up by that.
Without probes there is no such bound, and D may read low.

Formula and reference are those of `box_counts.py`. Scales are in cells of the finest level; levels
are fitted from 16 boxes along the short side to boxes of 8 cells. Boxes larger than the cells of
level 0 are made of these cells. Blocks are tiles of 1/8 of the sides.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.audit import AuditReport
from fractal_ray.dimension.intervals import DRAWS, resampled
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import fit_scaling
from fractal_ray.planners.refine import RefinePlanner

METHOD = "box counting of refined levels"

_TILES: Final = 8


def from_refinement(
    planner: RefinePlanner, audit: AuditReport | None = None, *, seed: int = 0
) -> Estimate:
    """Estimate the dimension from a refinement.

    Parameters
    ----------
    planner
        A planner that is done, or has part of its results.
    audit
        `dimension.audit.audit_report` of the planner. None: counts are not corrected, and the
        estimate has a warning.
    seed
        Seed of the bootstrap.
    """
    shifts, counts = occupied(planner)
    factor, error = np.ones(shifts.size), np.zeros(shifts.size)
    notes = ("what the refinement missed is not corrected for",)
    if audit is not None:
        notes = ()
        for place, shift in enumerate(shifts.tolist()):
            level = planner.levels - shift
            if level >= 0 and audit.found[level]:
                factor[place] = audit.corrected[level] / audit.found[level]
                error[place] = audit.stderr[level] / audit.corrected[level]
        if audit.undecided:
            notes = (f"{audit.undecided} audited cells have failed nodes and were not judged",)
    chance = np.random.default_rng(seed).normal(size=(DRAWS, 1)) * error
    scales = np.exp2(shifts.astype(np.float64))
    boxes = min(planner.frame.cells_x, planner.frame.cells_y) * 2.0 ** (planner.levels - shifts)
    estimate = fit_scaling(
        METHOD,
        "cells",
        scales,
        counts.sum(axis=0) * factor,
        resampled(counts, None, seed) * factor * np.exp(chance),
        len(counts),
        base=0,
        fit=(boxes >= 16) & (scales >= 8),
        notes=notes,
    )
    return estimate if audit is None else _with_missed_border(estimate, audit)


def _with_missed_border(estimate: Estimate, audit: AuditReport) -> Estimate:
    """Return an estimate with the upper end of its interval moved by what may have been missed."""
    if estimate.interval is None or estimate.fit_scales is None or audit.upper is None:
        return estimate
    low, high = estimate.interval
    halvings = math.log2(estimate.fit_scales[0])  # the finest scale is one cell
    high += math.log2(audit.upper[-1] / audit.corrected[-1]) / halvings
    return replace(estimate, interval=(low, min(2.0, high)))


def occupied(planner: RefinePlanner) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the boxes in whose closed square known labels differ.

    Returns
    -------
    (shifts, counts)
        (k,) int64: boxes have sides of ``2**shift`` finest cells, the largest first; and (tiles, k)
        float64, the number of boxes in each tile.
    """
    frame, levels = planner.frame, planner.levels
    x, y, labels = planner.labels()
    merged = 0  # how often four cells of level 0 make a box
    while (frame.cells_x | frame.cells_y) % (2 << merged) == 0:
        merged += 1
    shifts = np.arange(levels + merged, -1, -1)
    counts = np.zeros((_TILES * _TILES, shifts.size))
    sides = frame.cells_y << levels, frame.cells_x << levels
    for place, shift in enumerate(shifts.tolist()):
        shape = sides[0] >> shift, sides[1] >> shift
        yes, no = (_boxes_with(y[labels == k], x[labels == k], shift, shape) for k in (1, 0))
        row, column = np.divmod(np.intersect1d(yes, no, assume_unique=True), shape[1])
        tile = row * _TILES // shape[0] * _TILES + column * _TILES // shape[1]
        counts[:, place] = np.bincount(tile, minlength=len(counts))
    return shifts, counts


def _boxes_with(
    y: NDArray[np.int64], x: NDArray[np.int64], shift: int, shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the sorted ``row * columns + column`` of the boxes that hold a node, rim included."""
    rows, columns = shape
    boxes = []
    for dy in (0, 1):
        for dx in (0, 1):  # a node on a rim lies in the box before, too
            row, column = (y - dy) >> shift, (x - dx) >> shift
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            boxes.append(np.unique(row[inside] * columns + column[inside]))
    return np.unique(np.concatenate(boxes))
