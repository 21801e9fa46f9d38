"""Whether a fine-tune trained: fractal-llm's rule for one run (features D1 to D4).

A sweep has the same rule in `fractal_ray.plane.outcome`, where it labels points of any workload.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trainability:
    """A loss curve, judged.

    Attributes
    ----------
    stable : bool
        Every loss was finite.
    converged : bool
        Stable, and `ratio` is finite and below the threshold.
    loss0, mean_last_k, ratio, avg_loss : float
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
    """Judge the finite losses of a run, in order, and whether one that was not ended it.

    Parameters
    ----------
    losses : array of float (steps,)
    diverged : bool
    window : int
        Last losses that are averaged, at least 1; a shorter curve uses all it has.
    threshold : float
        Above 0.
    """
    curve = np.asarray(losses, np.float64)
    if not curve.size:
        return Trainability(not diverged, False, math.nan, math.nan, math.nan, math.inf)
    first, last = float(curve[0]), float(curve[-window:].mean())
    ratio = last / first if first > 0 else math.inf
    converged = not diverged and math.isfinite(ratio) and ratio < threshold
    return Trainability(not diverged, converged, first, last, ratio, float(curve.mean()))
