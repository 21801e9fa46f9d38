"""Intervals: resampling of blocks, and exact ones for shares.

A least-squares error knows only how straight the line is, and understates the real error several
times (Gorski et al., arXiv 1111.5749). What varies is which part of the border was looked at, so
whole blocks are drawn again: a transect, a tile of a raster, a window, a seed (Efron, Ann. Stat. 7,
1 (1979); Künsch, Ann. Stat. 17, 1217 (1989) for blocks of neighbours that depend on each other).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 400
"""Bootstrap draws: the spread of so many is known to 4 %."""


def resampled(
    parts: NDArray[np.float64], groups: NDArray[np.int64] | None, seed: int
) -> NDArray[np.float64]:
    """Totals over blocks that are drawn again with replacement.

    Parameters
    ----------
    parts
        (blocks, ...) what each block adds to the totals.
    groups
        (blocks,) the window or seed that each block belongs to. Of several groups, groups are
        drawn first and then blocks within each. None: one group.
    seed
        Of the draws; the same arguments always give the same totals.

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
    """Shares that independent trials may have shown: their bootstrap, drawn in one go.

    Parameters
    ----------
    successes, trials
        (k,) of each kind; at least one trial each.
    seed
        Of the draws.

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


def half_width(errors: list[float], blocks: int) -> float:
    """Half of a 95 % interval from independent standard errors, by Student's t of the blocks."""
    from scipy.special import stdtrit  # takes a while to import

    return float(stdtrit(max(1, blocks - 1), 0.975) * np.sqrt(np.sum(np.square(errors))))
