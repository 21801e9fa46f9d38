"""The convergence measure of Sohl-Dickstein (arXiv 2402.06184, notebook `convergence_measure`)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 1e6
"""Value at which `v` is cut."""
WINDOW = 20
"""Number of last values of `v` that decide on convergence."""


def measure(
    losses: ArrayLike, steps: int, converged: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Summarise loss curves by one number each; its sign is the label, negative for converged.

    ``v = losses / losses[0]``, cut at 1e6, with 1e6 in place of losses that are not finite. A run
    has converged if the mean of the last 20 of v is below 1. The measure is -sum(v) of a run that
    has converged, and +sum(1/v) of a run that has not.

    Parameters
    ----------
    losses
        (..., up to `steps`) losses. Losses that are missing at the end count as not finite, so the
        `losses` of a row of a diverged run can be used unchanged.
    steps
        Number of steps of a complete run.
    converged
        (...) bool, True for runs that count as converged; None for the rule above.

    Returns
    -------
    (...) float64; +inf where a loss of a run that has not converged is 0.
    """
    curves = np.asarray(losses, dtype=np.float64)
    missing = steps - curves.shape[-1]
    curves = np.pad(curves, [(0, 0)] * (curves.ndim - 1) + [(0, missing)], constant_values=np.nan)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        v = np.where(np.isfinite(curves), curves, LARGEST) / curves[..., :1]
        v = np.minimum(v, LARGEST)
        paper = v[..., -WINDOW:].mean(axis=-1) < 1
        return np.where(
            paper if converged is None else converged, -v.sum(axis=-1), (1 / v).sum(axis=-1)
        )
