"""The engine `ray_tune`: Ray Tune drives workers that live for the whole sweep.

A slot is one Tune trial: a class Trainable that opens the workload once and takes tiles from the
dispatcher until the planner is done. With `trials: points` each point is a Tune trial of its own,
through the same Trainable. Tune's restore is not used, because the dataset holds the state.
"""

import contextlib
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from fractal_ray.engine.cluster.lost_workers import Release
from fractal_ray.engine.cluster.placement import SlotResources
from fractal_ray.engine.cluster.point_trials import fit_points
from fractal_ray.engine.cluster.remote_dispatcher import RemoteDispatcher, start_dispatcher
from fractal_ray.engine.cluster.room import RoomWatch
from fractal_ray.engine.cluster.slot import Slot
from fractal_ray.engine.cluster.worker_keys import tune_without_keys
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress, View
from fractal_ray.errors import SweepStoppedError
from fractal_ray.workloads.base import Prepared, Workload

_POLL_SECONDS = 0.5


class _SlotStopper(tune.Stopper):
    """Stopper that ends the experiment when the sweep is over.

    Without it, slots that never got a place on the cluster, or die before their first call, would
    keep the experiment open.
    """

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
    slots: int,
    tiles_per_worker: int | None = None,
    trials: str = "slots",
    tables: Path | None = None,
) -> Progress:
    """Run a sweep to its end on the Ray cluster that this process is connected to.

    Parameters
    ----------
    spec
        The sweep and the location of its dataset.
    workload, prepared
        The workload that runs the points. `prepared.shared` goes to the object store once.
    device
        "cpu" or "cuda".
    view
        Called with the progress twice a second, from another thread.
    slot
        Resources of a slot.
    slots
        Number of workers. Those that the cluster has no room for start when nodes join; while
        none has room, the progress says what is missing.
    tiles_per_worker
        Number of tiles after which a worker is replaced; None: never.
    trials
        "slots" or "points".
    tables
        Folder for Tune's own tables if `trials` is "points"; None: they are deleted.

    Raises
    ------
    SweepStoppedError
        When the sweep cannot go on. All finished points are in the dataset, as after Ctrl-C.
    """
    view = _forgiving(view)
    with start_dispatcher(spec) as dispatcher:
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
                tune_without_keys(),
                _watching(dispatcher, view, RoomWatch(slot)) as stopper,
                tempfile.TemporaryDirectory() as scratch,
            ):
                if trials == "points":
                    fit_points(trainable, dispatcher, spec, slots, tables or Path(scratch))
                else:
                    _fit_slots(trainable, dispatcher, slots, Path(scratch), stopper)
            progress = dispatcher.close()
        except ActorDiedError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SweepStoppedError(
                f"the dispatcher was lost and could not be rebuilt from the dataset: {reason}"
            ) from error
        except BaseException:
            with contextlib.suppress(RayError, GetTimeoutError):
                dispatcher.rescue()
            raise
    view(progress)
    if progress.error is not None:
        raise SweepStoppedError(progress.error)
    if not progress.finished:
        raise SweepStoppedError("Ray Tune ended before the sweep did; run the same command again")
    return progress


def _fit_slots(
    trainable: Any, dispatcher: RemoteDispatcher, slots: int, storage: Path, stopper: _SlotStopper
) -> None:
    tune.Tuner(
        trainable,
        param_space={"slot": tune.grid_search(list(range(slots)))},
        run_config=tune.RunConfig(
            name="slots",
            storage_path=str(storage),
            verbose=0,
            # Tune restarts a lost worker without limit; the dispatcher counts failures per point.
            failure_config=tune.FailureConfig(max_failures=-1),
            # Otherwise each trial would end with a call of save_checkpoint, which Slot lacks.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=stopper,
            callbacks=[Release(dispatcher)],
        ),
    ).fit()


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Silence Tune's log of lost workers; the dispatcher records and counts them."""
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _watching(dispatcher: RemoteDispatcher, view: View, room: RoomWatch) -> Iterator[_SlotStopper]:
    """Show the progress from a thread, because Tune occupies the main one.

    While no slot has a place on the cluster, the progress names what is missing.

    Yields
    ------
    _SlotStopper
        The stopper, which the thread sets when the sweep is over.
    """
    stop, stopper = threading.Event(), _SlotStopper()

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            try:
                progress = dispatcher.progress()
            except ActorDiedError:
                stopper.over = True  # it could not be rebuilt: storage is out of reach
                return
            except (RayError, GetTimeoutError):
                continue  # the actor restarts
            if progress.finished:
                stopper.over = True
            with contextlib.suppress(RayError, GetTimeoutError):
                _end(dispatcher.take_hung())
            if not progress.finished and (reason := room.text()):
                progress = replace(progress, trouble=reason)
            view(progress)

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield stopper
    finally:
        stop.set()
        thread.join()


def _forgiving(view: View) -> View:
    """Return a view that ignores calls after its first exception, which is logged.

    A closed screen or a pipe without a reader must not end the watch over the workers.
    """
    failed = False

    def show(progress: Progress) -> None:
        nonlocal failed
        if failed:
            return
        try:
            view(progress)
        except Exception:
            failed = True
            logging.getLogger(__name__).warning("the view of the progress failed", exc_info=True)

    return show


def _end(workers: list[Any]) -> None:
    """Kill workers; Tune starts new ones in their places."""
    for worker in workers:
        ray.kill(worker, no_restart=True)
