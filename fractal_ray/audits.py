"""The audit of a refined stage, judged from the dataset alone."""

import numpy as np
import pyarrow as pa

from fractal_ray.outcome import Outcome
from fractal_ray.planners.audit import AuditReport, audit_report
from fractal_ray.relabel import outcomes
from fractal_ray.space import Frame
from fractal_ray.spec import SweepSpec
from fractal_ray.stages import refinement_of

_PORTION = 10_000  # points asked for at a time


def read_audit(
    spec: SweepSpec, index: int, frame: Frame, table: pa.Table, failures: pa.Table
) -> AuditReport | None:
    """What stage number `index` has missed on a frame, by its audit.

    The stage is planned again from what the dataset knows.

    Parameters
    ----------
    spec
    index
        A stage of kind refine.
    frame
        One that it refines.
    table, failures
        Rows of `points/` and of `failures/`; a point that has only failures is a failed one.

    Returns
    -------
    AuditReport or None
        None while points of the stage are missing.
    """
    planner = refinement_of(spec, index, frame)
    shown = _by_place(table, outcomes(table, spec.label.criterion))
    lost = _by_place(failures, [None] * failures.num_rows)
    known: dict[tuple[float, float], Outcome | None] = {**lost, **shown}
    while not planner.done:
        points = planner.ask(_PORTION)
        if any((point.x, point.y) not in known for point in points):
            return None
        planner.tell([(point, known[point.x, point.y]) for point in points])
    return audit_report(planner)


def _by_place(table: pa.Table, values: list) -> dict[tuple[float, float], Outcome | None]:
    x, y = (np.asarray(table.column(name)).tolist() for name in ("x", "y"))
    return dict(zip(zip(x, y, strict=True), values, strict=True))
