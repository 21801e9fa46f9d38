"""The convergence measure of Sohl-Dickstein (arXiv 2402.06184, notebook `convergence_measure`)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 1e6
WINDOW = 20


def measure(
    losses: ArrayLike, steps: int, converged: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Summarise loss curves; the sign is the paper's label, negative for converged.

    ``v = losses / losses[0]``, cut at 1e6, with 1e6 in place of losses that are not finite. A run
    has converged if the mean of the last 20 of v is below 1; its measure is -sum(v), that of
    another +sum(1/v).

    Parameters
    ----------
    losses
        (..., up to `steps`) losses; those that are missing at the end count as not finite, so a
        row's `losses` of a diverged run can be given as they are.
    steps
        Of a whole run.
    converged
        (...) bool, which runs count as converged; None for the paper's rule.

    Returns
    -------
    (...) float64; +inf where a loss of a run that has not converged is 0.
    """
    curves = np.asarray(losses, dtype=np.float64)
    missing = steps - curves.shape[-1]
    curves = np.pad(curves, [(0, 0)] * (curves.ndim - 1) + [(0, missing)], constant_values=np.nan)
    with np.errstate(divide="ignore", over="ignore"):
        v = np.where(np.isfinite(curves), curves, LARGEST) / curves[..., :1]
        v = np.minimum(v, LARGEST)
        paper = v[..., -WINDOW:].mean(axis=-1) < 1
        return np.where(
            paper if converged is None else converged, -v.sum(axis=-1), (1 / v).sum(axis=-1)
        )
