"""The engine `local`: everything in this process, one point after the other, without Ray."""

import gc
import time

from fractal_ray.engine.base import evaluate_tile
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress, View
from fractal_ray.errors import SweepStoppedError
from fractal_ray.workloads.base import Prepared, Workload

_VIEW_SECONDS = 0.2


def run_local(
    spec: DispatcherSpec, workload: Workload, prepared: Prepared, *, device: str, view: View
) -> Progress:
    """Run a sweep to its end in this process.

    Parameters
    ----------
    spec
        What to run and where to keep it.
    workload, prepared
        What runs a point.
    device
        "cpu" or "cuda".
    view
        Called with the progress between tiles, a few times a second at most.

    Raises
    ------
    SweepStoppedError
        When the sweep cannot go on. What was finished is in the dataset, as it is after Ctrl-C.
    """
    dispatcher = Dispatcher(spec)
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
    seen = 0.0
    while True:
        reply = dispatcher.exchange(0, result)
        if time.monotonic() - seen > _VIEW_SECONDS:
            view(dispatcher.progress())
            seen = time.monotonic()
        if reply == "stop":
            view(dispatcher.progress())
            return
        if isinstance(reply, str):
            raise RuntimeError("the planner waits for points that nobody runs")
        # Opened late: a sweep that is already complete loads no model.
        runner = runner or workload.open(prepared.shared, device)
        result = evaluate_tile(runner, reply)
        if result.worn:  # what the failed run left in memory goes before the model is loaded again
            runner = None
            gc.collect()
