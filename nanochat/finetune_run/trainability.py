"""Rule that decides if a fine-tune trained: fractal-llm's rule for one run.

A sweep has the same rule in `fractal_ray.plane.outcome`, where it labels points of any workload.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trainability:
    """Judgement of a loss curve.

    Attributes
    ----------
    stable
        Every loss was finite.
    converged
        Stable, and `ratio` is finite and below the threshold.
    loss0, mean_last_k, ratio, avg_loss
        First loss; mean of the last ones; that mean over the first loss (inf where the first is
        not above 0, NaN without losses); mean of all (inf without losses).
    """

    stable: bool
    converged: bool
    loss0: float
    mean_last_k: float
    ratio: float
    avg_loss: float


def judge(
    losses: Sequence[float] | NDArray[np.float32], diverged: bool, window: int, threshold: float
) -> Trainability:
    """Judge the loss curve of a run.

    Parameters
    ----------
    losses
        Array of float (steps,).
    window
        Last losses that are averaged, at least 1; a shorter curve uses all it has.
    threshold
        Above 0.
    """
    curve = np.asarray(losses, np.float64)
    if not curve.size:
        return Trainability(not diverged, False, math.nan, math.nan, math.nan, math.inf)
    first, last = float(curve[0]), float(curve[-window:].mean())
    ratio = last / first if first > 0 else math.inf
    converged = not diverged and math.isfinite(ratio) and ratio < threshold
    return Trainability(not diverged, converged, first, last, ratio, float(curve.mean()))
