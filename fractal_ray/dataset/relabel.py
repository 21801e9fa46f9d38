"""The outcomes of stored runs under another window or threshold, without training again."""

import itertools
import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.plane.outcome import Criterion, Outcome

_BY_TEXT = {outcome.value: outcome for outcome in Outcome}


def outcomes(table: pa.Table, criterion: Criterion) -> list[Outcome]:
    """Return the outcome of each row under `criterion`.

    Parameters
    ----------
    table
        Rows with `outcome`, `losses` and `diverged_step`.

    Notes
    -----
    A row without a loss curve (from a workload with known answers) keeps its stored outcome.
    Divergence depends on no criterion.
    """
    stored = [_BY_TEXT[text] for text in table.column("outcome").to_pylist()]
    if not any(len(chunk.flatten()) for chunk in table.column("losses").chunks):
        return stored
    changed = []
    for outcome, ratio in zip(stored, ratios(table, criterion).tolist(), strict=True):
        if outcome is Outcome.DIVERGED or ratio is None or math.isnan(ratio):
            changed.append(outcome)
        else:
            improved = ratio < criterion.threshold
            changed.append(Outcome.TRAINED if improved else Outcome.NOT_IMPROVED)
    return changed


def outcomes_by_id(table: pa.Table, criterion: Criterion) -> dict[str, Outcome]:
    """Return outcomes under `criterion` by point_id."""
    ids = table.column("point_id").to_pylist()
    return dict(zip(ids, outcomes(table, criterion), strict=True))


def ratios(table: pa.Table, criterion: Criterion) -> NDArray[np.float64]:
    """Return the tail mean over the first loss by row, under `criterion`; NaN without a curve."""
    losses = table.column("losses").combine_chunks()
    offsets = losses.offsets.to_numpy()
    flat = losses.values.to_numpy(zero_copy_only=False)
    curves = (flat[start:end] for start, end in itertools.pairwise(offsets))
    return np.array([criterion.ratio(curve) for curve in curves], dtype=np.float64)
