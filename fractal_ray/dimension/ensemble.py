"""Agreement of several seeds of one sweep, and the dimension of the border without seed noise.

If seeds disagree at one point, part of every disagreement between neighbours comes from the seed
and not from the border. Let f(d) be the share of pairs at distance d that two different seeds label
differently, and f(0) this share at a single point. Then f(d) - f(0) is the part due to distance;
its exponent alpha gives D = 2 - alpha as in `dimension/uncertainty.py`. That holds if seeds
disagree at scattered points about one border. If each seed has a border of its own, f(d) - f(0)
goes as d**2 whatever D is, and the corrected number is withheld.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.intervals import resampled
from fractal_ray.dimension.pair_counts import by_tile, tile_edges
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import fit_scaling
from fractal_ray.plane.boundary import UNKNOWN

METHOD: Final = "uncertainty exponent between seeds, noise taken off"

_MOST_NOISE: Final = 0.75
"""Largest f(0) as a share of f at the finest fitted scale; above it the difference is noise."""
_LEAST: Final = 0.9
"""Dimension below which the seeds share no single border."""


@dataclass(frozen=True)
class Ensemble:
    """Agreement of several seeds on one lattice, and dimensions from it.

    Parameters
    ----------
    seeds
        Number of seeds.
    known
        Number of nodes with a label of each seed.
    split
        Number of known nodes on which seeds disagree.
    same_point
        f(0): the share of pairs of seeds that disagree at a single node.
    yes_share
        (ny, nx) float64 share of seeds with label yes, NaN where a seed has no label.
    raw, corrected
        The estimate from pairs within each seed, and from f(d) - f(0) between seeds; `corrected` is
        None if it cannot be estimated, and `withheld` gives the reason. Neither is verified.
    """

    seeds: int
    known: int
    split: int
    same_point: float
    yes_share: NDArray[np.float64]
    raw: Estimate
    corrected: Estimate | None
    withheld: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, without the shares."""
        facts = asdict(self)
        del facts["yes_share"]
        return facts

    def lines(self) -> list[str]:
        """Return lines for a reader."""
        agree = (
            f"{self.seeds} seeds on {self.known:,} nodes: on {self.split:,} of them they disagree;"
            f" two seeds differ at the same point with probability {self.same_point:.3g}"
        )
        return [
            agree,
            f"unverified, within each seed: {self.raw}",
            self.withheld or f"unverified, between seeds, noise taken off: {self.corrected}",
        ]


def combine(rasters: Sequence[NDArray[np.int8]], *, seed: int = 0) -> Ensemble:
    """Combine the labels of several seeds.

    Parameters
    ----------
    rasters
        Two or more arrays, (ny, nx) int8 of 1, 0 and -1 (not known), of one lattice.
    seed
        Seed of the bootstrap over tiles.

    Raises
    ------
    ValueError
        If there are fewer than two rasters, or their shapes differ.
    """
    shapes = {labels.shape for labels in rasters}
    if len(rasters) < 2 or len(shapes) > 1:
        raise ValueError(f"an ensemble needs two or more lattices of one shape; given {shapes}")
    stack = np.stack(rasters)
    known = (stack != UNKNOWN).all(axis=0)
    share = np.where(known, stack.mean(axis=0), np.nan)
    side = min(stack.shape[1:]) - 1
    steps = [1 << k for k in range(max(1, side.bit_length() - 2))][::-1]
    scales = np.array(steps, dtype=np.float64)
    between = np.stack(
        [_pairs(stack, known, step, permutations(range(len(stack)), 2)) for step in [*steps, 0]],
        axis=2,
    )
    within = np.stack(
        [_pairs(stack, known, step, ((i, i) for i in range(len(stack)))) for step in steps], axis=2
    )
    same = float(_share(between.sum(axis=0))[-1])
    corrected = _fitted(METHOD, scales, between[..., :-1], seed, noise=between[..., -1:])
    withheld = _withheld(corrected, same, _share(between.sum(axis=0)))
    return Ensemble(
        seeds=len(rasters),
        known=int(known.sum()),
        split=int((known & (share > 0) & (share < 1)).sum()),
        same_point=same,
        yes_share=share,
        raw=_fitted("uncertainty exponent within seeds", scales, within, seed),
        corrected=None if withheld else corrected,
        withheld=withheld,
    )


def _withheld(corrected: Estimate, same: float, shares: NDArray[np.float64]) -> str:
    """Return the reason to withhold the corrected number; "" without one."""
    if corrected.fit_scales is None or corrected.value is None:
        return f"between seeds: {corrected}"
    finest = list(corrected.scales).index(corrected.fit_scales[1])
    if same > _MOST_NOISE * float(shares[finest]):
        return (
            "between seeds: no number, because seeds differ at one point nearly as often as at"
            f" {corrected.fit_scales[1]:g} cells ({same:.3g} and {float(shares[finest]):.3g})"
        )
    if corrected.interval is None or corrected.value < _LEAST:
        return (
            f"between seeds: no number ({corrected.value:.2f} is less than a curve: each seed has a"
            " border of its own)"
        )
    return ""


def _pairs(
    stack: NDArray[np.int8],
    known: NDArray[np.bool_],
    step: int,
    seeds: Iterable[tuple[int, int]],
) -> NDArray[np.float64]:
    """Count pairs of seeds `step` cells apart, (tiles, 2): pairs that differ, and all pairs."""
    edges = tile_edges(known.shape)
    ny, nx = known.shape
    total = np.zeros((len(by_tile(known, edges)), 2))
    chosen = list(seeds)
    for rows, columns in ((0, step), (step, 0)):
        low = np.s_[: ny - rows, : nx - columns]
        high = np.s_[rows:, columns:]
        both = known[low] & known[high]
        for one, other in chosen:
            differ = both & (stack[one][low] != stack[other][high])
            total += np.stack([by_tile(differ, edges), by_tile(both, edges)], axis=1)
    return total


def _fitted(
    method: str,
    scales: NDArray[np.float64],
    counts: NDArray[np.float64],
    seed: int,
    noise: NDArray[np.float64] | None = None,
) -> Estimate:
    """Fit `counts` (tiles, 2, k), less `noise` (tiles, 2, 1), the counts at a single point."""
    combined = counts if noise is None else np.concatenate([counts, noise], axis=2)
    measured, drawn = _share(combined.sum(axis=0)), _share(resampled(combined, None, seed))
    if noise is not None:
        measured = np.maximum(measured[:-1] - measured[-1], 0.0)
        drawn = np.maximum(drawn[:, :-1] - drawn[:, -1:], 0.0)
    fit = (scales >= 4) & (scales <= scales.max() / 4)  # of a frame of four times the largest
    return fit_scaling(method, "cells", scales, measured, drawn, len(counts), base=2, fit=fit)


def _share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of differing pairs, from counts (..., 2, k) of differing and all pairs."""
    return counts[..., 0, :] / np.maximum(counts[..., 1, :], 1)
