"""The engine `local`: it runs one tile after the other in this process, without Ray."""

import gc
import time

from fractal_ray.engine.base import evaluate_tile
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.progress import Progress, View
from fractal_ray.errors import SweepStoppedError
from fractal_ray.workloads.base import Prepared, Workload

_VIEW_SECONDS = 0.2


def run_local(
    dispatcher: Dispatcher, workload: Workload, prepared: Prepared, *, device: str, view: View
) -> Progress:
    """Run a sweep to its end in this process.

    Parameters
    ----------
    dispatcher
        The dispatcher of the run, which this function closes.
    workload, prepared
        The workload that runs the points, and its prepared data.
    device
        "cpu" or "cuda".
    view
        Called with the progress between tiles, a few times a second at most.

    Raises
    ------
    SweepStoppedError
        When the sweep cannot go on. All finished points are in the dataset, as after Ctrl-C.
    """
    try:
        _work(dispatcher, workload, prepared, device, view)
    except BaseException:
        dispatcher.rescue()
        raise
    progress = dispatcher.close()
    if progress.error is not None:
        raise SweepStoppedError(progress.error)
    return progress


def _work(
    dispatcher: Dispatcher, workload: Workload, prepared: Prepared, device: str, view: View
) -> None:
    runner = None
    result = None
    last_view = 0.0
    while True:
        reply = dispatcher.exchange(0, result)
        if time.monotonic() - last_view > _VIEW_SECONDS:
            view(dispatcher.progress())
            last_view = time.monotonic()
        if reply == "stop":
            view(dispatcher.progress())
            return
        if isinstance(reply, str):
            raise RuntimeError("the planner waits for points that nobody runs")
        # Opened at the first tile, and again after a run that was short of memory.
        runner = runner or workload.open(prepared.shared, device)
        result = evaluate_tile(runner, reply)
        if result.worn:  # free the memory of the failed run before the model is loaded again
            runner = None
            gc.collect()
