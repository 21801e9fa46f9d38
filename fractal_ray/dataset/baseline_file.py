"""The file ``baseline.json``: losses of the untouched model, by which readers judge runs."""

import json
import shlex
from typing import Any, Final

import numpy as np

from fractal_ray.dataset.store import Store
from fractal_ray.errors import reading
from fractal_ray.plane.baseline import NO_BASELINE, Baseline
from nanochat.errors import quoted

BASELINE: Final = "baseline.json"
"""Name of the file."""
_VERSION = 1


def read_baseline(store: Store) -> Baseline:
    """Return the losses of the untouched model; `NO_BASELINE` without the file.

    Raises
    ------
    SweepError
        If the file is damaged, or has a later version.
    """
    text = store.read_text(BASELINE)
    if text is None:
        return NO_BASELINE
    command = f"fractal-ray advise {shlex.quote(store.location)} --baseline"
    remedy = f"; delete it, and `{command}` makes it again"
    with reading(f"{store.location}/{BASELINE}", remedy, also=(KeyError, TypeError, OverflowError)):
        content = json.loads(text)
        if (version := content["schema_version"]) != _VERSION:
            raise ValueError(
                f"schema_version is {quoted(version)}, this fractal-ray reads {_VERSION}"
            )
        return _checked(content)


def write_baseline(store: Store, baseline: Baseline) -> None:
    """Write the file, whole or not at all."""
    content = {
        "schema_version": _VERSION,
        "sides": list(baseline.sides),
        "val_loss": baseline.val_loss,
        "width": baseline.width,
        "orders": [
            {"values": list(values), "losses": [float(loss) for loss in curve]}
            for values, curve in baseline.curves.items()
        ],
    }
    store.write_file(BASELINE, f"{json.dumps(content)}\n".encode())


def _checked(content: Any) -> Baseline:
    sides, val_loss = content["sides"], content["val_loss"]
    if sides not in ([], ["x"], ["y"], ["x", "y"]):
        raise ValueError(f"sides are {quoted(sides)}")
    if val_loss is not None and not _is_number(val_loss):
        raise ValueError(f"val_loss is {quoted(val_loss)}")
    width = content.get("width")
    if width is not None and (type(width) is not int or width < 1):
        raise ValueError(f"width is {quoted(width)}")
    curves = {}
    for order in content["orders"]:
        values, losses = order["values"], order["losses"]
        if len(values) != len(sides) or not all(map(_is_number, [*values, *losses])):
            raise ValueError(f"an order of batches is {quoted(order)}")
        curves[tuple(map(float, values))] = np.array(losses, dtype=np.float32)
    return Baseline(tuple(sides), curves, val_loss, width)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))
