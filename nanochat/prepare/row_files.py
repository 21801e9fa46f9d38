"""Rows written to a JSONL or Parquet file as they come, so that few are in memory at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nanochat.errors import NanochatError
from nanochat.files.atomic import write_atomically
from nanochat.files.outputs import writing

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1024  # rows of a row group


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as lines of JSON; the file is there whole or not at all."""
    with writing(path):
        write_atomically(path, lambda file: file.writelines(map(_line, rows)))


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> None:
    """Write rows as Parquet; the file is there whole or not at all.

    Raises
    ------
    NanochatError
        For text that is no Unicode (half a surrogate pair), which Parquet cannot hold.
    """
    with writing(path):
        write_atomically(path, lambda file: _write_groups(file, iter(rows), schema))


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _write_groups(file: BinaryIO, rows: Iterator[Mapping[str, Any]], schema: "pa.Schema") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(rows, _ROWS)):
            try:
                batch = pa.RecordBatch.from_pylist(group, schema)
            except UnicodeEncodeError as error:
                raise NanochatError(f"a text cannot be stored in Parquet ({error})") from error
            writer.write_batch(batch)
