"""Dimension from the uncertainty exponent: the share of pairs of points with different labels.

The share f of uncertain points at a distance e goes as ``e**alpha`` and ``D = 2 - alpha`` (Grebogi,
McDonald, Ott, Yorke, Phys. Lett. A 99, 415 (1983); McDonald, Grebogi, Ott, Yorke, Physica D 17,
125 (1985)). Two definitions of uncertain are in use, with one exponent and different prefactors:

* ``pair``: a point and another at the distance have different labels.
* ``ball``: of a point and the two at the distance on either side of it, some have different labels
  (McDonald et al. 1985). On a raster, where all neighbours are known, the whole ball is searched:
  that is `dilation.py`.

Distances are in frame sides. The fitted quantity is f for balls, and ``2 / pi sin(pi f / 2)`` for
pairs. The sine equals f where f is small, and is a power law up to f = 1/2 if labels are the sign
of a Gaussian field, for which ``f = arccos(r) / pi`` and ``1 - r ~ e**(2 alpha)`` (Sheppard, Phil.
Trans. R. Soc. A 192, 101 (1899)). Without the sine, a rough border, whose pairs still disagree at
the finest distances, reads up to 0.02 low. The change by the sine enters the interval as an error,
since the model may not hold.

Assumption: points and directions are uniform in the frame. The finer the distance, the rarer are
pairs that disagree, so transects suit a smooth border better.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.function_lines import Label, Window
from fractal_ray.dimension.intervals import DRAWS, binomial, resampled
from fractal_ray.dimension.pair_counts import lattice_pairs
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import fit_scaling
from fractal_ray.planners.pairs import Disagreements

METHOD = "uncertainty exponent"

Definition = Literal["pair", "ball"]

_FEWEST: Final = 10  # least number of disagreements for an informative share
_BLOCKS: Final = 256


def from_pairs(disagreements: Sequence[Sequence[Disagreements]], *, seed: int = 0) -> Estimate:
    """Estimate the dimension from the pairs of one or more stages.

    Parameters
    ----------
    disagreements
        `planners.pairs.disagreements` of each window or seed. Distances that not all of them have
        are left out.
    seed
        Seed of the bootstrap. Pairs are independent, so the bootstrap of one window is a binomial
        draw.

    Raises
    ------
    ValueError
        If `disagreements` is empty.
    """
    if not disagreements:
        raise ValueError("no pairs were given")
    per_window = [{one.level: one for one in window if one.known} for window in disagreements]
    levels = sorted(set.intersection(*(set(window) for window in per_window)))
    known = np.array([[window[k].known for k in levels] for window in per_window], dtype=np.int64)
    differ = np.array([[window[k].disagree for k in levels] for window in per_window], np.int64)
    shares = [binomial(*pair, seed + i) for i, pair in enumerate(zip(differ, known, strict=True))]
    windows = len(disagreements)
    times = np.ones((DRAWS, 1))
    if windows > 1:
        times = np.random.default_rng(seed).multinomial(windows, np.ones(windows) / windows, DRAWS)
    drawn = sum(times[:, [i]] * share * known[i] for i, share in enumerate(shares))
    return _fitted(
        f"{METHOD} of pairs",
        levels,
        differ.sum(axis=0),
        known.sum(axis=0),
        drawn / np.maximum(times @ known, 1),
        "pair",
        int(known.sum(axis=0).min()) if levels else 0,
    )


def from_label(
    label: Label,
    window: Window,
    *,
    definition: Definition = "pair",
    labels: int = 262_144,
    distances: Sequence[int] = range(4, 14),
    seed: int = 0,
) -> Estimate:
    """Estimate the dimension from a label function.

    One first point serves all distances. The second points lie on one ray from it, each at twice
    the distance of the one before, so two neighbouring second points are as far apart as the finer
    of their distances, and make one more pair. A label thus takes part in four times as many pairs
    as in the stage `pairs`.

    Parameters
    ----------
    label, window
        The label function, and its window.
    definition
        "pair" or "ball".
    labels
        Largest number of labels to compute.
    distances
        Consecutive k, 2 or more, each for a distance of ``2**-k`` of the frame's sides.
    seed
        Seed of points and bootstrap.

    Raises
    ------
    ValueError
        If `distances` are not consecutive or below 2.
    """
    levels = sorted(distances)
    if not levels or levels[0] < 2 or levels != list(range(levels[0], levels[-1] + 1)):
        raise ValueError(f"distances are consecutive k from 2 on; given {list(distances)}")
    rng = np.random.default_rng(seed)
    sides = [1, -1] if definition == "ball" else [1]
    count = max(1, labels // (1 + len(sides) * len(levels)))
    place, along = _rays(count, 2.0 ** -levels[0], sides, rng)
    low, size = np.array(window[0::2]), np.array([window[1] - window[0], window[3] - window[2]])

    def at(distance: float) -> NDArray[np.bool_]:
        x, y = (low + size * (place + distance * along)).T
        return label(x, y)

    first = at(0.0)
    ends = np.array([[at(side * 2.0**-k) for k in levels] for side in sides])
    differ = (ends != first).any(axis=0).T.astype(np.float64)
    known = np.ones_like(differ)
    if definition == "pair":  # from each end to that of the distance twice as far
        differ[:, 1:] += (ends[0, 1:] != ends[0, :-1]).T
        known[:, 1:] += 1
    block = np.arange(count) % _BLOCKS
    parts = np.zeros((min(count, _BLOCKS), 2, len(levels)))
    np.add.at(parts, block, np.stack([differ, known], axis=1))
    draws = resampled(parts, None, seed)
    return _fitted(
        f"{METHOD} ({definition}) of a label function",
        levels,
        differ.sum(axis=0),
        known.sum(axis=0),
        draws[:, 0] / draws[:, 1],
        definition,
        len(parts),
    )


def from_raster(labels: NDArray[np.int8], *, seed: int = 0) -> Estimate:
    """Estimate the dimension from all pairs of a raster along rows, columns and both diagonals.

    Scales are in cells, with the side of a cell as 1 along both axes. The fit runs from 4 cells to
    1/16 of the short side. Blocks are tiles of 1/8 of the sides.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known).
    seed
        Seed of the bootstrap.
    """
    side = min(labels.shape) - 1
    steps, scales = [], []
    for k in range(max(1, side.bit_length() - 2))[::-1]:
        s = 1 << k
        steps += [[(s, s), (-s, s)], [(s, 0), (0, s)]]
        scales += [s * 2**0.5, float(s)]
    known, differ = lattice_pairs(labels, steps)
    draws = resampled(np.stack([differ, known], axis=1), None, seed)
    scale = np.array(scales)
    share = differ.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return fit_scaling(
        f"{METHOD} of a raster",
        "cells",
        scale,
        _unsaturated(share),
        _unsaturated(draws[:, 0] / np.maximum(draws[:, 1], 1)),
        len(known),
        base=2,
        fit=(scale >= 4) & (scale <= (side + 1) / 16),
        uncorrected=share,
    )


def _fitted(
    method: str,
    levels: list[int],
    differ: NDArray,
    known: NDArray,
    draws: NDArray[np.float64],
    definition: Definition,
    blocks: int,
) -> Estimate:
    """Fit the shares, without distances above 1/16 of the frame or with rare disagreements.

    Above 1/16 the frame has an effect; rare disagreements carry no information.
    """
    scales = 2.0 ** -np.array(levels, dtype=np.float64)
    share = differ / np.maximum(known, 1)
    return fit_scaling(
        method,
        "frame sides",
        scales,
        _unsaturated(share) if definition == "pair" else share,
        _unsaturated(draws) if definition == "pair" else draws,
        blocks,
        base=2,
        fit=(scales <= 1 / 16) & (differ >= _FEWEST),
        uncorrected=share if definition == "pair" else None,
    )


def _unsaturated(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``2 / pi sin(pi f / 2)`` (see the module's docstring)."""
    return 2 / np.pi * np.sin(np.pi / 2 * share)


def _rays(
    count: int, length: float, sides: list[int], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw (count, 2) places in the unit square, and directions that stay in it for a length.

    For a direction one way, only directions are drawn again, as in the stage `pairs`: places stay
    uniform. For both ways, a place in a corner may have no such direction, so it is drawn again
    too.
    """
    place, along = rng.random((count, 2)), np.zeros((count, 2))
    left = np.arange(count)
    while left.size:
        if len(sides) == 2:
            place[left] = rng.random((left.size, 2))
        angle = rng.uniform(0, 2 * np.pi, left.size)
        along[left] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ends = [place[left] + side * length * along[left] for side in sides]
        out = np.any([(end < 0) | (end > 1) for end in ends], axis=(0, 2))
        left = left[out]
    return place, along
