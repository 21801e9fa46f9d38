"""New parts: their bytes and their names, which end in a digest of the bytes."""

import hashlib
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fractal_ray.dataset.parts import DIGEST_BYTES
from fractal_ray.dataset.rows import is_measured


def to_parquet(table: pa.Table, metadata: dict[bytes, bytes]) -> pa.Buffer:
    """Return the bytes of a part, with checksums of its pages for other readers.

    `val_loss` and the metrics are left out where no row has a value.
    """
    sink = pa.BufferOutputStream()
    unused = [name for name in table.column_names if is_measured(name) and _is_empty(table[name])]
    pq.write_table(
        table.drop_columns(unused).replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        write_page_checksum=True,
    )
    return sink.getvalue()


def _is_empty(column: pa.ChunkedArray) -> bool:
    """Return True if a column of numbers has no value but null and NaN."""
    return bool(np.isnan(column.to_numpy()).all())


def part_name(data: pa.Buffer, *, generation: int = 0, written_at: int | None = None) -> str:
    """Return the name of a new part: time in nanoseconds, generation (0: none), digest of bytes.

    The time comes first so that names sort in the order of writing; None for now.
    """
    at = time.time_ns() if written_at is None else written_at
    field = f"-g{generation}" if generation else ""
    digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()
    return f"part-{at:020d}{field}-{digest}.parquet"
