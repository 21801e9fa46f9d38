"""The surface of a frame: losses, states and labels of its nodes, from the rows of a dataset."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.advice.surface import State, Surface
from fractal_ray.analysis.frame_data import FrameData, addresses_of
from fractal_ray.dataset.relabel import curves, has_curve, outcomes
from fractal_ray.plane.boundary import labels
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Outcome

ON_VALIDATION = "validation loss"
"""Name of the loss on the validation batches."""
STATES = {
    Outcome.TRAINED: State.TRAINED,
    Outcome.TOO_SLOW: State.TOO_SLOW,
    Outcome.DEGRADED: State.DEGRADED,
    Outcome.DIVERGED: State.DIVERGED,
    Outcome.TOO_SHORT: State.UNKNOWN,
    Outcome.NOT_IMPROVED: State.UNKNOWN,
}


@dataclass(frozen=True)
class FrameSurface:
    """The surface of a frame, with the name of its loss.

    Parameters
    ----------
    surface
    metric
        "validation loss", or "mean of the last N losses".
    lacking
        Number of finished runs without a validation loss, if some runs have one; else 0.
    steps, seconds
        (ny, nx) steps and time of each run, 0 where there is no run.
    tokens
        (ny, nx) supervised tokens that each run saw, 0 where there is no run.
    without_curve
        Number of finished runs on the frame that have no loss curve.
    """

    surface: Surface
    metric: str
    lacking: int
    steps: NDArray[np.int64]
    seconds: NDArray[np.float64]
    tokens: NDArray[np.int64]
    without_curve: int = 0

    @property
    def on_validation(self) -> bool:
        """Return True if the losses are those on the validation batches."""
        return self.metric == ON_VALIDATION

    @property
    def seen(self) -> NDArray[np.int64]:
        """Return steps and tokens of each run, (2, ny, nx); 0 where a run stopped early."""
        ended = self.surface.state != State.DIVERGED
        return np.where(ended, np.stack([self.steps, self.tokens]), 0)


def surface_of(data: FrameData) -> FrameSurface:
    """Return the losses and labels on the finest lattice of a frame.

    The labels are those of the border `broken`, whatever border the sweep followed.

    Parameters
    ----------
    data
        The frame under the spec's label.
    """
    raster, table, rule = data.raster, data.table, data.sweep.rule
    row_outcomes = outcomes(table, rule)
    finished = np.array([outcome is not Outcome.DIVERGED for outcome in row_outcomes], dtype=bool)
    val_loss = table.column("val_loss").to_numpy()
    lacking = int(np.count_nonzero(finished & ~np.isfinite(val_loss)))
    on_validation = lacking == 0 and bool(finished.any())
    tails, references = tails_of(table, rule)
    row_loss = val_loss if on_validation else tails
    ix, iy, on_lattice = _addresses(data, table)
    shape = raster.outcome.shape
    loss, state = np.full(shape, np.nan), np.full(shape, State.NOT_RUN, dtype=np.int8)
    untouched, steps = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    seconds, tokens = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    row_steps, row_seconds, row_tokens = (
        table.column(name).to_numpy() for name in ("steps", "seconds", "tokens_seen")
    )
    for at, row in zip(zip(iy, ix, strict=True), np.flatnonzero(on_lattice), strict=True):
        if not raster.measured[at]:
            continue  # a run of another frame, which this frame's stages did not choose
        state[at] = STATES[row_outcomes[row]]
        loss[at] = row_loss[row] if np.isfinite(row_loss[row]) else np.nan
        untouched[at] = references[row]
        steps[at], seconds[at] = row_steps[row], row_seconds[row]
        tokens[at] = row_tokens[row]
    _mark_failed(data, state)
    if on_validation:
        value = rule.baseline.val_loss
        reference = None if value is None else float(value)
    else:
        reference = untouched if np.isfinite(untouched).any() else None
    surface = Surface(
        loss=loss,
        state=state,
        broken=labels(raster, "broken"),
        measured=state_is_measured(state),
        x=raster.x,
        y=raster.y,
        x_name=raster.x_name,
        y_name=raster.y_name,
        x_scale="log" if raster.x_scale == "log" else "linear",
        y_scale="log" if raster.y_scale == "log" else "linear",
        untouched=reference,
    )
    window = rule.criterion.window
    metric = ON_VALIDATION if on_validation else f"mean of the last {window} losses"
    some = 0 < lacking < int(finished.sum())
    bare = finished & on_lattice & ~has_curve(table)
    some_lacking = lacking if some else 0
    return FrameSurface(surface, metric, some_lacking, steps, seconds, tokens, int(bare.sum()))


def state_is_measured(state: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return True where a run has ended with an outcome."""
    return (state != State.NOT_RUN) & (state != State.FAILED)


def tails_of(table: pa.Table, rule: LabelRule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, by row, the mean of the last losses, and that of the untouched model on these.

    Of a row without a curve it is the stored mean, or else its last loss.
    """
    stored, last = (table.column(name).to_numpy() for name in ("tail_loss", "final_loss"))
    tails = np.where(np.isfinite(stored), stored, last).astype(np.float64)
    references = np.full(table.num_rows, np.nan)
    places = (table.column(name).to_numpy().tolist() for name in ("x", "y"))
    for row, (curve, x, y) in enumerate(zip(curves(table), *places, strict=True)):
        if curve.size:
            tails[row] = rule.criterion.tail(curve)
            untouched = rule.untouched(curve, x, y)[0][: curve.size]
            references[row] = rule.criterion.tail(untouched)
    return tails, references


def _mark_failed(data: FrameData, state: NDArray[np.int8]) -> None:
    """Enter the points that have only failures."""
    failures = data.sweep.store().read_failures(skip_corrupt=True)
    ix, iy, _ = _addresses(data, failures)
    for at in zip(iy, ix, strict=True):
        if state[at] == State.NOT_RUN:
            state[at] = State.FAILED


def _addresses(
    data: FrameData, table: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    frame, level = data.lattice.frame, data.lattice.level
    return addresses_of(frame, frame.cells_x << level, frame.cells_y << level, table)
