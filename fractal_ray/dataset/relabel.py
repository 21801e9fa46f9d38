"""The outcomes of stored runs under the label rule of a sweep, without training again."""

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Criterion, Outcome

RULE_COLUMNS = ("outcome", "losses", "x", "y", "val_loss")
"""Columns that the rule reads."""
_BY_TEXT = {outcome.value: outcome for outcome in Outcome}
_Row = tuple[Outcome, NDArray[np.float32], float, float, float]


def outcomes(table: pa.Table, rule: LabelRule) -> list[Outcome]:
    """Return the outcome of each row under a rule, with the parts of `not_improved`.

    Parameters
    ----------
    table
        Rows with `RULE_COLUMNS`.
    rule

    Notes
    -----
    A row without a loss curve (from a workload with known answers) keeps its stored outcome.
    Divergence depends on no rule.

    Raises
    ------
    SweepError
        If the reference of the rule is not known.
    """
    if not any(len(chunk.flatten()) for chunk in table.column("losses").chunks):
        return [_BY_TEXT[text] for text in table.column("outcome").to_pylist()]
    _check_reference(table, rule)
    return [rule.outcome(*row) for row in _rows(table)]


def outcomes_by_id(table: pa.Table, rule: LabelRule) -> dict[str, Outcome]:
    """Return outcomes under `rule` by point_id."""
    ids = table.column("point_id").to_pylist()
    return dict(zip(ids, outcomes(table, rule), strict=True))


def ratios(table: pa.Table, rule: LabelRule) -> NDArray[np.float64]:
    """Return the number that the threshold limits by row, under `rule`; NaN without a curve."""
    rows = (rule.ratio(*row[1:]) for row in _rows(table))
    return np.fromiter(rows, dtype=np.float64, count=table.num_rows)


def long_windows(table: pa.Table, criterion: Criterion) -> NDArray[np.bool_]:
    """Return True for each row whose label window is more than half of its steps.

    Rows that diverged or have no curve are left out, and all rows where the label depends on no
    window (reference `held_out`).

    Parameters
    ----------
    table
        Rows with the columns `outcome`, `losses` and `steps`.
    criterion
    """
    if criterion.reference == "held_out":
        return np.zeros(table.num_rows, dtype=np.bool_)
    steps = table.column("steps").to_numpy()
    return ended_with_curve(table) & (2 * criterion.window > steps)


def ended_with_curve(table: pa.Table) -> NDArray[np.bool_]:
    """Return True for each row that has a loss curve and has not diverged."""
    ended = table.column("outcome").to_numpy(zero_copy_only=False) != Outcome.DIVERGED.value
    return ended & has_curve(table)


def has_curve(table: pa.Table) -> NDArray[np.bool_]:
    """Return True for each row with a loss curve."""
    return np.diff(table.column("losses").combine_chunks().offsets.to_numpy()) > 0


def curves(table: pa.Table) -> Iterator[NDArray[np.float32]]:
    """Yield the loss curve of each row, float32."""
    losses = table.column("losses").combine_chunks()
    offsets = losses.offsets.to_numpy()
    flat = losses.values.to_numpy(zero_copy_only=False)
    return (flat[start:end] for start, end in itertools.pairwise(offsets))


def _rows(table: pa.Table) -> Iterator[_Row]:
    stored = (_BY_TEXT[text] for text in table.column("outcome").to_pylist())
    places = (table.column(name).to_numpy().tolist() for name in ("x", "y"))
    return zip(stored, curves(table), *places, _val_losses(table).tolist(), strict=True)


def _val_losses(table: pa.Table) -> NDArray[np.float64]:
    """Return the validation losses by row; NaN where a part has no such column."""
    if "val_loss" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return table.column("val_loss").to_numpy()


def _check_reference(table: pa.Table, rule: LabelRule) -> None:
    """Refuse a rule that needs numbers which were not measured."""
    reference = rule.criterion.reference
    if reference == "same_batches" and rule.source == "stand-in":
        raise SweepError(
            "label.reference is same_batches, and this dataset has no losses of the untouched"
            " model; `fractal-ray advise SWEEP --baseline` adds them, or take first_loss"
        )
    if reference == "held_out":
        finished = table.column("outcome").to_numpy(zero_copy_only=False) != Outcome.DIVERGED.value
        lacking = int(np.count_nonzero(finished & np.isnan(_val_losses(table))))
        if rule.baseline.val_loss is None or lacking:
            raise SweepError(
                f"label.reference is held_out, and {lacking:,} of {table.num_rows:,} rows"
                f"{'' if rule.baseline.val_loss is not None else ' and the untouched model'} have"
                " no validation loss; run the sweep with workload.data.validation, or take"
                " first_loss"
            )
