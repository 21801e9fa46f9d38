"""The part files and their tables: functions that name, encode, check and clean them.

The name of a part ends in a digest of its bytes, so flipped bits never pass as other values.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset.rows import (
    BEFORE_COLUMNS,
    METRIC,
    NULLABLE_COLUMNS,
    OPTIONAL_COLUMNS,
    PARTITION,
    with_columns,
)
from fractal_ray.errors import SweepError
from fractal_ray.plane.outcome import Outcome
from nanochat.errors import quoted, shortened, user_path
from nanochat.files.git_lfs import is_pointer, pointer_message

DIGEST_BYTES: Final = 16
_WITH_DIGEST: Final = re.compile(r"part-\d{20}(?:-g\d+)?-([0-9a-f]{32})\.parquet")
_CHUNK: Final = 1 << 20
_READERS: Final = 8
_PLACE: Final = re.compile(r"/frame=\d{1,9}/level=\d{1,4}/[^/]+$")
_OWN: Final[dict[tuple[str, str, int, int, str], frozenset[str]]] = {}
"""Columns of metrics of the parts whose schema was compared, by file system, path, size, time, and
the facts of the sweep."""
_INTACT: Final[set[tuple[str, str, int, int]]] = set()
"""Parts whose bytes were compared with their digests: file system, path, size and time."""


_CONNECT_SECONDS = 5.0
_SILENT_SECONDS = 10.0  # of a request to S3 without an answer
_ATTEMPTS = 3
_OUTCOMES = frozenset(Outcome)
_LARGEST_ADDRESS = 2**62
_LATEST = 253_402_300_800 * 10**6  # microseconds from 1970 to the year 10000
_STAGE = re.compile(r"(\d+|verify|advise):.*", re.DOTALL)
METADATA_KEY: Final = b"fractal_ray"
"""Key of the facts of a sweep in the schema of a part."""
IDENTITY: Final = ("fingerprint", "axes", "recipe")
"""Facts that a part shares with `sweep.json`; older parts have no recipe."""


@dataclass(frozen=True)
class Rules:
    """Facts that the parts of a dataset share.

    Parameters
    ----------
    schema
        Columns of the parts.
    identity
        Facts of `sweep.json` that stand in the metadata of each part; empty without the file.
    """

    schema: pa.Schema
    identity: Mapping[str, Any]


def filesystem_at(location: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a location and the path in it."""
    if "://" not in location:
        return pafs.LocalFileSystem(), str(user_path(location, SweepError).absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(location)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SweepError(
            f"storage {quoted(location)} is not a folder or a URI that pyarrow knows:"
            f" {shortened(error)}"
        ) from error
    return _patient(filesystem), root.rstrip("/")


def _patient(filesystem: pafs.FileSystem) -> pafs.FileSystem:
    """Return a client of S3 that gives up after half a minute, and other file systems as they are.

    The client of a URI repeats a request some thirty times, three seconds each.
    """
    if not isinstance(filesystem, pafs.S3FileSystem):
        return filesystem
    _, (options,) = filesystem.__reduce__()  # pickling keeps all options, those of the URI too
    return pafs.S3FileSystem(
        **{
            **options,
            "connect_timeout": _CONNECT_SECONDS,
            "request_timeout": _SILENT_SECONDS,
            "retry_strategy": pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        }
    )


def has_digest(part: str) -> bool:
    """Return True if the name of a part ends in a digest of its bytes."""
    return _WITH_DIGEST.fullmatch(part.rsplit("/", 1)[-1]) is not None


def is_intact(filesystem: pafs.FileSystem, part: pafs.FileInfo) -> bool:
    """Return False for a part whose bytes do not have the digest in its name.

    The bytes of a file are read once in a process, unless its size or time changes. A part without
    a digest counts as intact.

    Raises
    ------
    OSError
        If the file system refuses.
    """
    match = _WITH_DIGEST.fullmatch(part.base_name)
    if match is None:
        return True
    key = _key(filesystem, part)
    if key not in _INTACT:
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with filesystem.open_input_stream(part.path) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != match[1]:
            return False
        _INTACT.add(key)
    return True


def _key(filesystem: pafs.FileSystem, part: pafs.FileInfo) -> tuple[str, str, int, int]:
    return filesystem.type_name, part.path, part.size, part.mtime_ns


def damaged_parts(filesystem: pafs.FileSystem, parts: Sequence[pafs.FileInfo]) -> list[str]:
    """Return the paths of the parts whose bytes do not have the digest in their names."""
    if isinstance(filesystem, pafs.LocalFileSystem):  # threads would cost memory
        return [part.path for part in parts if not is_intact(filesystem, part)]
    with ThreadPoolExecutor(_READERS) as pool:
        intact = list(pool.map(lambda part: is_intact(filesystem, part), parts))
    return [part.path for part, fits in zip(parts, intact, strict=True) if not fits]


def read_own_parts(
    filesystem: pafs.FileSystem,
    parts: Sequence[pafs.FileInfo],
    columns: list[str] | None,
    rules: Rules,
) -> pa.Table:
    """Return the rows of parts like `read_parts`, and refuse parts of other sweeps.

    Raises
    ------
    SweepError
        The message names the parts that this sweep has not written.
    """
    paths = [part.path for part in parts]
    refuse(filesystem, foreign_parts(filesystem, parts, rules), len(parts))
    metrics = metric_columns(filesystem, parts, rules)
    metrics.update(name for name in columns or () if name.startswith(METRIC))
    schema = with_columns(rules.schema, metrics) if metrics else rules.schema
    table = read_parts(filesystem, paths, schema, columns)
    if row_problem(table):
        tables = ((part, read_parts(filesystem, [part], schema, columns)) for part in paths)
        refuse(filesystem, {part: row_problem(rows) for part, rows in tables}, len(parts))
    return table


def foreign_parts(
    filesystem: pafs.FileSystem, parts: Sequence[pafs.FileInfo], rules: Rules
) -> dict[str, str]:
    """Return the reasons why parts are of another sweep or program, by path.

    The schema of a file is read once in a process, unless its size or time changes.
    """
    reasons = {}
    facts = json.dumps(rules.identity, sort_keys=True)
    for part in parts:
        key = (*_key(filesystem, part), facts)
        if key in _OWN:
            continue
        if not _PLACE.search(part.path):
            reasons[part.path] = "its folder is not frame=<number>/level=<number>"
            continue
        schema = pq.read_schema(part.path, filesystem=filesystem)
        if problem := schema_problem(schema, rules):
            reasons[part.path] = problem
            continue
        if (
            not facts_of(schema).keys() & {"fingerprint", "axes"}
            and "fingerprint" in rules.identity
        ):
            # An older `fractal-ray compact` left the facts out; the rows have the fingerprint.
            rows = read_parts(filesystem, [part.path], rules.schema, ["fingerprint"])
            if others := {*rows["fingerprint"].to_pylist()} - {rules.identity["fingerprint"]}:
                reasons[part.path] = difference("fingerprint", min(map(str, others)), rules)
                continue
        _OWN[key] = frozenset(name for name in schema.names if name.startswith(METRIC))
    return reasons


def metric_columns(
    filesystem: pafs.FileSystem, parts: Sequence[pafs.FileInfo], rules: Rules
) -> set[str]:
    """Return the columns of metrics that own parts have; `foreign_parts` has read their schemas."""
    facts = json.dumps(rules.identity, sort_keys=True)
    return {name for part in parts for name in _OWN.get((*_key(filesystem, part), facts), ())}


def refuse(filesystem: pafs.FileSystem, reasons: Mapping[str, str], total: int) -> None:
    """Refuse parts with a reason, with the command that moves them out of the dataset."""
    foreign = {part: reason for part, reason in reasons.items() if reason}
    if not foreign:
        return
    if not isinstance(filesystem, pafs.LocalFileSystem):
        way = "rename these objects with your object store's tools so that they end in .foreign"
    elif len(foreign) == 1:
        name = shlex.quote(next(iter(foreign)))
        way = f"mv {name} {name}.foreign"
    else:
        names = " ".join(map(shlex.quote, foreign))
        way = f'for part in {names}; do mv "$part" "$part.foreign"; done'
    if len(foreign) == 1:
        lines = "".join(f"{part} is no part of this sweep: {foreign[part]}." for part in foreign)
        raise SweepError(f"{lines} Nothing was changed. Move it away: {way}")
    lines = "\n".join(f"  {part}: {reason}" for part, reason in foreign.items())
    raise SweepError(
        f"{len(foreign)} of {total} parts of the dataset are not of this sweep:\n{lines}\nNothing"
        f" was changed. Move them away: {way}"
    )


def read_parts(
    filesystem: pafs.FileSystem,
    parts: Sequence[str],
    schema: pa.Schema,
    columns: list[str] | None = None,
) -> pa.Table:
    """Return the rows of parts, repeated rows included; `columns` None for all."""
    full = pa.schema([*schema, *PARTITION])
    if not parts:
        empty = full.empty_table()
        return empty if columns is None else empty.select(columns)
    dataset = ds.dataset(
        list(parts),
        schema=full,
        format="parquet",
        filesystem=filesystem,
        partitioning=ds.partitioning(PARTITION, flavor="hive"),
    )
    return with_defaults(dataset.to_table(columns=columns))


def row_problem(table: pa.Table) -> str:
    """Return the first reason why columns of a table cannot be read as rows; "" without one.

    Rows that fractal-ray has written have no such reason.
    """
    for name in table.column_names:
        column = table.column(name)
        nullable = name in NULLABLE_COLUMNS or name.startswith(METRIC)
        if column.null_count and not nullable:
            return f"its column {name} has {column.null_count} empty values"
        if not len(column):
            continue
        if name in ("ix", "iy"):
            numbers = column.to_numpy()
            if numbers.min() < 0 or numbers.max() >= _LARGEST_ADDRESS:
                return f"its column {name} has numbers that are no address of a lattice"
        elif name == "created_at":
            times = column.cast(pa.int64()).to_numpy()
            if times.min() < 0 or times.max() >= _LATEST:
                return "its column created_at has times outside the years 1970 to 9999"
        elif name == "outcome" and (strange := {*column.unique().to_pylist()} - _OUTCOMES):
            return f"its column outcome has {min(strange)[:40]!r}; allowed: {', '.join(Outcome)}"
        elif name == "stage":
            for stage in column.unique().to_pylist():
                if not _STAGE.fullmatch(stage):
                    return f"its column stage has {stage[:40]!r}, which names no stage"
    return ""


def _column_problem(schema: pa.Schema, expected: pa.Schema) -> str:
    """Return the first reason why a schema lacks columns of another one; "" without one."""
    for column in expected:
        count = schema.names.count(column.name)
        if count > 1:
            return f"it has the column {column.name} {count} times"
        if not count and column.name not in OPTIONAL_COLUMNS:
            return f"it lacks the column {column.name}"
        if count and _family(schema.field(column.name).type) != _family(column.type):
            found = str(schema.field(column.name).type)[:40]
            return f"its column {column.name} has the type {found}, not {column.type}"
    return ""


def _family(type_: pa.DataType) -> str:
    """Return a name that types share if one is read as the other."""
    types = pa.types
    if types.is_dictionary(type_):
        return _family(type_.value_type)
    if types.is_list(type_) or types.is_large_list(type_):
        return f"list of {_family(type_.value_type)}"
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "text"
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_timestamp)
    return next((test.__name__ for test in tests if test(type_)), str(type_))


def schema_problem(schema: pa.Schema, rules: Rules) -> str:
    """Return the reason why a schema is not that of a dataset's parts; "" without one."""
    if problem := _column_problem(schema, rules.schema):
        return problem
    if not rules.identity:
        return ""
    facts = facts_of(schema)
    if not facts:
        return "it has no metadata of a sweep"
    for name in IDENTITY:
        if name in facts and name in rules.identity and not _is_same(facts, rules.identity, name):
            return difference(name, facts[name], rules)
    return ""


def difference(name: str, theirs: Any, rules: Rules) -> str:
    if name == "fingerprint":
        return f"its fingerprint is {theirs!r:.60}, that of sweep.json {rules.identity[name]!r:.60}"
    return f"its {name} is not that of sweep.json"


def facts_of(schema: pa.Schema) -> dict[str, Any]:
    """Return the facts in the metadata of a part; none if they are not a JSON object."""
    try:
        facts = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    """Compare a value of two JSON objects; a missing value equals null."""
    a, b = one.get(name), other.get(name)
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_is_same(a, b, each) for each in {*a, *b})
    return a == b


def with_defaults(table: pa.Table) -> pa.Table:
    """Fill the columns that did not exist when the rows were written."""
    for name, value in BEFORE_COLUMNS.items():
        index = table.schema.get_field_index(name)
        if index >= 0 and table.column(index).null_count:
            field = table.schema.field(index)
            table = table.set_column(index, field, table.column(index).fill_null(value))
    return table


def drop_repeated_points(table: pa.Table) -> pa.Table:
    """Keep the first row of each point."""
    ids = table.column("point_id").combine_chunks().dictionary_encode()
    if len(ids.dictionary) == len(ids):
        return table
    _, first = np.unique(ids.indices.to_numpy(zero_copy_only=False), return_index=True)
    return table.take(pa.array(np.sort(first)))


def drop_repeated_failures(failures: pa.Table) -> pa.Table:
    """Keep one row of each failure.

    A point may have several failures. One failure has two rows if a process was killed while it
    joined parts.
    """
    names = set()
    rows = []
    keys = failures.select(["point_id", "attempt", "created_at", "error"]).to_pylist()
    for index, key in enumerate(keys):
        if (name := tuple(key.values())) not in names:
            names.add(name)
            rows.append(index)
    return failures if len(rows) == failures.num_rows else failures.take(pa.array(rows))


def refuse_git_lfs_pointer(path: str) -> None:
    """Refuse a file of this machine that is a pointer of git-lfs; others are left to their reader.

    Raises
    ------
    SweepError
        The message has the command that fetches the file.
    """
    if is_pointer(Path(path)):
        raise SweepError(pointer_message(Path(path)))
