"""Measures of whole loss curves, on a frame's lattice."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.dataset.relabel import outcomes
from fractal_ray.errors import SweepError
from fractal_ray.figures.coloring import fill_inferred
from fractal_ray.plane.boundary import Raster, is_yes
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Criterion
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.workloads.mlp.measure import measure

Floats = NDArray[np.float64]
Rows = Callable[[LabelRule, pa.Table], Floats]

_AT_ONCE = 4096


def measures(rule: LabelRule, table: pa.Table) -> Floats:
    """Return the convergence measure of every row (`workloads/mlp/measure.py`); yes is below 0.

    Parameters
    ----------
    rule
        The rule that decides which runs count as converged.
    table
        Rows of `points/`; the longest run counts as complete.

    Returns
    -------
    (rows,) float64: -sum(v) or +sum(1/v), v = losses / first loss.

    Raises
    ------
    SweepError
        If rows lack parts of their curves.
    """
    yes = np.array([is_yes(each, rule.boundary) for each in outcomes(table, rule)])
    steps = _longest(table)
    chunks = [measure(curves, steps, yes[rows]) for rows, curves in _curves(table, steps)]
    # A run without a finite loss counts as the fastest to diverge.
    return np.nan_to_num(np.concatenate(chunks), nan=0.0, posinf=np.inf, neginf=-np.inf)


def settled(rule: LabelRule, table: pa.Table) -> Floats:
    """Return the steps after which each row shows its final outcome, even if it is stopped there.

    Parameters
    ----------
    rule, table
        As in `measures`.

    Returns
    -------
    (rows,) float64: of a diverged run, the steps up to its first loss that is not finite; of
    another, the number of losses from which the label of the curve so far no longer changes.

    Raises
    ------
    SweepError
        As `measures`.
    """
    chunks = [_settled(curves, rule.criterion) for _, curves in _curves(table, _longest(table))]
    at = table.column("diverged_step").to_numpy()
    return np.where(np.isnan(at), np.concatenate(chunks), at + 1.0)


def on_lattice(
    rule: LabelRule, lattice: SweepFrame, table: pa.Table, raster: Raster, rows: Rows
) -> Floats:
    """Put a measure of rows on a frame's finest lattice.

    Parameters
    ----------
    rule
    lattice, raster
        The frame and its outcomes.
    table
        Rows of `points/`.
    rows
        `measures` or `settled`.

    Returns
    -------
    (ny, nx) float64, NaN where unknown; inferred nodes as in `coloring.fill_inferred`.
    """
    frame, level = lattice.frame, lattice.level
    cells = frame.cells_x << level, frame.cells_y << level
    ix = frame.x.addresses(table.column("x").to_numpy(), cells[0])
    iy = frame.y.addresses(table.column("y").to_numpy(), cells[1])
    here = (ix >= 0) & (iy >= 0)
    values = np.full(raster.outcome.shape, np.nan)
    if here.any():
        values[iy[here], ix[here]] = rows(rule, table.filter(pa.array(here)))
    # Addresses that share a value (an integer axis) share the run.
    nodes = np.ix_(
        frame.y.addresses(raster.y, cells[1]),
        frame.x.addresses(raster.x, cells[0]),
    )
    return fill_inferred(np.where(raster.measured, values[nodes], np.nan), raster, rule.boundary)


def _longest(table: pa.Table) -> int:
    """Return the steps of a complete run; refuse rows with incomplete curves."""
    steps = table.column("steps").to_numpy()
    lengths = np.array(table.column("losses").combine_chunks().value_lengths())
    if not lengths.any():
        raise SweepError("this figure needs loss curves, and the runs of this dataset have none")
    if (lengths < steps).any():
        raise SweepError(
            "this figure needs whole loss curves, and the runs of this dataset kept only parts of"
            " theirs (workload.kept_losses)"
        )
    return int(steps.max())


def _curves(table: pa.Table, steps: int) -> Iterator[tuple[slice, Floats]]:
    """Yield `_AT_ONCE` rows at a time: (rows, steps) losses, NaN after the end of a curve."""
    losses = table.column("losses").combine_chunks()
    offsets, flat = losses.offsets.to_numpy(), losses.values.to_numpy(zero_copy_only=False)
    for start in range(0, table.num_rows, _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, table.num_rows))
        ends = offsets[rows.start : rows.stop + 1]
        curves = np.full((rows.stop - rows.start, steps), np.nan)
        curves[np.arange(steps) < np.diff(ends)[:, None]] = flat[ends[0] : ends[-1]]
        yield rows, curves


def _settled(curves: Floats, criterion: Criterion) -> Floats:
    known = ~np.isnan(curves)
    length = known.sum(axis=1)
    steps = curves.shape[1]
    window = min(criterion.window, steps)
    count = np.minimum(np.arange(1, steps + 1), window)
    # Each window by itself: in the difference of two long sums a huge loss swallows the others.
    losses, sums = np.where(known, curves, 0.0), np.zeros_like(curves)
    for back in range(window):
        sums[:, back:] += losses[:, : steps - back]
    with np.errstate(invalid="ignore", divide="ignore"):
        yes = sums / count / curves[:, :1] < criterion.threshold
    yes &= curves[:, :1] > 0
    last = np.take_along_axis(yes, np.maximum(length, 1)[:, None] - 1, axis=1)
    other = np.where(known & (yes != last), np.arange(1, steps + 1), 0)
    return other.max(axis=1) + 1.0
