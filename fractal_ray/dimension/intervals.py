"""Intervals: from resampled blocks, and exact intervals for shares.

A least-squares error depends only on the straightness of the line, and understates the real error
several times (Gorski et al., arXiv 1111.5749). The real variation comes from the choice of the part
of the border that was sampled, so whole blocks are resampled: a transect, a tile of a raster, a
window, a seed (Efron, Ann. Stat. 7, 1 (1979); Künsch, Ann. Stat. 17, 1217 (1989) for blocks of
neighbours that depend on each other).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 400
"""Number of bootstrap draws: the spread of 400 draws is known to 4 %."""
_QUANTILE: Final = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def resampled(
    parts: NDArray[np.float64], groups: NDArray[np.int64] | None, seed: int
) -> NDArray[np.float64]:
    """Return totals over blocks that are resampled with replacement.

    Parameters
    ----------
    parts
        (blocks, ...) contributions of each block to the totals.
    groups
        (blocks,) the window or seed that each block belongs to. Of several groups, groups are
        drawn first and then blocks within each. None: one group.
    seed
        Seed of the draws; equal arguments always give equal totals.

    Returns
    -------
    (`DRAWS`, ...) float64.
    """
    rng = np.random.default_rng(seed)
    blocks = len(parts)
    members = [np.arange(blocks)]
    if groups is not None:
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    times = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=DRAWS)
    weights = np.zeros((DRAWS, blocks))
    for column, inside in enumerate(members):
        share = np.full(inside.size, 1 / inside.size)
        weights[:, inside] = rng.multinomial(times[:, column] * inside.size, share)
    return np.tensordot(weights, parts, axes=1)


def binomial(
    successes: NDArray[np.int64], trials: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return bootstrap draws of the shares of successes in independent trials.

    Parameters
    ----------
    successes, trials
        (k,) numbers of successes and of trials of each kind; at least one trial each.
    seed
        Seed of the draws.

    Returns
    -------
    (`DRAWS`, k) float64 in [0, 1].
    """
    rng = np.random.default_rng(seed)
    return rng.binomial(trials, successes / trials, size=(DRAWS, trials.size)) / trials


def clopper_pearson(successes: int, trials: int) -> tuple[float | None, float | None]:
    """Return the 95 % Clopper-Pearson interval for a share; None for both ends without trials."""
    if not trials:
        return None, None
    from scipy.stats import beta  # takes half a second to import

    failures = trials - successes
    low = float(beta.ppf(0.025, successes, failures + 1)) if successes else 0.0
    high = float(beta.ppf(0.975, successes + 1, failures)) if failures else 1.0
    return low, high


def wilson_interval(
    successes: NDArray[np.int64], trials: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's 95 % interval (J. Am. Stat. Assoc. 22, 209 (1927)); NaN without trials."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = successes / trials
        z = _QUANTILE**2 / trials
        middle = (share + z / 2) / (1 + z)
        half = np.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    # Rounding must not move an end past 0 or 1 where no trial, or each of them, is a success.
    low = np.where(successes == 0, np.minimum(middle - half, 0.0), middle - half)
    high = np.where(successes == trials, np.maximum(middle + half, 1.0), middle + half)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def half_width(errors: list[float], blocks: int) -> float:
    """Return half of a 95 % interval from independent standard errors, by Student's t."""
    from scipy.special import stdtrit  # takes a while to import

    return float(stdtrit(max(1, blocks - 1), 0.975) * np.sqrt(np.sum(np.square(errors))))
