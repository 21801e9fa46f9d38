"""From rows of the dataset to a frame's dense lattice: what was measured, and what that implies.

A grid is measured at every node. A refined lattice is measured near its border only; a node in a
cell that was left whole has that cell's label (`planners/inferred.py`), and is marked as inferred.
A refinement follows one label. Of the other one, and so of the outcome, an inferred node has what
the same cells say of it, which may be nothing: then it keeps a code of two outcomes.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.replay import Replayed, answers_of, replay
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.plane.axes import Frame
from fractal_ray.plane.boundary import (
    NOT_DIVERGED,
    NOT_TRAINED,
    OUTCOME_CODES,
    UNKNOWN,
    Raster,
    labels,
)
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.sweep_spec import SweepSpec

# labels "trainable" and "stable" -> code of an outcome
_IMPLIED: Final = {
    (1, 1): OUTCOME_CODES[Outcome.TRAINED],
    (0, 1): OUTCOME_CODES[Outcome.NOT_IMPROVED],
    (0, 0): OUTCOME_CODES[Outcome.DIVERGED],
    (0, UNKNOWN): NOT_TRAINED,
    (UNKNOWN, 1): NOT_DIVERGED,
}


def fill_raster(
    spec: SweepSpec, lattice: SweepFrame, table: pa.Table, failures: pa.Table
) -> tuple[Raster, Replayed | None]:
    """Put rows on a frame's finest lattice by their exact values.

    Parameters
    ----------
    spec
        Its label decides what the runs showed and which border the refinement followed.
    lattice
        The frame. Where it is a grid, nodes without a row are unknown. Where it was refined, nodes
        that its stages did not ask for have the label of the cell that they lie in, an outcome
        where that cell implies one, and no loss; rows that other frames have there are left out,
        because they lie where those looked and not where this frame did.
    table
        Rows of `points/`.
    failures
        Rows of `failures/`: points that were given up and have no row in `table` stay unknown,
        and so do nodes around them that only they would decide.

    Returns
    -------
    ``(raster, replayed)``: `replayed` is None while the frame is not finished, and the raster then
    shows what there is.
    """
    frame, level = lattice.frame, lattice.level
    shown = outcomes(table, spec.label.criterion)
    replayed = replay(spec, lattice, answers_of(table, shown, failures))
    cells_x, cells_y = frame.cells_x << level, frame.cells_y << level
    x, y = np.asarray(frame.x.values(cells_x)), np.asarray(frame.y.values(cells_y))
    ix, iy, found = _addresses(frame, cells_x, cells_y, table)
    codes = np.array([OUTCOME_CODES[each] for each in shown], dtype=np.int8)
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
        return raster, replayed
    asked = raster.known.copy()
    if replayed is not None:
        assert isinstance(replayed.field, RefinePlanner)
        asked[:] = False
        ix, iy, _ = replayed.field.labels()
        asked[iy, ix] = True
    else:
        lost_x, lost_y, _ = _addresses(frame, cells_x, cells_y, failures)
        asked[lost_y, lost_x] = True
    return _infer(raster, frame, level, spec.label.boundary, asked), replayed


def _addresses(
    frame: Frame, cells_x: int, cells_y: int, table: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Addresses of the rows that lie on the lattice, and which rows these are."""
    ix = frame.x.addresses(table.column("x").to_numpy(), cells_x)
    iy = frame.y.addresses(table.column("y").to_numpy(), cells_y)
    found = (ix >= 0) & (iy >= 0)
    return ix[found], iy[found], found


def _infer(
    raster: Raster, frame: Frame, level: int, boundary: str, asked: NDArray[np.bool_]
) -> Raster:
    # What was not asked for is another frame's and is left out.
    raster = replace(
        raster,
        outcome=np.where(asked, raster.outcome, UNKNOWN).astype(np.int8),
        loss=np.where(asked, raster.loss, np.nan),
    )
    trainable, stable = (
        _filled(raster, frame, level, each, asked) for each in ("trainable", "stable")
    )
    # Where the refinement has left its own label open, the frame is not finished.
    known = (trainable if boundary == "trainable" else stable) != UNKNOWN
    inferred = known & ~raster.known
    outcome = raster.outcome.copy()
    for implied, code in _IMPLIED.items():
        outcome[inferred & (trainable == implied[0]) & (stable == implied[1])] = code
    return replace(raster, outcome=outcome, inferred=inferred)


def _filled(
    raster: Raster, frame: Frame, level: int, boundary: str, asked: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """A label at every node, of the run there or of the cell that it lies in."""
    iy, ix = np.nonzero(asked)
    given = labels(raster, boundary)[iy, ix]
    size = {"cells_x": frame.cells_x, "cells_y": frame.cells_y, "levels": level}
    return infer_labels(ix, iy, given, **size)[0]
