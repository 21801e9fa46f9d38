"""The rule that labels runs when they are read: outcomes with the parts of `not_improved`.

A run is `degraded` if some loss exceeds that of the untouched model on the same batch by more than
`Criterion.rise`, and `too_slow` otherwise. A comparison with the first loss, or of one step with
the next, would mistake a hard batch for damage.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.baseline import NO_BASELINE, Baseline
from fractal_ray.plane.boundary import label
from fractal_ray.plane.outcome import Criterion, Outcome

STAND_IN_RISE: Final = 0.1
"""Least rise of a degraded run where the first loss stands in for the untouched model: batches
differ by a few percent."""

Source = Literal["untouched model", "first loss", "stand-in"]


@dataclass(frozen=True)
class LabelRule:
    """The rule that turns the row of a run into an outcome, and outcomes into labels.

    Parameters
    ----------
    criterion
        Window, threshold, rise and reference.
    boundary
        One of `fractal_ray.plane.boundary.BOUNDARIES`.
    baseline
        Losses of the untouched model.
    first_loss_is_baseline
        True if every step of a run has the batch of its first step, so that the first loss is the
        loss of the untouched model on all of them.
    """

    criterion: Criterion
    boundary: str
    baseline: Baseline = NO_BASELINE
    first_loss_is_baseline: bool = False

    @property
    def source(self) -> Source:
        """Return the origin of the losses by which `degraded` is judged."""
        if self.first_loss_is_baseline:
            return "first loss"
        return "untouched model" if self.baseline.curves else "stand-in"

    def outcome(
        self,
        stored: Outcome,
        losses: NDArray[np.float32],
        x: float,
        y: float,
        val_loss: float = math.nan,
    ) -> Outcome:
        """Return the outcome of a run.

        Parameters
        ----------
        stored
            Outcome in its row. It stays where there is no curve, and `diverged` depends on no rule.
        losses
            Loss curve, (n,) float32.
        x, y
            Values of its point.
        val_loss
            Loss on the validation batches after the run.
        """
        if stored is Outcome.DIVERGED or not losses.size:
            return stored
        ratio = self.ratio(losses, x, y, val_loss)
        if math.isfinite(ratio) and ratio < self.criterion.threshold:
            return Outcome.TRAINED
        if losses.size == 1:
            return Outcome.TOO_SHORT
        untouched, rise = self.untouched(losses, x, y)
        limit = untouched[: losses.size] + rise * np.abs(untouched[: losses.size])
        # The first loss is that of the untouched model itself, but for rounding.
        return Outcome.DEGRADED if bool(np.any(losses[1:] > limit[1:])) else Outcome.TOO_SLOW

    def ratio(
        self, losses: NDArray[np.float32], x: float, y: float, val_loss: float = math.nan
    ) -> float:
        """Return the number that the threshold limits; NaN where the reference is not known.

        Parameters are those of `outcome`.
        """
        on_first = self.criterion.reference == "same_batches" and self.first_loss_is_baseline
        if self.criterion.reference == "first_loss" or on_first:
            return self.criterion.ratio(losses)
        if self.criterion.reference == "held_out":
            untouched = self.baseline.val_loss
            return math.nan if untouched is None else val_loss / untouched
        curve = self.baseline.curve(x, y)
        if curve is None or curve.size < losses.size or not losses.size:
            return math.nan
        return self.criterion.tail(losses) / self.criterion.tail(curve[: losses.size])

    @property
    def stand_in_rise(self) -> float:
        """Return the rise of a degraded run where its first loss stands in for the baseline."""
        return max(self.criterion.rise, STAND_IN_RISE)

    def told(self, outcome: Outcome) -> Outcome | None:
        """Return the outcome that planners are told; None if it leaves the label open.

        For the borders of stored outcomes it is a stored outcome, so planners do the same with and
        without a baseline.
        """
        if self.boundary != "broken":
            return outcome.stored
        return outcome if label(outcome, self.boundary) is not None else None

    def untouched(
        self, losses: NDArray[np.float32], x: float, y: float
    ) -> tuple[NDArray[np.float64], float]:
        """Return the losses of the untouched model by step, and the rise of a degraded run."""
        first = np.full(losses.size, losses[0], dtype=np.float64)
        if self.first_loss_is_baseline:
            return first, self.criterion.rise
        curve = self.baseline.curve(x, y)
        if curve is None or curve.size < losses.size:
            return first, self.stand_in_rise
        return curve.astype(np.float64), self.criterion.rise
