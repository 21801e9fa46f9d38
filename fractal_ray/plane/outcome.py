"""Outcomes of finished runs, and the criterion that turns a loss curve into an outcome.

Divergence is an outcome and is stored. A run that ended for a reason of the machine (out of memory,
a lost worker) is a *failure* and never reaches this module.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Outcome(StrEnum):
    """The outcomes of runs. A row holds one of the first three; readers split `not_improved`."""

    TRAINED = "trained"
    """Outcome of a finite curve whose last losses have a mean below threshold x the first."""
    NOT_IMPROVED = "not_improved"
    """Outcome of a finite curve that is not below the threshold."""
    DIVERGED = "diverged"
    """Outcome of a run that stopped at a loss that was infinite or not a number."""
    TOO_SLOW = "too_slow"
    """Part of `not_improved`: no loss rose above that of the untouched model."""
    DEGRADED = "degraded"
    """Part of `not_improved`: some loss rose above that of the untouched model."""
    TOO_SHORT = "too_short"
    """Part of `not_improved`: the run has no loss from after an update."""

    @property
    def stored(self) -> "Outcome":
        """Return the outcome in the column `outcome` of a row: one of `STORED`."""
        return Outcome.NOT_IMPROVED if self in SPLIT else self


STORED: Final = (Outcome.TRAINED, Outcome.NOT_IMPROVED, Outcome.DIVERGED)
"""Outcomes that rows hold."""
SPLIT: Final = (Outcome.TOO_SLOW, Outcome.DEGRADED, Outcome.TOO_SHORT)
"""Parts of `not_improved`, which readers find from loss curves (`plane/label_rule.py`)."""


def stored_counts(counts: Mapping[Outcome, int]) -> dict[str, int]:
    """Return the number of runs by stored outcome, from numbers by outcome."""
    parts = sum(counts.get(part, 0) for part in SPLIT)
    return {
        each.value: counts.get(each, 0) + (parts if each is Outcome.NOT_IMPROVED else 0)
        for each in STORED
    }


def split_counts(counts: Mapping[Outcome, int]) -> dict[str, int]:
    """Return the number of runs by part of `not_improved`; "unknown" for those without a curve."""
    parts = {part.value: counts.get(part, 0) for part in SPLIT}
    return {**parts, "unknown": counts.get(Outcome.NOT_IMPROVED, 0)}


def counts_text(stored: Mapping[str, int], split: Mapping[str, int]) -> str:
    """Return counts as text, such as "9 trained, 3 not_improved (2 too_slow, 1 degraded)"."""
    parts = ", ".join(f"{n} {name}" for name, n in split.items() if n and name != "unknown")
    texts = [
        f"{n} {name}" + (f" ({parts})" if parts and name == Outcome.NOT_IMPROVED else "")
        for name, n in stored.items()
    ]
    return ", ".join(texts)


@dataclass(frozen=True, slots=True)
class Criterion:
    """Rule that turns a loss curve into an outcome (features D2, D3, D5; by default fractal-llm's).

    Parameters
    ----------
    window
        Number of last losses that are averaged, at least 1. A shorter curve uses all it has.
    threshold
        A run is `trained` when ``mean(last window losses) / first loss < threshold``.
    rise
        Share by which a loss of a `degraded` run exceeds that of the untouched model, at least 0.
    reference
        Divisor of the ratio: the first loss; the mean loss of the untouched model on the batches of
        the window; or its loss on the validation batches, then with the validation loss of the run
        in place of the window's mean. Only the first is known to a worker (`plane/label_rule.py`).
    """

    window: int = 20
    threshold: float = 1.0

    rise: float = 0.02
    reference: Literal["first_loss", "same_batches", "held_out"] = "first_loss"

    def tail(self, losses: ArrayLike) -> float:
        """Return the mean of the last `window` losses, NaN for an empty curve."""
        curve = np.asarray(losses, dtype=np.float64)
        return float(curve[-self.window :].mean()) if curve.size else math.nan

    def ratio(self, losses: ArrayLike) -> float:
        """Return tail mean over first loss; NaN without losses, +inf for a first loss <= 0 (D3)."""
        curve = np.asarray(losses, dtype=np.float64)
        if not curve.size:
            return math.nan
        first = float(curve[0])
        return self.tail(curve) / first if math.isfinite(first) and first > 0 else math.inf

    def outcome(self, losses: ArrayLike, diverged_step: int | None) -> Outcome:
        """Label a curve; `diverged_step` is the step of the first non-finite loss, or None."""
        if diverged_step is not None:
            return Outcome.DIVERGED
        ratio = self.ratio(losses)
        improved = math.isfinite(ratio) and ratio < self.threshold
        return Outcome.TRAINED if improved else Outcome.NOT_IMPROVED


NO_LOSSES: NDArray[np.float32] = np.empty(0, dtype=np.float32)
NO_LOSSES.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Circumstances of a run that may change its bits or its time.

    Parameters
    ----------
    deterministic
        True if the run was set to give equal bits at every repetition; None if the workload has no
        such setting.
    side_by_side
        Number of points that advanced together, this one included.
    kernels
        Names of kernels other than the plain ones ("compile, cuda_graphs").
    """

    deterministic: bool | None = None
    side_by_side: int = 1
    kernels: str = ""


PLAIN: Final = Circumstances()
"""Circumstances of a run by itself with plain kernels."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Measurements of one run: enough to label it by another criterion without training.

    `losses` holds the finite losses in order, float32. `val_loss` is the loss on the validation
    batches after the run, in nats per token; NaN without validation or after a divergence.
    `metrics` are other measurements after the run, by name; rows hold them in columns
    `metric_NAME`. `final_loss` is the last loss seen, the non-finite one included. `seconds` is the
    time inside the training loop: where points advance together on a device, each one's share of
    it, since budgets and costs add them up. `deterministic`, `side_by_side` and `kernels` are those
    of `Circumstances`.

    Examples
    --------
    >>> import numpy as np
    >>> from fractal_ray import RunRecord
    >>> from fractal_ray.plane.outcome import Criterion, Outcome
    >>> RunRecord(Outcome.DIVERGED, reason="escapes at step 3", diverged_step=3).outcome.value
    'diverged'
    >>> losses = np.array([2.0, 1.0, 0.5], dtype=np.float32)
    >>> record = RunRecord.from_curve(
    ...     losses, Criterion(window=1), diverged_step=None, final_loss=0.5, steps=3,
    ...     tokens_seen=96, seconds=0.1,
    ... )
    >>> record.outcome.value, record.ratio
    ('trained', 0.25)
    """

    outcome: Outcome
    reason: str = ""
    diverged_step: int | None = None
    first_loss: float = math.nan
    tail_loss: float = math.nan
    ratio: float = math.nan
    final_loss: float = math.nan
    best_loss: float = math.nan
    val_loss: float = math.nan
    losses: NDArray[np.float32] = field(default_factory=lambda: NO_LOSSES)
    steps: int = 0
    tokens_seen: int = 0
    seconds: float = 0.0
    deterministic: bool | None = None
    side_by_side: int = 1
    kernels: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_curve(
        cls,
        losses: NDArray[np.float32],
        criterion: Criterion,
        *,
        diverged_step: int | None,
        final_loss: float,
        steps: int,
        tokens_seen: int,
        seconds: float,
        circumstances: Circumstances = PLAIN,
        val_loss: float = math.nan,
        metrics: Mapping[str, float] = MappingProxyType({}),
        reason: str = "",
    ) -> "RunRecord":
        """Summarise a loss curve under `criterion`."""
        outcome = criterion.outcome(losses, diverged_step)
        if diverged_step is not None and not reason:
            reason = f"non-finite loss at step {diverged_step}"
        return cls(
            outcome=outcome,
            reason=reason,
            diverged_step=diverged_step,
            first_loss=float(losses[0]) if losses.size else math.nan,
            tail_loss=criterion.tail(losses),
            ratio=criterion.ratio(losses),
            final_loss=final_loss,
            best_loss=float(losses.min()) if losses.size else math.nan,
            val_loss=val_loss,
            losses=losses,
            steps=steps,
            tokens_seen=tokens_seen,
            seconds=seconds,
            deterministic=circumstances.deterministic,
            side_by_side=circumstances.side_by_side,
            kernels=circumstances.kernels,
            metrics=dict(metrics),
        )
