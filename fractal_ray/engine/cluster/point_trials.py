"""`trials: points`: each point is a Tune trial, so that Tune's callbacks and tables see it.

Meant for small grids, because Tune keeps all trials in memory.
"""

import itertools
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from fractal_ray.engine.base import WorkerCalls
from fractal_ray.engine.cluster.lost_workers import Release
from fractal_ray.engine.cluster.remote_dispatcher import RemoteDispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec


class PointSearcher(Searcher):
    """Search algorithm for Tune whose trials are the dispatcher's points.

    The configuration of a trial holds the values of its point.
    """

    def __init__(self, dispatcher: WorkerCalls, x_param: str, y_param: str) -> None:
        super().__init__(metric="ratio", mode="min")
        self._dispatcher = dispatcher
        self._names = (x_param, y_param)
        self._slots: dict[str, int] = {}
        self._numbers = itertools.count()

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Ignore Tune's search settings: the dispatcher chooses the points."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride] - Searcher.FINISHED is a str
        slot = next(self._numbers)
        reply = self._dispatcher.reserve(slot)
        if reply == "stop":
            return Searcher.FINISHED
        if isinstance(reply, str):
            return None
        self._slots[trial_id] = slot
        (point,) = reply.points
        return {
            "slot": slot,
            "tile": reply.id,
            "frame": point.frame,
            "level": point.level,
            "ix": point.ix,
            "iy": point.iy,
            **dict(zip(self._names, (point.x, point.y), strict=True)),
            "params": list(self._names),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the dispatcher that a trial has ended; `Release` reports those that failed."""
        slot = self._slots.pop(trial_id, None)
        if slot is not None and not error:
            self._dispatcher.retire(slot)
            self._dispatcher.release(slot, "the trial has ended")

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the dataset holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the dataset holds the state."""


def fit_points(
    trainable: Any, dispatcher: RemoteDispatcher, spec: DispatcherSpec, slots: int, storage: Path
) -> None:
    """Run a sweep to its end, at most `slots` points at a time; Tune's tables go to `storage`."""
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=PointSearcher(dispatcher, spec.x_param, spec.y_param),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"point-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="points",
            storage_path=str(storage),
            verbose=0,
            # A failed trial gives its point back to the dispatcher, which counts attempts.
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[Release(dispatcher)],
        ),
    ).fit()
