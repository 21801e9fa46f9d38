"""The part files and their tables: functions that name, encode, check and clean them.

The name of a part ends in a digest of its bytes, so flipped bits never pass as other values.
"""

import contextlib
import errno
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset.rows import BEFORE_COLUMNS, PARTITION
from fractal_ray.errors import StorageError, SweepError
from nanochat.errors import quoted, shortened, user_path
from nanochat.files.git_lfs import is_pointer, pointer_message

READ_ERRORS: Final = (pa.ArrowException, OSError, MemoryError)
"""Errors that reading parts raises."""
_DEVICE_ERRORS: Final = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN)
_DIGEST_BYTES: Final = 16
_WITH_DIGEST: Final = re.compile(r"part-\d{20}(?:-g\d+)?-([0-9a-f]{32})\.parquet")
_CHUNK: Final = 1 << 20
_READERS: Final = 8
_INTACT: Final[set[tuple[str, str, int, int]]] = set()
"""Parts whose bytes were compared with their digests: file system, path, size and time."""


@contextlib.contextmanager
def storage_faults(location: str) -> Iterator[None]:
    """Turn a failure of storage into a StorageError; that a file is missing passes."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = shortened(error.strerror or error)
        failure = StorageError(
            f"the storage of {shortened(location)} does not answer as it should: {reason}."
            " Nothing is known to be damaged; repeat the command when the storage can be reached"
        )
        failure.errno = error.errno
        raise failure from error


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
    return filesystem, root.rstrip("/")


def to_parquet(table: pa.Table, metadata: dict[bytes, bytes]) -> pa.Buffer:
    """Return the bytes of a part, with checksums of its pages for other readers."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        write_page_checksum=True,
    )
    return sink.getvalue()


def part_name(data: pa.Buffer, *, generation: int = 0, written_at: int | None = None) -> str:
    """Return the name of a new part: the time of writing, the generation, a digest of the bytes.

    Parameters
    ----------
    data
        Bytes of the part.
    generation
        Generation of the driver that writes; 0 for none.
    written_at
        Nanoseconds since 1970, first in the name so that names sort in the order of writing. None
        for now.
    """
    at = time.time_ns() if written_at is None else written_at
    field = f"-g{generation}" if generation else ""
    digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
    return f"part-{at:020d}{field}-{digest}.parquet"


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
    key = (filesystem.type_name, part.path, part.size, part.mtime_ns)
    if key not in _INTACT:
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        with filesystem.open_input_stream(part.path) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != match[1]:
            return False
        _INTACT.add(key)
    return True


def damaged_parts(filesystem: pafs.FileSystem, parts: Sequence[pafs.FileInfo]) -> list[str]:
    """Return the paths of the parts whose bytes do not have the digest in their names."""
    if isinstance(filesystem, pafs.LocalFileSystem):  # threads would cost memory
        return [part.path for part in parts if not is_intact(filesystem, part)]
    with ThreadPoolExecutor(_READERS) as pool:
        intact = list(pool.map(lambda part: is_intact(filesystem, part), parts))
    return [part.path for part, fits in zip(parts, intact, strict=True) if not fits]


def undecodable_parts(filesystem: pafs.FileSystem, parts: Sequence[pafs.FileInfo]) -> list[str]:
    """Return the paths of the parts without a digest that cannot be decoded."""
    return [
        part.path
        for part in parts
        if not has_digest(part.path) and not is_readable(filesystem, part)
    ]


def lacks_columns(filesystem: pafs.FileSystem, part: str, schema: pa.Schema) -> bool:
    """Return True if a part was written before one of the present columns existed."""
    return not set(schema.names) <= set(pq.read_schema(part, filesystem=filesystem).names)


def is_readable(filesystem: pafs.FileSystem, part: pafs.FileInfo) -> bool:
    """Return False for a part whose bytes are wrong.

    With a digest the bytes are compared with it, else the part is decoded.

    Raises
    ------
    OSError, MemoryError
        If the file system refuses or memory runs out, which says nothing about the bytes.
    """
    if has_digest(part.path):
        return is_intact(filesystem, part)
    try:
        with filesystem.open_input_file(part.path) as file:
            pq.ParquetFile(file).read()
    except READ_ERRORS as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        return False  # Arrow raises OSError without errno for bytes that it cannot decode
    return True


class DamagedPartError(SweepError):
    """A part whose bytes are wrong."""


def read_part(filesystem: pafs.FileSystem, part: pafs.FileInfo, columns: Sequence[str]) -> pa.Table:
    """Return columns of one part.

    Raises
    ------
    DamagedPartError
        If its bytes are wrong.
    SweepError, OSError, MemoryError, pyarrow.ArrowException
        If the part cannot be read for another reason.
    """
    reason: BaseException | str = "its bytes do not have the digest in its name"
    try:
        if is_intact(filesystem, part):
            with filesystem.open_input_file(part.path) as file:
                return pq.ParquetFile(file).read(columns=list(columns))
    except READ_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise
        if refusal := read_refusal(error, part.path, [part]):
            raise refusal from error
        if has_digest(part.path) or is_readable(filesystem, part):
            raise
        reason = error
    raise DamagedPartError(
        f"{part.path} cannot be read: {reason}\nTo go on without it: --skip-corrupt. To mend it:"
        " restore it from a copy, or run the sweep with --skip-corrupt, which sets it aside."
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


def is_out_of_memory(error: BaseException) -> bool:
    """Return True for an error that says that memory ran out."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or "bad_alloc" in str(error)
    )


def read_refusal(
    error: BaseException, location: str, parts: Sequence[pafs.FileInfo]
) -> SweepError | None:
    """Return the message for an error that says nothing about the bytes of the parts.

    Parameters
    ----------
    error
        The error of a read.
    location
        Place of the dataset.
    parts
        The parts that were read.

    Returns
    -------
    SweepError or None
        None for an error that is neither want of memory nor a failing disk.
    """
    if is_out_of_memory(error):
        size = sum(part.size for part in parts) / 2**20
        return SweepError(
            f"there is not enough memory to read {location}: {len(parts)} parts of {size:,.1f} MiB"
            " (compressed). The parts were not called damaged. Run the command where more memory is"
            " free, or raise its limit (ulimit -v, a container's or a job's limit)"
        )
    if isinstance(error, OSError) and error.errno in _DEVICE_ERRORS:
        return SweepError(
            f"the storage of {location} fails ({error}). The parts were not called damaged. Check"
            " the disk or the mount (dmesg), then run the command again"
        )
    return None


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
        " the files from a copy, or run the sweep with --skip-corrupt, which sets them aside."
    )
