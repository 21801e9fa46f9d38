"""The one reader of a frame: rows of the dataset, their raster, and the replay of its stages.

A grid is measured at every node. A refined lattice is measured near its border only. A node that
was not run has the label of the cell that it lies in (`planners/inferred_labels.py`), and is marked
as inferred. A refinement follows the border of one label. The other labels of an inferred node, and
so its outcome, may be unknown: the node then has a code that stands for two outcomes.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.replay import Replayed, answers_of, estimates, replay
from fractal_ray.analysis.sweep_data import SweepData, label_of
from fractal_ray.dataset.relabel import long_windows, outcomes
from fractal_ray.dimension.recommend import Data
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.axes import Frame
from fractal_ray.plane.boundary import (
    BOUNDARIES,
    BROKEN,
    NOT_DIVERGED,
    NOT_TRAINED,
    OUTCOME_CODES,
    UNBROKEN,
    UNKNOWN,
    Raster,
    labels,
)
from fractal_ray.plane.outcome import Criterion, Outcome
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.spec.frames import SweepFrame

# labels "trainable", "stable" and "broken" -> code of the outcome, or of two outcomes where a label
# is open
_IMPLIED: Final = {
    (0, 1, 1): OUTCOME_CODES[Outcome.TOO_SLOW],
    (0, 1, 0): OUTCOME_CODES[Outcome.DEGRADED],
    (0, 1, UNKNOWN): OUTCOME_CODES[Outcome.NOT_IMPROVED],
    (0, UNKNOWN, 0): BROKEN,
    (0, UNKNOWN, UNKNOWN): NOT_TRAINED,
    (UNKNOWN, 1, 1): UNBROKEN,
    (UNKNOWN, 1, 0): OUTCOME_CODES[Outcome.DEGRADED],
    (UNKNOWN, 1, UNKNOWN): NOT_DIVERGED,
    **{(1, 1, each): OUTCOME_CODES[Outcome.TRAINED] for each in (0, 1, UNKNOWN)},
    **{(0, 0, each): OUTCOME_CODES[Outcome.DIVERGED] for each in (0, 1, UNKNOWN)},
}


@dataclass(frozen=True)
class FrameData:
    """The data of one frame under the spec's label.

    `replayed` is None where the frame's grid or its refinement is not finished.
    """

    sweep: SweepData
    lattice: SweepFrame
    table: pa.Table
    raster: Raster
    replayed: Replayed | None

    def labels(self) -> NDArray[np.int8]:
        """Return the labels on the finest lattice, (ny, nx) int8: 1, 0 and -1 (not known)."""
        return labels(self.raster, self.sweep.spec.label.boundary)

    def estimates(self) -> dict[Data, Estimate]:
        """Estimate the dimension by every estimator that the frame's stages allow."""
        if self.replayed is None:
            return {}
        return estimates(self.replayed, label_of(self.sweep))


def read_frame(
    sweep: SweepData,
    frame: int | None = None,
    *,
    table: pa.Table | None = None,
    coarse: bool = False,
) -> FrameData:
    """Read a frame of a dataset; the last one by default.

    Parameters
    ----------
    frame
        Number of the frame; None for the last one.
    table
        Rows of `points/`; None reads them from the dataset.
    coarse
        Read the frame's grid instead of its refinement.
    """
    lattice = sweep.frame(frame)
    if coarse:
        lattice = grid_of(lattice)
    table = sweep.table() if table is None else table
    return fill_frame(sweep, lattice, table, sweep.store().read_failures(skip_corrupt=True))


def grid_of(lattice: SweepFrame) -> SweepFrame:
    """Return the grid of a frame, without its refinement."""
    return replace(lattice, level=0, refinement=None)


def fill_frame(
    sweep: SweepData, lattice: SweepFrame, table: pa.Table, failures: pa.Table
) -> FrameData:
    """Put the rows of a dataset on a frame's finest lattice by their exact values.

    While the frame is not finished, `replayed` of the result is None and the raster has the points
    that have been run.

    Parameters
    ----------
    sweep
        The sweep. Its label decides the outcomes of the runs, and is the label whose border the
        refinement followed.
    lattice
        The frame. In a grid, nodes without a row are unknown. In a refined frame, nodes that its
        stages did not request have the label of the cell that they lie in, an outcome if that cell
        implies one, and no loss. Rows of other frames on such nodes are left out: the stages of
        those frames chose them, not the stages of this frame.
    table
        Rows of `points/`.
    failures
        Rows of `failures/`. Points that were given up and have no row in `table` stay unknown, and
        so do the nodes around them whose label depends on these points alone.
    """
    spec, frame, level, rule = sweep.spec, lattice.frame, lattice.level, sweep.rule
    row_outcomes = outcomes(table, rule)
    told = [rule.told(each) for each in row_outcomes]
    replayed = replay(spec, lattice, answers_of(table, told, failures))
    cells_x, cells_y = frame.cells_x << level, frame.cells_y << level
    raster = _raster_of(frame, cells_x, cells_y, table, row_outcomes, spec.label.criterion)
    if level:
        planned = raster.known.copy()
        if replayed is not None:
            assert isinstance(replayed.field, RefinePlanner)
            planned[:] = False
            ix, iy, _ = replayed.field.labels()
            planned[iy, ix] = True
        else:
            lost_x, lost_y, _ = addresses_of(frame, cells_x, cells_y, failures)
            planned[lost_y, lost_x] = True
        raster = _infer(raster, frame, level, spec.label.boundary, planned)
    return FrameData(sweep, lattice, table, raster, replayed)


def _raster_of(
    frame: Frame,
    cells_x: int,
    cells_y: int,
    table: pa.Table,
    row_outcomes: list[Outcome],
    criterion: Criterion,
) -> Raster:
    """Return the raster of the rows that lie on a lattice."""
    x, y = np.asarray(frame.x.values(cells_x)), np.asarray(frame.y.values(cells_y))
    ix, iy, on_lattice = addresses_of(frame, cells_x, cells_y, table)
    codes = np.array([OUTCOME_CODES[each] for each in row_outcomes], dtype=np.int8)
    outcome = np.full((y.size, x.size), UNKNOWN, dtype=np.int8)
    loss = np.full((y.size, x.size), np.nan)
    outcome[iy, ix] = codes[on_lattice]
    loss[iy, ix] = table.column("final_loss").to_numpy()[on_lattice]
    long_window = np.zeros((y.size, x.size), dtype=np.bool_)
    long_window[iy, ix] = long_windows(table, criterion)[on_lattice]
    # Addresses that share a value (an integer axis) share the run.
    rows, columns = frame.y.addresses(y, cells_y), frame.x.addresses(x, cells_x)
    return Raster(
        outcome=outcome[np.ix_(rows, columns)],
        loss=loss[np.ix_(rows, columns)],
        x=x,
        y=y,
        x_name=frame.x.param,
        y_name=frame.y.param,
        x_scale=frame.x.scale,
        y_scale=frame.y.scale,
        long_window=long_window[np.ix_(rows, columns)] if long_window.any() else None,
    )


def addresses_of(
    frame: Frame, cells_x: int, cells_y: int, table: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the x and y addresses of the rows on the lattice, and a mask of these rows."""
    ix = frame.x.addresses(table.column("x").to_numpy(), cells_x)
    iy = frame.y.addresses(table.column("y").to_numpy(), cells_y)
    on_lattice = (ix >= 0) & (iy >= 0)
    return ix[on_lattice], iy[on_lattice], on_lattice


def _infer(
    raster: Raster, frame: Frame, level: int, boundary: str, planned: NDArray[np.bool_]
) -> Raster:
    """Return the raster with inferred outcomes at nodes that the stages did not plan."""
    # Runs at nodes that this frame's stages did not plan belong to another frame.
    raster = replace(
        raster,
        outcome=np.where(planned, raster.outcome, UNKNOWN).astype(np.int8),
        loss=np.where(planned, raster.loss, np.nan),
        long_window=None if raster.long_window is None else raster.long_window & planned,
    )
    filled = {each: _filled(raster, frame, level, each, planned) for each in BOUNDARIES}
    # A node whose refined label is unknown stays unknown: the frame is not finished there.
    inferred = (filled[boundary] != UNKNOWN) & ~raster.known
    outcome = raster.outcome.copy()
    codes = np.stack([filled[each] for each in ("trainable", "stable", "broken")])
    for implied, code in _IMPLIED.items():
        matches = (codes == np.array(implied, dtype=np.int8)[:, None, None]).all(axis=0)
        outcome[inferred & matches] = code
    return replace(raster, outcome=outcome, inferred=inferred)


def _filled(
    raster: Raster, frame: Frame, level: int, boundary: str, planned: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Return the label of every node: that of its run, or of the cell that it lies in."""
    iy, ix = np.nonzero(planned)
    node_labels = labels(raster, boundary)[iy, ix]
    size = {"cells_x": frame.cells_x, "cells_y": frame.cells_y, "levels": level}
    return infer_labels(ix, iy, node_labels, **size)[0]
