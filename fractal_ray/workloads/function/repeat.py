"""The repeated run of one point of a function, which keeps the files that it writes."""

import itertools
import json
import math
import re
from pathlib import Path

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.workloads.base import Repeat, RepeatRequest
from fractal_ray.workloads.function.prepared import prepare_function
from fractal_ray.workloads.function.settings import FunctionSettings
from fractal_ray.workloads.function.workload import FunctionRunner, FunctionWorkload


def repeat(section: FunctionSettings, request: RepeatRequest) -> Repeat:
    """Run a function at one point, as the sweep did, and write a result file.

    Raises
    ------
    SweepError
        If the function or its files have changed since the dataset was written.
    """
    x, y = request.axes
    prepared = prepare_function(section)
    if prepared.fingerprint != request.fingerprint:
        raise SweepError(
            f"{section.call} or its files have changed since the dataset was written: fingerprint"
            f" {prepared.fingerprint} here, {request.fingerprint} in the dataset. `fractal-ray run`"
            " names the changes"
        )
    folder = _new_folder(request)
    workload = FunctionWorkload(section, x, y, request.criterion)
    runner = FunctionRunner(workload, prepared.shared, request.device, folder / "out")
    request.say(f"running {section.call} ...")
    point = Point(0, 0, 0, 0, request.values[x.param], request.values[y.param])
    (record,) = runner.evaluate([point])
    losses = [float(loss) for loss in record.losses]
    result = {
        "call": section.call,
        "params": {**section.settings, **request.values},
        "fingerprint": prepared.fingerprint,
        "outcome": record.outcome.value,
        "reason": record.reason,
        "diverged_step": record.diverged_step,
        "metrics": {k: v if math.isfinite(v) else str(v) for k, v in record.metrics.items()},
        "val_loss": None if math.isnan(record.val_loss) else record.val_loss,
        "losses": losses,
    }
    try:
        path = folder / "result.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        request.say(f"the result could not be written: {error}")
        return Repeat(losses, None, folder / "out", 1, record.val_loss)
    kept = folder / "out" if any((folder / "out").iterdir()) else None
    return Repeat(losses, path, kept, 0, record.val_loss)


def _new_folder(request: RepeatRequest) -> Path:
    """Make the folder of a result, named after the values of the point."""
    values = "-".join(f"{name}={value:.6g}" for name, value in request.values.items())
    name = re.sub(r"[^\w.=+-]", "_", values)
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    folders = ((request.out / each).absolute() for each in names)
    folder = next(each for each in folders if not each.exists())
    try:
        (folder / "out").mkdir(parents=True)
    except OSError as error:
        raise SweepError(f"cannot make the folder {folder}: {error}") from error
    return folder
