"""The engine `ray_tune`: Ray Tune drives workers that live for the whole sweep.

One Tune trial per slot: a class Trainable that opens the workload once and takes tiles from the
dispatcher until the planner is done. `trials: points` makes every point a Tune trial of its own
through the same Trainable. Tune's restore is not used: the dataset is the truth.
"""

import contextlib
import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fractal_ray.engine.base import TileResult, describe
from fractal_ray.engine.cluster.lost_workers import Release
from fractal_ray.engine.cluster.placement import SlotResources, room_for
from fractal_ray.engine.cluster.point_trials import fit_points
from fractal_ray.engine.cluster.slot import Slot
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress, View
from fractal_ray.errors import SweepStoppedError
from fractal_ray.workloads.base import Prepared, Workload

_POLL_SECONDS = 0.5
_STORAGE = ("AWS_", "ARROW_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST")


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


def run_ray_tune(
    spec: DispatcherSpec,
    workload: Workload,
    prepared: Prepared,
    *,
    device: str,
    view: View,
    slot: SlotResources,
    slots: int | None,
    tiles_per_worker: int | None = None,
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
    slot
        What a slot takes of the cluster.
    slots
        Workers; more than the cluster has room for start when nodes join. None: as many as it
        has room for now.
    tiles_per_worker
        After which a worker is replaced; None: never.
    trials
        "slots" or "points".
    tables
        Folder for Tune's own tables when `trials` is "points"; None: they are not kept.

    Raises
    ------
    SweepStoppedError
        When the sweep cannot go on. What was finished is in the dataset, as it is after Ctrl-C.
    """
    slots = slots or room_for(slot, ray.nodes())
    if not slots:
        raise SweepStoppedError(
            f"no node of the cluster has room for a slot of {slot}; lower"
            " resources in the spec, or set resources.slots to wait for nodes to join"
        )
    view = _forgiving(view)
    dispatcher = _start_dispatcher(spec)
    try:
        trainable = tune.with_resources(
            tune.with_parameters(
                Slot,
                workload=workload,
                shared=prepared.shared,
                dispatcher=dispatcher,
                device=device,
                tiles_per_worker=tiles_per_worker,
            ),
            slot.placement(),
        )
        with (
            _quiet_tune(),
            _watching(dispatcher, view) as stopper,
            tempfile.TemporaryDirectory() as scratch,
        ):
            if trials == "points":
                fit_points(trainable, dispatcher, spec, slots, tables or Path(scratch))
            else:
                _fit_slots(trainable, dispatcher, slots, Path(scratch), stopper)
    except BaseException:
        with contextlib.suppress(RayError, GetTimeoutError):
            ray.get(dispatcher.rescue.remote(), timeout=60)
        raise
    try:
        progress: Progress = ray.get(dispatcher.close.remote())
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


class DispatcherActor(Dispatcher):
    """The dispatcher in its own process, where storage is what it is for the driver."""

    def __init__(self, spec: DispatcherSpec, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        super().__init__(spec)
        self._life = secrets.token_hex(8)

    def exchange(self, slot: int, result: TileResult | None = None) -> Any:
        """``(reply, life)``: with another life it is not the dispatcher that was told before where
        a worker is. What goes wrong here ends the sweep; a worker would ask again for ever."""
        try:
            return super().exchange(slot, result), self._life
        except Exception as error:
            self.error = f"the dispatcher failed:\n{describe(error).traceback}"
            return "stop", self._life


def _storage_environment() -> dict[str, str]:
    """Endpoint, region and keys of an object store: Ray passes the keys on at most. They go as an
    argument, because Ray shows a process's environment on its dashboard."""
    return {key: value for key, value in os.environ.items() if key.startswith(_STORAGE)}


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
    return ray.remote(DispatcherActor).options(**options).remote(spec, _storage_environment())


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
            callbacks=[Release(dispatcher)],
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
            if progress.finished:
                stopper.over = True
            with contextlib.suppress(RayError, GetTimeoutError):
                _end(ray.get(dispatcher.take_hung.remote(), timeout=30))
            view(progress)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield stopper
    finally:
        stop.set()
        thread.join()


def _forgiving(view: View) -> View:
    """The same until it fails, which is told once: a screen that is gone, or a pipe that nobody
    reads, does not end the watch over workers."""
    fails = False

    def show(progress: Progress) -> None:
        nonlocal fails
        if fails:
            return
        try:
            view(progress)
        except Exception:
            fails = True
            logging.getLogger(__name__).warning("the view of the progress failed", exc_info=True)

    return show


def _end(workers: list[Any]) -> None:
    """Tune starts new ones in their places."""
    for worker in workers:
        ray.kill(worker, no_restart=True)
