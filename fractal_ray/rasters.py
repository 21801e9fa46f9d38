"""From rows of the dataset to a frame's dense lattice: what was measured, and what that implies.

A grid is measured at every node. A refined lattice is measured near its border only; a node in a
cell that was left whole has that cell's label (`planners/inferred.py`), and is marked as inferred.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.boundary import OUTCOME_CODES, UNKNOWN, Raster, labels
from fractal_ray.planners.inferred import infer_labels
from fractal_ray.relabel import outcomes
from fractal_ray.space import Frame
from fractal_ray.spec import SweepSpec


def fill_raster(
    spec: SweepSpec, frame: Frame, level: int, table: pa.Table, failures: pa.Table
) -> Raster:
    """Put rows on a frame's lattice by their exact values.

    Parameters
    ----------
    spec
        Its label decides what the runs showed and which border the refinement followed.
    frame, level
        The lattice.
    table
        Rows of `points/`.
    failures
        Rows of `failures/`: points that were given up and have no row in `table` stay unknown,
        and so do nodes around them that only they would decide.

    Returns
    -------
    Raster
        At level 0, nodes without a row are unknown. Below, they have the outcome of the nearest
        measured node with the label of the cell that they lie in, and no loss.
    """
    cells_x, cells_y = frame.cells_x << level, frame.cells_y << level
    x, y = np.asarray(frame.x.values(cells_x)), np.asarray(frame.y.values(cells_y))
    ix, iy, found = _addresses(frame, cells_x, cells_y, table)
    codes = np.array(
        [OUTCOME_CODES[outcome] for outcome in outcomes(table, spec.label.criterion)], dtype=np.int8
    )
    outcome = np.full((y.size, x.size), UNKNOWN, dtype=np.int8)
    loss = np.full((y.size, x.size), np.nan)
    outcome[iy, ix] = codes[found]
    loss[iy, ix] = table.column("final_loss").to_numpy()[found]
    # Addresses that share a value (an integer axis) share the run.
    rows, columns = frame.y.addresses(y, cells_y), frame.x.addresses(x, cells_x)
    raster = Raster(
        outcome=outcome[np.ix_(rows, columns)],
        loss=loss[np.ix_(rows, columns)],
        x=x,
        y=y,
        x_name=frame.x.param,
        y_name=frame.y.param,
        x_scale=frame.x.scale,
        y_scale=frame.y.scale,
    )
    if not level:
        return raster
    lost_x, lost_y, _ = _addresses(frame, cells_x, cells_y, failures)
    return _infer(raster, frame, level, spec.label.boundary, lost_x, lost_y)


def _addresses(
    frame: Frame, cells_x: int, cells_y: int, table: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Addresses of the rows that lie on the lattice, and which rows these are."""
    ix = frame.x.addresses(table.column("x").to_numpy(), cells_x)
    iy = frame.y.addresses(table.column("y").to_numpy(), cells_y)
    found = (ix >= 0) & (iy >= 0)
    return ix[found], iy[found], found


def _infer(
    raster: Raster,
    frame: Frame,
    level: int,
    boundary: str,
    lost_x: NDArray[np.int64],
    lost_y: NDArray[np.int64],
) -> Raster:
    given = labels(raster, boundary)
    asked = raster.known.copy()
    asked[lost_y, lost_x] = True
    iy, ix = np.nonzero(asked)
    filled, measured = infer_labels(
        ix, iy, given[iy, ix], cells_x=frame.cells_x, cells_y=frame.cells_y, levels=level
    )
    outcome = raster.outcome.copy()
    for label in (0, 1):
        inferred = (filled == label) & ~measured
        if inferred.any():
            outcome[inferred] = _nearest(raster.outcome, measured & (given == label))[inferred]
    return Raster(
        **{**vars(raster), "outcome": outcome, "inferred": (outcome != UNKNOWN) & ~measured}
    )


def _nearest(values: NDArray[np.int8], where: NDArray[np.bool_]) -> NDArray[np.int8]:
    """At each node the value of the nearest node of `where`, of which there is at least one."""
    from scipy.ndimage import distance_transform_edt  # takes a while to import

    nearest = distance_transform_edt(~where, return_distances=False, return_indices=True)
    return values[tuple(np.asarray(nearest))]
