"""Columns that a part has only where a row has a value."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fractal_ray.dataset.part_writing import to_parquet


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([math.nan, None], False),
        ([], False),
        ([math.nan, 2.5], True),
        ([math.inf, None], True),  # of a model that its last update has broken
    ],
)
def test_a_validation_loss_is_written_where_one_was_measured(
    values: list[float | None], written: bool
) -> None:
    table = pa.table({"x": [1.0] * len(values), "val_loss": pa.array(values, pa.float64())})
    part = pq.read_table(pa.BufferReader(to_parquet(table, {})))
    assert ("val_loss" in part.column_names) == written
    assert part.column("x").to_pylist() == [1.0] * len(values)
