"""Errors of reading parts: damage, want of memory and failing disks are told apart."""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset.parts import (
    Rules,
    damaged_parts,
    has_digest,
    is_intact,
    refuse,
    row_problem,
    schema_problem,
)
from fractal_ray.errors import SweepError
from nanochat.files.git_lfs import is_pointer, pointer_message

READ_ERRORS: Final = (pa.ArrowException, OSError, MemoryError)
"""Errors that reading parts raises."""
_DEVICE_ERRORS: Final = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN)


def bad_parts(filesystem: pafs.FileSystem, parts: Sequence[pafs.FileInfo]) -> set[str]:
    """Return the paths of damaged parts, those without a digest that cannot be decoded included."""
    plain = (part for part in parts if not has_digest(part.path))
    undecodable = (part.path for part in plain if not is_readable(filesystem, part))
    return {*damaged_parts(filesystem, parts), *undecodable}


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


def read_part(
    filesystem: pafs.FileSystem, part: pafs.FileInfo, columns: Sequence[str], rules: Rules
) -> pa.Table:
    """Return columns of one part.

    Raises
    ------
    DamagedPartError
        If its bytes are wrong.
    SweepError, OSError, MemoryError, pyarrow.ArrowException
        If the part is of another sweep, or cannot be read for another reason.
    """
    reason: BaseException | str = "its bytes do not have the digest in its name"
    try:
        if is_intact(filesystem, part):
            with filesystem.open_input_file(part.path) as file:
                content = pq.ParquetFile(file)
                refuse(filesystem, {part.path: schema_problem(content.schema_arrow, rules)}, 1)
                table = content.read(columns=list(columns))
                refuse(filesystem, {part.path: row_problem(table)}, 1)
                return table
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
    """Return the message for want of memory or a failing disk; None for other errors.

    Such errors say nothing about the bytes of the parts.
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
