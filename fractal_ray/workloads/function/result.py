"""The result of one call of a function: its losses, metrics, and the step of a divergence."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fractal_ray.plane.outcome import Criterion, RunRecord
from fractal_ray.workloads.function.recording import Recorder, number
from nanochat.errors import quoted

KEYS: Final = ("losses", "metrics", "reference")
"""Keys of a mapping that a function returns."""
_FORMS: Final = (
    "a function returns a list of losses or {losses, metrics}, yields its losses, or calls"
    " fractal_ray.record(loss) at each step"
)
_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass
class Result:
    """Losses and metrics of one run.

    Parameters
    ----------
    losses
        Finite losses before the divergence.
    diverged_step
        Step of the first loss that is not finite; None for a run that ended well.
    final_loss
        The last loss, the one that is not finite included.
    reason
        Reason of a divergence other than a loss that is not finite.
    metrics
        Metrics by name.
    """

    losses: list[float]
    diverged_step: int | None = None
    final_loss: float = math.nan
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


def result_of(returned: Any, recorder: Recorder, function: str) -> Result:
    """Return the result of a call that returned a value.

    Parameters
    ----------
    returned
        Value that the function returned, also that of a generator.
    recorder
        Losses that were yielded or recorded before.
    function
        Name of the function, for messages.

    Raises
    ------
    TypeError
        For a value that holds no losses; the message has the function and the value.
    """
    if recorder.yielded and recorder.recorded:
        raise TypeError(f"{function} yields losses and calls fractal_ray.record; take one of both")
    if recorder.final_loss is not None:
        return _ended(recorder)
    by_itself = recorder.yielded or recorder.recorded
    reference = None
    losses: Any = None if isinstance(returned, Mapping) else returned
    if isinstance(returned, Mapping):
        if unknown := [key for key in returned if key not in KEYS]:
            raise TypeError(
                f"{function} returned the key {quoted(unknown[0])}; allowed: {', '.join(KEYS)}"
            )
        losses, reference = returned.get("losses"), returned.get("reference")
        recorder.add_metrics(_mapping(returned.get("metrics", {}), function))
    if by_itself:
        if losses is not None or reference is not None:
            raise TypeError(
                f"{function} yields or records its losses and returns {quoted(returned)} too; then"
                " it may return {metrics: ...} only"
            )
        curve = recorder.losses
    elif losses is None:
        raise TypeError(f"{function} returned {_text(returned)}: {_FORMS}")
    else:
        curve = _curve(losses, function)
    if reference is not None:
        curve = [number(reference, f"the reference of {function}"), *curve]
    return _cut(curve, dict(recorder.metrics))


def ended(recorder: Recorder, step: int | None, reason: str) -> Result:
    """Return the result of a run that an exception ended as diverged."""
    at = len(recorder.losses) if step is None else step
    return Result(recorder.losses[:at], at, math.nan, reason)


def _ended(recorder: Recorder) -> Result:
    assert recorder.final_loss is not None
    return Result(recorder.losses, len(recorder.losses), recorder.final_loss)


def _cut(curve: list[float], metrics: dict[str, float]) -> Result:
    for step, loss in enumerate(curve):
        if not math.isfinite(loss):
            return Result(curve[:step], step, loss)
    return Result(curve, None, curve[-1], metrics=metrics)


def _curve(losses: Any, function: str) -> list[float]:
    """Return losses as a list of floats."""
    if isinstance(losses, str | bytes):
        raise TypeError(f"{function} returned the text {quoted(losses)}: {_FORMS}")
    if hasattr(losses, "tolist") and hasattr(losses, "shape"):  # an array or a tensor
        if len(losses.shape) != 1:
            shape = tuple(losses.shape)
            kind = "one number" if not shape else f"an array of shape {shape}"
            raise TypeError(f"{function} returned {kind}: {_FORMS}")
        losses = losses.tolist()
    if not isinstance(losses, Iterable) or isinstance(losses, Mapping | set | frozenset):
        kind = "one number, " if isinstance(losses, int | float) else ""
        raise TypeError(f"{function} returned {kind}{quoted(losses)}: {_FORMS}")
    curve = [
        loss if type(loss) is float else number(loss, f"loss {step} of {function}")
        for step, loss in enumerate(losses)
    ]
    if not curve:
        raise TypeError(f"{function} returned no losses, an empty list: {_FORMS}")
    return curve


def _mapping(metrics: Any, function: str) -> dict[str, Any]:
    if not isinstance(metrics, Mapping):
        raise TypeError(f"{function} returned metrics {quoted(metrics)}; allowed: {{name: number}}")
    return {str(name): value for name, value in metrics.items()}


def _text(returned: Any) -> str:
    return "nothing" if returned is None else f"{quoted(returned)} without losses"


def checked_metrics(result: Result, declared: Mapping[str, str], function: str) -> dict[str, float]:
    """Return the metrics of a result; none for one that diverged.

    Raises
    ------
    TypeError
        For a metric that the spec does not declare, or a declared one that is missing.
    """
    if result.diverged_step is not None:
        return {}
    if unknown := sorted(result.metrics.keys() - declared.keys()):
        raise TypeError(
            f"{function} gives the metric {unknown[0]}, which workload.metrics does not name; add"
            f" its direction: metrics: {{{unknown[0]}: min}}, or max"
        )
    if missing := sorted(declared.keys() - result.metrics.keys()):
        raise TypeError(
            f"{function} gives no metric {missing[0]}, which workload.metrics names; return"
            f' {{"losses": ..., "metrics": {{"{missing[0]}": ...}}}}, or record it'
        )
    return result.metrics


def record_of(
    result: Result, metrics: Mapping[str, float], criterion: Criterion, seconds: float
) -> RunRecord:
    """Return the row of a run. Losses beyond the range of float32 become its largest number."""
    losses = np.clip(np.array(result.losses, np.float64), -_LARGEST, _LARGEST).astype(np.float32)
    record = RunRecord.from_curve(
        losses,
        criterion,
        diverged_step=result.diverged_step,
        final_loss=result.final_loss,
        steps=len(losses),
        tokens_seen=0,
        seconds=seconds,
        val_loss=metrics.get("val_loss", math.nan),
        metrics={name: value for name, value in metrics.items() if name != "val_loss"},
        reason=result.reason,
    )
    return record
