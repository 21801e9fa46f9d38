"""Tracking of sweeps in Weights & Biases (docs/tracking.md).

with tracked(sweep) as tracker:
    progress = sweep.run("local", view=tracker)
    result, raster = analyze(sweep)
    tracker.end(result, raster, progress, "figures/map.png")

wandb runs in a process of its own, so it can neither stop nor slow a sweep.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fractal_ray.tracking.base import Tracker
from fractal_ray.tracking.target import find_target

if TYPE_CHECKING:
    from fractal_ray.analysis.sweep_data import SweepData

_FAILED, _INTERRUPTED = 1, 255  # W&B calls a run that ends with 255 killed


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def tracked(
    sweep: "SweepData",
    enabled: bool | None = None,
    *,
    note: Callable[[str], None] = lambda text: None,
    warn: Callable[[str], None] = _warn,
) -> Iterator[Tracker]:
    """Track a sweep while the ``with`` block runs.

    Parameters
    ----------
    sweep
        Its spec decides if and where it is tracked; environment variables supply settings that the
        spec leaves open.
    enabled
        True or False overrides the spec; None follows the spec.
    note
        Called with one line: the place of the runs.
    warn
        Called once, with one line, if W&B does not work.

    Raises
    ------
    SweepError
        For a `WANDB_MODE` that does not exist. Faults of W&B are never raised.
    """
    target = find_target(sweep.spec, enabled, os.environ)
    if target is None:
        yield Tracker()
        return
    from fractal_ray.tracking.wandb import WandbTracker

    tracker = WandbTracker(sweep, target, note, warn)
    try:
        yield tracker
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 0) == 130
        tracker.close(_INTERRUPTED if stopped else _FAILED)
        raise
    tracker.close(0)
