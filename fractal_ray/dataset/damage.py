"""Damaged parts of a dataset, which a run sets aside before it runs their points again."""

import contextlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset.store import Store


@dataclass(frozen=True)
class DamagedPart:
    """A part whose bytes are wrong.

    Parameters
    ----------
    path
        Path in the file system of the dataset.
    rows
        Number of its rows; None if its footer cannot be read.
    """

    path: str
    rows: int | None

    def __str__(self) -> str:
        return f"{self.path} ({'unknown' if self.rows is None else self.rows} rows)"


def set_aside(store: Store) -> list[DamagedPart]:
    """Rename the damaged parts to NAME.corrupt, and return them. Only the one writer may do so."""
    filesystem = store.filesystem
    damaged = [DamagedPart(path, _row_count(filesystem, path)) for path in store.damaged_parts()]
    for part in damaged:
        filesystem.move(part.path, _free_name(filesystem, f"{part.path}.corrupt"))
    return damaged


def set_aside_line(damaged: list[DamagedPart]) -> str:
    """Return the line that names the parts that were set aside."""
    return (
        f"{len(damaged)} damaged part{'s' if len(damaged) > 1 else ''} set aside (renamed to"
        f" NAME.corrupt); the points run again: {', '.join(map(str, damaged))}"
    )


def _row_count(filesystem: pafs.FileSystem, path: str) -> int | None:
    with contextlib.suppress(pa.ArrowException, OSError):
        return pq.read_metadata(path, filesystem=filesystem).num_rows
    return None


def _free_name(filesystem: pafs.FileSystem, name: str) -> str:
    """Return the first of `name`, `name`2, `name`3 that no file has."""
    number, free = 1, name
    while filesystem.get_file_info(free).type != pafs.FileType.NotFound:
        number += 1
        free = f"{name}{number}"
    return free
