"""A point of a sweep run again by itself, to keep its model, which a sweep does not store.

The fine-tune is repeated exactly, so its losses must equal those in the dataset. The result holds
their deviation, because a repeated run is evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fractal_ray.engine.workload_of import workload_of
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import PointIdentity
from fractal_ray.workloads.base import RepeatRequest
from nanochat.errors import quoted

if TYPE_CHECKING:
    from fractal_ray.analysis.sweep_data import SweepData
    from fractal_ray.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class Rerun:
    """Result of a point that was run again.

    Attributes
    ----------
    point_id : str
    x, y : float
        Its axis values.
    deviation : float
        Largest relative difference between a loss and the one in the dataset; 0 means equal bits,
        inf that the curves are not equally long.
    result : Path or None
        File with the result; None if it could not be written.
    model : Path or None
        Folder with the model; None where the losses were not finite, or if it could not be written.
    exit_code : int
        Exit code of the command: not 0 if a file could not be written, or after Ctrl-C.
    val_loss, val_loss_before : float or None
        Loss on the validation batches now and in the dataset; None where it was not measured.
    """

    point_id: str
    x: float
    y: float
    deviation: float
    result: Path | None
    model: Path | None
    exit_code: int
    val_loss: float | None = None
    val_loss_before: float | None = None


def find_row(table: pa.Table, point: str) -> dict[str, Any]:
    """Return the row of a point named by its id, by the start of its id, or by ``x,y``.

    Parameters
    ----------
    table
        Rows of a sweep.
    point
        Hexadecimal digits, or two numbers for the point with the nearest values, by the difference
        of logarithms if both are above 0.

    Raises
    ------
    SweepError
        If no point, or more than one, has this name.
    """
    if not table.num_rows:
        raise SweepError("the dataset has no points yet; fractal-ray run fills it")
    if "," in point:
        return table.slice(_nearest(table, point), 1).to_pylist()[0]
    ids = table["point_id"].to_pylist()
    matches = table.filter(pa.array([each.startswith(point.lower()) for each in ids]))
    if matches.num_rows != 1:
        raise SweepError(
            f"--point {point}: {matches.num_rows} of the {table.num_rows} points have an id that"
            " starts so; give more digits, or X,Y for the nearest"
        )
    return matches.to_pylist()[0]


def _nearest(table: pa.Table, point: str) -> int:
    try:
        wanted = [float(part) for part in point.split(",")]
        if len(wanted) != 2 or not np.isfinite(wanted).all():
            raise ValueError
    except ValueError as error:
        raise SweepError(
            f"--point takes an id or X,Y, for example 3e-3,0.1; given {quoted(point)}"
        ) from (error)
    distance = np.zeros(table.num_rows)
    for name, value in zip("xy", wanted, strict=True):
        values = table[name].to_numpy()
        logarithmic = value > 0 and bool((values > 0).all())
        scaled = np.log([*values, value]) if logarithmic else np.array([*values, value])
        span = float(np.ptp(scaled[:-1])) or 1.0  # all points may have one value
        distance += ((scaled[:-1] - scaled[-1]) / span) ** 2
    return int(distance.argmin())


def rerun(sweep: "SweepData", point: str, out: Path, say: Callable[[str], None]) -> Rerun:
    """Run a point of a `nanochat` sweep again and keep its model.

    Parameters
    ----------
    sweep
    point
        As in `find_row`.
    out
        Folder for the result file and the folder of the model.
    say
        Function that shows a line.

    Raises
    ------
    SweepError
        If the point does not exist, or the model or the data have changed.
    """
    spec = sweep.spec
    spec.workload.check_keeps_model()
    table = sweep.table()
    if not table.num_rows:
        raise SweepError(f"{sweep.location} has no points yet; run it first: {sweep.run_command}")
    row = find_row(table, point)
    if "," in point:
        _check_inside(spec, table, point, row)
    _check_identity(spec, row)
    request = RepeatRequest(
        axes=(spec.plan.axis("x"), spec.plan.axis("y")),
        values={spec.axes.x.param: row["x"], spec.axes.y.param: row["y"]},
        fingerprint=row["fingerprint"],
        criterion=spec.label.criterion,
        device="cuda" if spec.resources.gpu else "cpu",
        out=out,
        say=say,
    )
    repeat = spec.workload.run_again(request)
    deviation = _deviation(np.asarray(repeat.losses, np.float32), row["losses"])
    files = (repeat.result, repeat.model, repeat.exit_code)
    val_losses = (_measured(repeat.val_loss), _measured(row.get("val_loss")))
    return Rerun(row["point_id"], row["x"], row["y"], deviation, *files, *val_losses)


def _check_inside(spec: "SweepSpec", table: pa.Table, point: str, row: dict[str, Any]) -> None:
    """Refuse values outside of the axes and of all points, such as those of zooms outwards."""
    axes = {"x": spec.plan.axis("x"), "y": spec.plan.axis("y")}
    for (name, axis), text in zip(axes.items(), point.split(","), strict=True):
        values = table[name].to_numpy()
        low, high = min(axis.min, values.min()), max(axis.max, values.max())
        # A value that is copied from a screen may be rounded.
        if not low - 1e-3 * abs(low) <= float(text) <= high + 1e-3 * abs(high):
            raise SweepError(
                f"--point {point}: {axis.param} {float(text):g} is outside of the sweep"
                f" ({low:g} to {high:g}); the nearest point is {row['x']:.9g},{row['y']:.9g}"
                f" (--point {row['point_id'][:12]})"
            )


def _check_identity(spec: "SweepSpec", row: dict[str, Any]) -> None:
    """Refuse a spec that gives the values of a row another point id."""
    workload = workload_of(spec)
    identity = PointIdentity(
        row["fingerprint"], dict(workload.recipe), spec.axes.x.param, spec.axes.y.param
    )
    if identity(Point(0, 0, 0, 0, row["x"], row["y"])) != row["point_id"]:
        raise SweepError(
            "the spec is not that of the dataset: its recipe or its axes give this point another"
            " id. Name the dataset's folder in place of the YAML, without --set"
        )


def _measured(val_loss: float | None) -> float | None:
    return None if val_loss is None or np.isnan(val_loss) else val_loss


def _deviation(losses: np.ndarray, before: list[float]) -> float:
    if len(losses) != len(before):
        return float("inf")
    reference = np.asarray(before, np.float32)
    if np.array_equal(losses, reference):
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):  # a loss may be 0 or not finite
        differences = np.abs(losses.astype(np.float64) / reference - 1)
    return float(np.where(losses == reference, 0.0, differences).max())
