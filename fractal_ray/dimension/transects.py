"""Dimension from flips of the label along lines.

Cut in ``2**n`` intervals, a line has N(n) of them whose ends have different labels, and N goes as
``2**(n (D - 1))`` (Liu, arXiv 2406.13971, counts the border of a line so, with dimension D - 1; a
line at random cuts a border of dimension D in a set of dimension D - 1: Mattila, Geometry of Sets
and Measures in Euclidean Spaces (1995), ch. 10). Scales are in line lengths, counts are sums over
lines, and the lines are the blocks of the interval.

Assumption: lines are placed at random, uniformly in the frame, over a border that is rough in every
direction in which they cross it. Lines along one axis meet a graph over the other axis ever more
steeply, an effect that ends only at scales of a thousandth of the frame.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.function_lines import Label, Window, sample_lines
from fractal_ray.dimension.intervals import resampled
from fractal_ray.dimension.pair_counts import lattice_pairs
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import fit_scaling
from fractal_ray.planners.transects import ChordFlips

METHOD = "transects"


def from_flips(stages: Sequence[ChordFlips], *, seed: int = 0) -> Estimate:
    """Estimate the dimension from the lines of one or more stages.

    Parameters
    ----------
    stages
        `planners.transects.count_flips` of each window or seed, which are the groups of the
        bootstrap. Levels that not all of them have are left out.
    seed
        Seed of the bootstrap.

    Raises
    ------
    ValueError
        If `stages` is empty.
    """
    if not stages:
        raise ValueError("no transects were given")
    levels = min(flips.estimate.shape[1] for flips in stages)
    counts = np.concatenate([flips.estimate[:, :levels] for flips in stages])
    undecided = sum(float(flips.undecided[:, :levels].sum()) for flips in stages)
    groups = np.repeat(np.arange(len(stages)), [len(flips.estimate) for flips in stages])
    notes = ()
    if undecided:
        notes = ("intervals at failed positions count neither as flips nor as agreement",)
    return from_counts(counts, groups=groups, seed=seed, notes=notes)


def from_counts(
    counts: NDArray[np.float64],
    *,
    groups: NDArray[np.int64] | None = None,
    first: int | None = None,
    seed: int = 0,
    method: str = METHOD,
    notes: tuple[str, ...] = (),
) -> Estimate:
    """Estimate the dimension from counts of flips.

    Parameters
    ----------
    counts
        (lines, levels + 1): flips of each line in ``2**level`` intervals, or unbiased estimates.
    groups
        (lines,) the window or seed of each line; None: one.
    first
        The coarsest level to fit; None: ``max(3, (levels - 2) // 2)``, since the frame has an
        effect at coarser levels.
    seed
        Seed of the bootstrap.
    method, notes
        Name and warnings of the estimate.
    """
    windows = 1 if groups is None else np.unique(groups).size
    levels = counts.shape[1] - 1
    first = max(3, (levels - 2) // 2) if first is None else first
    level = np.arange(levels + 1)
    return fit_scaling(
        method,
        "line lengths",
        2.0**-level,
        counts.sum(axis=0).astype(np.float64),
        resampled(counts, groups, seed),
        windows if windows > 1 else len(counts),
        base=1,
        fit=level >= first,
        notes=notes,
    )


def from_label(
    label: Label, window: Window, *, labels: int = 262_144, levels: int = 14, seed: int = 0
) -> Estimate:
    """Estimate the dimension from a label function.

    See `function_lines.sample_lines` for arguments and errors.
    """
    line_flips = sample_lines(label, window, labels=labels, levels=levels, seed=seed)
    return from_counts(line_flips.estimate, seed=seed, method=f"{METHOD} of a label function")


def from_raster(labels: NDArray[np.int8], *, seed: int = 0) -> Estimate:
    """Estimate the dimension from a raster, whose rows and columns are the lines.

    Flips at a distance of s nodes are counted starting at every node, not at every s-th node, and
    their share times ``1 / s`` is the count of a line. Scales are in cells. The fit runs from 2
    cells to 1/16 of the short side. Blocks are tiles of 1/8 of the sides.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known; pairs with such a node are left out), as
        `boundary.labels` returns it.
    seed
        Seed of the bootstrap.
    """
    side = min(labels.shape) - 1
    steps = [1 << k for k in range(max(1, side.bit_length() - 2))][::-1]
    scales = np.array(steps, dtype=np.float64)
    known, differ = lattice_pairs(labels, [[(s, 0), (0, s)] for s in steps])
    draws = resampled(np.stack([differ, known], axis=1), None, seed)
    total, all_pairs = differ.sum(axis=0), known.sum(axis=0)
    return fit_scaling(
        f"{METHOD} of a raster",
        "cells",
        scales,
        total / np.maximum(all_pairs, 1) / scales,
        draws[:, 0] / np.maximum(draws[:, 1], 1) / scales,
        len(known),
        base=1,
        fit=(scales >= 2) & (scales <= (side + 1) / 16),
    )
