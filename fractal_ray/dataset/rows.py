"""The rows of the dataset: their columns, and the conversion of runs to Arrow tables.

docs/storage.md explains each column.
"""

import itertools
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from fractal_ray.dataset.secrets import without_keys
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord

_WHERE = [
    ("point_id", pa.string()),
    ("stage", pa.string()),
    ("ix", pa.int64()),
    ("iy", pa.int64()),
    ("x", pa.float64()),
    ("y", pa.float64()),
    ("seed", pa.int64()),
]
_WHO = [
    ("host", pa.string()),
    ("device", pa.string()),
    ("attempt", pa.int32()),
    ("fingerprint", pa.string()),
    ("created_at", pa.timestamp("us", tz="UTC")),
]
PARTITION = pa.schema([("frame", pa.int32()), ("level", pa.int32())])

POINTS_SCHEMA = pa.schema(
    [
        *_WHERE,
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("diverged_step", pa.int64()),
        ("first_loss", pa.float64()),
        ("tail_loss", pa.float64()),
        ("ratio", pa.float64()),
        ("final_loss", pa.float64()),
        ("best_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("losses", pa.list_(pa.float32())),
        ("steps", pa.int64()),
        ("tokens_seen", pa.int64()),
        ("seconds", pa.float64()),
        ("deterministic", pa.bool_()),
        ("side_by_side", pa.int32()),
        ("kernels", pa.string()),
        *_WHO,
    ]
)
_RECORD_SCHEMA = pa.schema(
    [column for column in POINTS_SCHEMA if column.name not in {name for name, _ in _WHERE + _WHO}]
)
_VALUES = operator.attrgetter(*_RECORD_SCHEMA.names)
_USUAL = {
    "outcome": (Outcome,),
    "losses": (np.ndarray,),
    "diverged_step": (int, type(None)),
    "deterministic": (bool, type(None)),
}
_OF_ARROW = {pa.string(): (str,), pa.float64(): (float,), pa.int64(): (int,), pa.int32(): (int,)}
_USUAL_TYPES = frozenset(
    itertools.product(
        *(_USUAL.get(column.name) or _OF_ARROW[column.type] for column in _RECORD_SCHEMA)
    )
)
"""Types of a record's values, in the order of `_VALUES`, that need no trial."""
_FLOAT32, _BITS = np.dtype(np.float32), 31
BEFORE_COLUMNS: Mapping[str, int | str] = {"side_by_side": 1, "kernels": "", "run": ""}
"""Values assumed for rows written before these columns existed.

`deterministic` stays null in such rows, because the recipe of their sweep gives it; so does
`val_loss`, which was not measured.
"""
IF_MEASURED = ("val_loss",)
"""Columns that parts have only where a row has a value; so have those of metrics."""
METRIC = "metric_"
"""Start of the name of a column that holds a metric of a function."""
_METRIC_NAME = re.compile(r"\w{1,80}", re.ASCII)
OPTIONAL_COLUMNS = frozenset({"deterministic", *IF_MEASURED, *BEFORE_COLUMNS})
"""Columns that parts of older versions lack."""
NULLABLE_COLUMNS = OPTIONAL_COLUMNS | {
    "reason",
    "diverged_step",
    *("first_loss", "tail_loss", "ratio", "final_loss", "best_loss"),
}
"""Columns that may have empty values."""
FAILURES_SCHEMA = pa.schema(
    [
        *_WHERE,
        ("kind", pa.string()),
        ("error", pa.string()),
        ("traceback", pa.string()),
        ("gave_up", pa.bool_()),
        ("run", pa.string()),
        *_WHO,
    ]
)


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a row: the columns that evaluations and failures share."""

    point_id: str
    stage: str
    point: Point
    seed: int
    host: str
    device: str
    attempt: int
    fingerprint: str
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A row of `points/`: a run that finished, with any outcome."""

    origin: Origin
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of `failures/`: a run that a machine or a bug ended.

    `kind` is "error" (an exception), "out_of_memory", "lost_worker" (the process ended),
    "lost_node" or "timed_out" (the worker hung). `gave_up` is True on the last row of a point that
    is not tried again by `run`, the token of the driver that wrote the row.
    """

    origin: Origin
    kind: str
    error: str
    traceback: str
    gave_up: bool
    run: str = ""


def is_measured(column: str) -> bool:
    """Return True for a column that parts have only where a row has a value."""
    return column in IF_MEASURED or column.startswith(METRIC)


def with_columns(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return a schema with columns of metrics appended, in the order of their names."""
    more = sorted({name for name in names if name.startswith(METRIC)} - {*schema.names})
    return pa.schema([*schema, *(pa.field(name, pa.float64()) for name in more)])


def unwritable_records(records: Sequence[Any]) -> dict[int, str]:
    """Return the reasons why records of a workload cannot be rows, by the indices of the records.

    A record whose values have wrong types, or do not fit into their columns, would stop all rows
    that are written with it.
    """
    unusual = [index for index, record in enumerate(records) if not _is_usual(record)]
    if _refusal([records[index] for index in unusual]) is None:
        return {}
    reasons = ((index, _refusal([records[index]])) for index in unusual)
    return {index: reason for index, reason in reasons if reason is not None}


def _is_usual(record: Any) -> bool:
    """Return True if a record can be written for certain: a quick test of the usual types."""
    if type(record) is not RunRecord or tuple(map(type, _VALUES(record))) not in _USUAL_TYPES:
        return False
    losses = record.losses
    numbers = record.steps | record.tokens_seen | record.side_by_side | (record.diverged_step or 0)
    if losses.dtype is not _FLOAT32 or losses.ndim != 1 or numbers >> _BITS:
        return False
    return not record.metrics or _has_usual_metrics(record)


def _has_usual_metrics(record: RunRecord) -> bool:
    return all(
        type(value) is float and type(name) is str and _METRIC_NAME.fullmatch(name) is not None
        for name, value in record.metrics.items()
    )


def _refusal(records: Sequence[Any]) -> str | None:
    if not records:
        return None
    try:
        table = pa.table(_record_columns(records), schema=_RECORD_SCHEMA)
    except Exception as error:  # a workload may return anything
        return f"{type(error).__name__}: {error}"
    if not all(map(_has_usual_metrics, records)):
        return "its metrics are not floats by name"
    for name in table.column_names:
        if table.column(name).null_count and name not in NULLABLE_COLUMNS:
            return f"its {name} is empty"
    return None


def _text(value: Any) -> Any:
    r"""Return a text that UTF-8 can hold: half of a surrogate pair becomes ``\udce4``.

    Python puts such halves into names of files that are not UTF-8, and thus into messages.
    """
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", errors="backslashreplace").decode()


def _where(rows: Sequence[Evaluation] | Sequence[Failure]) -> dict[str, list[Any]]:
    origins = [row.origin for row in rows]
    points = [origin.point for origin in origins]
    return {
        "point_id": [origin.point_id for origin in origins],
        "stage": [_text(origin.stage) for origin in origins],
        "ix": [point.ix for point in points],
        "iy": [point.iy for point in points],
        "x": [point.x for point in points],
        "y": [point.y for point in points],
        "seed": [origin.seed for origin in origins],
        "host": [_text(origin.host) for origin in origins],
        "device": [_text(origin.device) for origin in origins],
        "attempt": [origin.attempt for origin in origins],
        "fingerprint": [origin.fingerprint for origin in origins],
        "created_at": [origin.created_at for origin in origins],
    }


def points_table(rows: list[Evaluation]) -> pa.Table:
    """Return evaluations as a table of `POINTS_SCHEMA`, with the columns of their metrics."""
    records = [row.record for row in rows]
    metrics = _metric_columns(records)
    columns = _where(rows) | _record_columns(records) | metrics
    return pa.table(columns, schema=with_columns(POINTS_SCHEMA, metrics))


def _metric_columns(records: Sequence[RunRecord]) -> dict[str, list[float]]:
    names = sorted({name for record in records for name in record.metrics})
    return {
        f"{METRIC}{name}": [record.metrics.get(name, math.nan) for record in records]
        for name in names
    }


def _record_columns(records: Sequence[RunRecord]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: [getattr(record, name) for record in records] for name in _RECORD_SCHEMA.names
    }
    columns["outcome"] = [record.outcome.value for record in records]
    for name in ("reason", "kernels"):
        columns[name] = [_text(text) for text in columns[name]]
    lengths = np.array([len(record.losses) for record in records], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = np.concatenate([record.losses for record in records], dtype=np.float32)
    columns["losses"] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
    return columns


def failures_table(rows: list[Failure]) -> pa.Table:
    """Return failures as a table of `FAILURES_SCHEMA`."""
    columns: dict[str, Any] = _where(rows)
    for name in ("error", "traceback"):
        columns[name] = [_text(without_keys(getattr(row, name))) for row in rows]
    for name in ("kind", "gave_up", "run"):
        columns[name] = [getattr(row, name) for row in rows]
    return pa.table(columns, schema=FAILURES_SCHEMA)
