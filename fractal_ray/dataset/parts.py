"""The part files and their tables: functions that encode, check and clean them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset.rows import BEFORE_COLUMNS
from fractal_ray.errors import SweepError
from nanochat.files.git_lfs import is_pointer, pointer_message


def filesystem_at(location: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a location and the path in it."""
    if "://" not in location:
        return pafs.LocalFileSystem(), str(Path(location).expanduser().absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(location)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SweepError(
            f"storage {location!r} is not a folder or a URI that pyarrow knows: {error}"
        ) from error
    return filesystem, root.rstrip("/")


def to_parquet(table: pa.Table, metadata: dict[bytes, bytes]) -> pa.Buffer:
    """Return the bytes of a part."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def lacks_columns(filesystem: pafs.FileSystem, part: str, schema: pa.Schema) -> bool:
    """Return True if a part was written before one of the present columns existed."""
    return not set(schema.names) <= set(pq.read_schema(part, filesystem=filesystem).names)


def is_readable(filesystem: pafs.FileSystem, part: str) -> bool:
    """Return False for a part whose bytes are wrong; raise errors of the file system."""
    try:
        with filesystem.open_input_file(part) as file:
            pq.ParquetFile(file).read()
    except pa.ArrowException:
        return False
    except OSError as error:
        if error.errno is not None:
            raise
        return False  # Arrow raises OSError without errno for bytes that it cannot decode
    return True


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


DROP_REPEATED = {"points": drop_repeated_points, "failures": drop_repeated_failures}
"""Functions that drop repeated rows, by kind of part."""


def refuse_git_lfs_pointer(path: str) -> None:
    """Refuse a file of this machine that is a pointer of git-lfs; others are left to their reader.

    Raises
    ------
    SweepError
        The message has the command that fetches the file.
    """
    if is_pointer(Path(path)):
        raise SweepError(pointer_message(Path(path)))


def corrupt_message(bad: list[str], total: int) -> str:
    """Return the message for parts that cannot be read."""
    names = "\n".join(f"  {part}" for part in bad)
    pointers = [Path(part) for part in bad if is_pointer(Path(part))]
    if pointers:  # restoring or deleting them is not needed
        return (
            f"{len(bad)} of {total} parts of the dataset cannot be read:\n{names}\n"
            f"{len(pointers)} of them were not fetched: {pointer_message(pointers[0])}"
        )
    return (
        f"{len(bad)} of {total} parts of the dataset cannot be read:\n{names}\n"
        "Their points count as not run. To go on without them: --skip-corrupt. To mend it: restore"
        " the files from a copy, or delete them and run the same command again."
    )
