"""Losses that a function records while it runs, and the end of a run that has diverged.

`record` and `Diverged` are names of the package: ``fractal_ray.record(loss, val_loss=0.3)``.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from nanochat.errors import quoted


class Diverged(Exception):
    """Exception by which a function says that its run has diverged.

    Parameters
    ----------
    step
        Step of the first loss that is not finite, from 0; None for the step after the losses that
        were recorded.
    reason
        Text for the column `reason`.

    Examples
    --------
    >>> import fractal_ray
    >>> def train(params):
    ...     if params["rate"] > 2:
    ...         raise fractal_ray.Diverged(0, "the rate is too high")
    ...     return [1.0, 0.5]
    """

    def __init__(self, step: int | None = None, reason: str = "") -> None:
        if step is not None and (type(step) is not int or step < 0):
            raise TypeError(f"Diverged takes a step from 0; given {quoted(step)}")
        super().__init__(reason or "the function raised Diverged")
        self.step = step


class RunEndedError(BaseException):
    """End of a run whose loss is not finite; no `except Exception` of a function catches it."""


class Recorder:
    """Losses and metrics of one run.

    Parameters
    ----------
    beat
        Called after each loss: the run is alive.
    """

    def __init__(self, beat: Callable[[], None] = lambda: None) -> None:
        self._beat = beat
        self.losses: list[float] = []
        self.metrics: dict[str, float] = {}
        self.final_loss: float | None = None
        """The loss that is not finite; None before there is one."""
        self.yielded = self.recorded = False

    def add(self, loss: Any) -> None:
        """Add a loss.

        Raises
        ------
        RunEndedError
            If this loss, or one before, is not finite.
        """
        if self.final_loss is not None:
            raise RunEndedError
        value = number(loss, f"loss {len(self.losses)}")
        if not math.isfinite(value):
            self.final_loss = value
            raise RunEndedError
        self.losses.append(value)
        self._beat()

    def add_metrics(self, metrics: dict[str, Any]) -> None:
        """Take metrics; the last value of each counts."""
        for name, value in metrics.items():
            self.metrics[name] = number(value, f"the metric {name}")


_current: list[Recorder] = []


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let `record` add to a recorder."""
    _current.append(recorder)
    try:
        yield
    finally:
        _current.pop()


def record(loss: Any, **metrics: Any) -> None:
    """Record a loss of the run that goes on, as a `yield` of the function does.

    A loss that is not finite ends the run. Outside of a sweep nothing happens, so that a function
    can be called by itself.

    Parameters
    ----------
    loss
        Loss of the step: the first is that before the first update.
    metrics
        Metrics by name (`workload.metrics` of the spec); the last value of each is stored.

    Examples
    --------
    >>> import fractal_ray
    >>> def train(params):
    ...     weight = 1.0
    ...     for _ in range(30):
    ...         fractal_ray.record(weight**2)
    ...         weight -= params["rate"] * 2 * weight
    >>> train({"rate": 0.1})
    """
    if not _current:
        return
    recorder = _current[-1]
    recorder.recorded = True
    recorder.add_metrics(metrics)
    recorder.add(loss)


def number(value: Any, name: str) -> float:
    """Return a number, or a tensor or array of one number, as float.

    Raises
    ------
    TypeError
        For anything else; the message has the name.
    """
    if type(value) is float:
        return value
    if value is None or isinstance(value, str | bytes | bool | complex):
        raise TypeError(f"{name} is {quoted(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is {quoted(value)}, not a number") from error
