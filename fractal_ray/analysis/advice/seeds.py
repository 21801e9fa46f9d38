"""Labels, shares and losses of nodes that were run with several seeds."""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.advice.results import Interval, Noise, ReEstimate, SeedLabel
from fractal_ray.dimension.intervals import wilson_interval

RISK: Final = 0.5
"""Share of broken seeds from which a node counts as broken."""


def label_of_seeds(broken: int, seeds: int, risk: float = RISK) -> SeedLabel:
    """Return the label of a node: broken (0) where the share of broken seeds is at least `risk`.

    Parameters
    ----------
    broken, seeds
        Numbers of broken seeds and of seeds whose label is known. Without seeds the label is -1.
    """
    if not seeds:
        return SeedLabel(0, 0, None, None, None, -1)
    low, high = wilson_interval(np.array([broken]), np.array([seeds]))
    label: Literal[1, 0] = 0 if broken >= risk * seeds else 1
    return SeedLabel(broken, seeds, broken / seeds, float(low[0]), float(high[0]), label)


def re_estimate(losses: NDArray[np.float64], chose: NDArray[np.bool_]) -> ReEstimate:
    """Return the loss of a node from the seeds that did not choose it.

    The seeds that chose the node as the best have a loss that is too low on average, because the
    smallest of many noisy losses was taken.

    Parameters
    ----------
    losses
        (seeds,) losses of the node. Seeds without a finite loss are left out.
    chose
        True at the seeds whose losses led to the choice of this node.
    """
    finite = np.isfinite(losses)
    own = losses[finite & chose]
    others = losses[finite & ~chose]
    chosen = float(own.mean()) if own.size else np.nan
    if not others.size:
        return ReEstimate(None, None, 0, chosen)
    mean = float(others.mean())
    if others.size == 1:
        return ReEstimate(Interval(mean, -np.inf, np.inf), None, 1, chosen)
    from scipy.special import stdtrit  # takes a while to import

    error = float(others.std(ddof=1) / np.sqrt(others.size))
    half = float(stdtrit(others.size - 1, 0.975)) * error
    return ReEstimate(Interval(mean, mean - half, mean + half), error, int(others.size), chosen)


def noise_of_seeds(losses: NDArray[np.float64]) -> Noise | None:
    """Return the noise of one run, pooled over nodes that were run with several seeds.

    Parameters
    ----------
    losses
        (nodes, seeds) losses; NaN where a node has no run with a seed, or no finite loss.

    Returns
    -------
    None if no node has two finite losses.
    """
    counts = np.isfinite(losses).sum(axis=1)
    several = losses[counts >= 2]
    freedom = int((counts[counts >= 2] - 1).sum())
    if not freedom:
        return None
    squares = (several - np.nanmean(several, axis=1, keepdims=True)) ** 2
    return Noise(float(np.sqrt(np.nansum(squares) / freedom)), float(freedom), "seeds")
