"""The columns of rows: texts and values that they cannot hold."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from fractal_ray.dataset.rows import (
    Evaluation,
    Failure,
    Origin,
    failures_table,
    points_table,
    unwritable_records,
)
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord

HALF = "b\udce4d"  # Python's form of a file name that is not UTF-8


def origin() -> Origin:
    point = Point(0, 0, 1, 2, 1e-3, 1e-2)
    return Origin("id", f"0:{HALF}", point, 7, HALF, HALF, 1, "print", datetime.now(UTC))


def test_texts_with_half_a_surrogate_pair_are_written_escaped() -> None:
    failure = failures_table([Failure(origin(), "error", HALF, f"trace of {HALF}", True)])
    point = points_table([Evaluation(origin(), RunRecord(Outcome.DIVERGED, HALF, kernels=HALF))])
    written = "b\\udce4d"
    for name in ("error", "host", "device"):
        assert failure.column(name).to_pylist() == [written]
    assert failure.column("traceback").to_pylist() == [f"trace of {written}"]
    for name in ("reason", "kernels", "host", "device"):
        assert point.column(name).to_pylist() == [written]
    kept = points_table([Evaluation(origin(), RunRecord(Outcome.DIVERGED, "é … שלום"))])
    assert kept.column("reason").to_pylist() == ["é … שלום"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"diverged_step": 2**70}, "too large"),
        ({"seconds": "long"}, "'long'"),
        ({"reason": 3}, "'int'"),
        ({"losses": np.ones((2, 2))}, "dimension"),
        ({"losses": None}, "NoneType"),
        ({"outcome": "trained"}, "'value'"),
        ({"metrics": {"acc": "high"}}, "its metrics are not floats by name"),
        ({"metrics": {"top 1": 0.5}}, "its metrics are not floats by name"),
    ],
)
def test_a_record_that_no_row_can_hold_is_found(values: dict[str, Any], reason: str) -> None:
    good = RunRecord(Outcome.TRAINED, losses=np.ones(3, np.float32), final_loss=1.0)
    bad = RunRecord(**{"outcome": Outcome.TRAINED, **values})
    reasons = unwritable_records([good, bad, good])
    assert list(reasons) == [1]
    assert reason in reasons[1]
    assert "outcome" in unwritable_records([{"loss": 1.0}])[0]


def test_unusual_values_that_rows_can_hold_are_no_fault() -> None:
    unusual = [
        RunRecord(Outcome.TRAINED, losses=np.ones(3), seconds=np.float32(1)),  # pyright: ignore[reportArgumentType]
        RunRecord(Outcome.TRAINED, tokens_seen=2**40, first_loss=1, steps=np.int64(3)),  # pyright: ignore[reportArgumentType]
        RunRecord(Outcome.DIVERGED, HALF),
    ]
    assert unwritable_records(unusual) == {}
    assert points_table([Evaluation(origin(), record) for record in unusual]).num_rows == 3
