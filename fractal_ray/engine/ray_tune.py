"""The engine `ray_tune`: Ray Tune drives workers that live for the whole sweep.

One Tune trial per slot: a class Trainable that opens the workload once and takes tiles from the
dispatcher until the planner is done. `trials: points` makes every point a Tune trial of its own
through the same Trainable. Tune's restore is not used: the dataset is the truth.
"""

import contextlib
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fractal_ray.engine.base import (
    Progress,
    RunFailure,
    SweepStoppedError,
    Tile,
    TileResult,
    View,
    describe,
    evaluate_tile,
)
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.ray_cluster import room_for
from fractal_ray.space import Point
from fractal_ray.workloads.base import Prepared, Runner, Workload

_POLL_SECONDS = 0.5
_WAIT_SECONDS = 0.05
_OVER = {"done": True, "sweep_over": True, "points": 0, "tile_seconds": 0.0}


class Slot(tune.Trainable):
    """A worker: the workload opened once, then a tile (or a point) a step."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] - tune.with_parameters
        self,
        config: dict[str, Any],
        *,
        workload: Workload,
        shared: Any,
        dispatcher: Any,
        device: str,
    ) -> None:
        """Open the workload. What goes wrong is told at the first step: an exception here would
        have Tune start the worker again for ever."""
        self._dispatcher = dispatcher
        self._result: TileResult | None = None
        self._runner: Runner | None = None
        self._unopened: RunFailure | None = None
        self.reset_config(config)
        try:
            self._runner = workload.open(shared, device)
        except Exception as error:
            self._unopened = describe(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial's configuration and keep the workload (`trials: points`)."""
        self._slot = int(new_config["slot"])
        self._tile = _tile_from(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One tile from the dispatcher, or the one point of this trial."""
        if self._runner is None:
            return self._open_failed(self._unopened)
        if self._tile is not None:
            return self._point_step(self._runner, self._tile)
        return self._slot_step(self._runner)

    def _open_failed(self, failure: RunFailure | None) -> dict[str, Any]:
        """Once more in a new process, unless the dispatcher has seen enough of this."""
        failure = failure or RunFailure("the workload is not open", "")
        host = socket.gethostname()
        if _get(self._dispatcher.open_failed.remote(failure, host)):
            return _OVER
        raise RuntimeError(failure.error)

    def _slot_step(self, runner: Runner) -> dict[str, Any]:
        result, self._result = self._result, None
        reply = _get(self._dispatcher.exchange.remote(self._slot, result))
        while reply == "wait":
            time.sleep(_WAIT_SECONDS)
            reply = _get(self._dispatcher.take.remote(self._slot))
        if reply == "stop":
            return _OVER
        self._result = evaluate_tile(runner, reply)
        seconds = self._result.seconds
        return {"sweep_over": False, "points": len(reply.points), "tile_seconds": seconds}

    def _point_step(self, runner: Runner, tile: Tile) -> dict[str, Any]:
        result = evaluate_tile(runner, tile)
        _get(self._dispatcher.deliver.remote(self._slot, result))
        (item,) = result.results
        if isinstance(item, RunFailure):
            return {"done": True, "outcome": "failed", "error": item.error}
        return {
            "done": True,
            "outcome": item.outcome.value,
            "ratio": item.ratio,
            "final_loss": item.final_loss,
            "steps": item.steps,
            "seconds": item.seconds,
        }


class _SlotStopper(tune.Stopper):
    """Ends the experiment when the sweep is over, so that slots which never got a place on the
    cluster, or die before they can ask, do not keep it open."""

    def __init__(self) -> None:
        self.over = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.over = self.over or bool(result.get("sweep_over"))
        return False

    def stop_all(self) -> bool:
        return self.over


class _Release(tune.Callback):
    """Frees the lease of a worker that Tune has lost, whether or not it ever comes back."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._dispatcher.release.remote(trial.config["slot"], "the worker process was lost")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._dispatcher.release.remote(trial.config["slot"], "the worker process was lost")


class _PointSearcher(Searcher):
    """Turns the dispatcher's points into Tune trials with the values in their configuration."""

    def __init__(self, dispatcher: Any, x_param: str, y_param: str) -> None:
        super().__init__(metric="ratio", mode="min")
        self._dispatcher = dispatcher
        self._names = (x_param, y_param)
        self._slots: dict[str, int] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """The dispatcher decides what is run; nothing of Tune's search settings applies."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride] - Searcher.FINISHED is a str
        slot = len(self._slots)
        reply = _get(self._dispatcher.take.remote(slot))
        if reply == "stop":
            return Searcher.FINISHED
        if reply == "wait":
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
        """A trial whose process died gives its point back."""
        if error and trial_id in self._slots:
            slot = self._slots[trial_id]
            _get(self._dispatcher.release.remote(slot, "the trial's process was lost"))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the dataset is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the dataset is the truth."""


def run_ray_tune(
    spec: DispatcherSpec,
    workload: Workload,
    prepared: Prepared,
    *,
    device: str,
    view: View,
    cpu: float,
    gpu: float,
    slots: int | None,
    trials: str = "slots",
    tables: Path | None = None,
) -> Progress:
    """Run a sweep to its end on the Ray cluster that this process is connected to.

    Parameters
    ----------
    spec
        What to run and where to keep it.
    workload, prepared
        What runs a point. `prepared.shared` goes to the object store once.
    device
        "cpu" or "cuda".
    view
        Called with the progress twice a second, from another thread.
    cpu, gpu
        Logical resources of a slot; `gpu` may be a fraction.
    slots
        Workers; more than the cluster has room for start when nodes join. None: as many as it
        has room for now.
    trials
        "slots" or "points".
    tables
        Folder for Tune's own tables when `trials` is "points"; None: they are not kept.

    Raises
    ------
    SweepStoppedError
        When the sweep cannot go on. What was finished is in the dataset, as it is after Ctrl-C.
    """
    slots = slots or room_for(cpu, gpu)
    if not slots:
        raise SweepStoppedError(
            f"no node of the cluster has room for a slot of cpu={cpu:g}, gpu={gpu:g}; lower"
            " resources in the spec, or set resources.slots to wait for nodes to join"
        )
    dispatcher = _start_dispatcher(spec)
    try:
        trainable = tune.with_resources(
            tune.with_parameters(
                Slot,
                workload=workload,
                shared=prepared.shared,
                dispatcher=dispatcher,
                device=device,
            ),
            {"cpu": cpu, "gpu": gpu},
        )
        with (
            _quiet_tune(),
            _watching(dispatcher, view) as stopper,
            tempfile.TemporaryDirectory() as scratch,
        ):
            if trials == "points":
                _fit_points(trainable, dispatcher, spec, slots, tables or Path(scratch))
            else:
                _fit_slots(trainable, dispatcher, slots, Path(scratch), stopper)
    except BaseException:
        with contextlib.suppress(RayError, GetTimeoutError):
            ray.get(dispatcher.rescue.remote(), timeout=60)
        raise
    try:
        progress: Progress = _get(dispatcher.close.remote())
    except ActorDiedError as error:
        raise SweepStoppedError(
            f"the dispatcher was lost and could not be rebuilt from the dataset:\n{error}"
        ) from error
    view(progress)
    ray.kill(dispatcher)
    if progress.error is not None:
        raise SweepStoppedError(progress.error)
    if not progress.finished:
        raise SweepStoppedError("Ray Tune ended before the sweep did; run the same command again")
    return progress


def _start_dispatcher(spec: DispatcherSpec) -> Any:
    # Beside the driver: they live as long as each other and see the same disk. It takes no room
    # from the slots.
    node = ray.get_runtime_context().get_node_id()
    options = {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        "max_restarts": -1,
        "max_task_retries": -1,
    }
    return ray.remote(Dispatcher).options(**options).remote(spec)


def _fit_slots(
    trainable: Any, dispatcher: Any, slots: int, storage: Path, stopper: _SlotStopper
) -> None:
    tune.Tuner(
        trainable,
        param_space={"slot": tune.grid_search(list(range(slots)))},
        run_config=tune.RunConfig(
            name="slots",
            storage_path=str(storage),
            verbose=0,
            # A lost worker comes back as often as it must; the dispatcher counts per point.
            failure_config=tune.FailureConfig(max_failures=-1),
            # Otherwise every trial ends with a call of save_checkpoint, which a slot has not.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=stopper,
            callbacks=[_Release(dispatcher)],
        ),
    ).fit()


def _fit_points(
    trainable: Any, dispatcher: Any, spec: DispatcherSpec, slots: int, storage: Path
) -> None:
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_PointSearcher(dispatcher, spec.x_param, spec.y_param),
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
        ),
    ).fit()


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Tune logs the traceback of every lost worker; the dispatcher records and counts them."""
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _watching(dispatcher: Any, view: View) -> Iterator[_SlotStopper]:
    """Show progress from a thread while Tune holds the main one; yields a stopper that is told
    when the sweep is over."""
    stop, stopper = threading.Event(), _SlotStopper()

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            try:
                progress: Any = ray.get(dispatcher.progress.remote(), timeout=30)
            except ActorDiedError:
                stopper.over = True  # It could not be rebuilt: storage is out of reach.
                return
            except (RayError, GetTimeoutError):
                continue  # The dispatcher is coming back.
            view(progress)
            if progress.finished:
                stopper.over = True

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield stopper
    finally:
        stop.set()
        thread.join()


def _tile_from(config: Mapping[str, Any]) -> Tile | None:
    """The tile of one point that a trial of its own carries in its configuration."""
    if "tile" not in config:
        return None
    x, y = (config[name] for name in config["params"])
    point = Point(config["frame"], config["level"], config["ix"], config["iy"], x, y)
    return Tile(config["tile"], (point,))


def _get(reference: Any) -> Any:
    return ray.get(reference)
