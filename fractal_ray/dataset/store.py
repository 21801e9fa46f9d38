"""The Parquet dataset of a sweep: the only truth about what has been run.

One row per evaluation in append-only part files; a part is written under a temporary name, synced
and renamed, so a reader never sees half a file and a crash leaves nothing that looks finished.
Layout and columns: docs/storage.md.
"""

import contextlib
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset.rows import (
    BEFORE_COLUMNS,
    FAILURES_SCHEMA,
    PARTITION,
    POINTS_SCHEMA,
    Evaluation,
    Failure,
    failures_table,
    points_table,
)
from fractal_ray.errors import SweepError

SCHEMA_VERSION = 1
"""Another one means that a reader of this one would misread the rows; one more column does not."""
_METADATA_KEY = b"fractal_ray"
_LISTINGS = 5
_PART = re.compile(r"part-[^/]+\.parquet")

Row = TypeVar("Row", Evaluation, Failure)


class Store:
    """The dataset of one sweep.

    Parameters
    ----------
    location
        Folder, or a URI that pyarrow's file systems know (``s3://bucket/prefix/name``).
    metadata
        JSON-able facts kept in every part's schema: axis definitions, criterion, versions.
    """

    def __init__(self, location: str, metadata: dict[str, Any] | None = None) -> None:
        self.location = location
        self.filesystem, self.root = _filesystem(location)
        self.is_remote = not isinstance(self.filesystem, pafs.LocalFileSystem)
        facts = {"schema_version": SCHEMA_VERSION, **(metadata or {})}
        self._metadata = {_METADATA_KEY: json.dumps(facts, sort_keys=True).encode()}

    # Writing -------------------------------------------------------------------------------

    def append(self, rows: Sequence[Evaluation]) -> None:
        """Write evaluations, one part per frame and level; on return they are on disk."""
        self._append("points", rows, points_table)

    def append_failures(self, rows: Sequence[Failure]) -> None:
        """Write failures; on return they are on disk."""
        self._append("failures", rows, failures_table)

    def compact(self, smaller_than: int | None = None) -> None:
        """Join the parts of each frame and level into one; safe to interrupt.

        The joined part appears before the old ones go: in between a reader meets rows twice and
        drops the second. A part that cannot be read is left alone, one that lacks columns of today
        is written anew: other readers want the same columns in every part.

        Parameters
        ----------
        smaller_than
            Bytes; larger parts are left as they are, so that a sweep of days which joins its small
            parts from time to time does not write the same rows again and again. None: all.
        """
        for kind, schema in (("points", POINTS_SCHEMA), ("failures", FAILURES_SCHEMA)):
            for folder, parts in self._by_folder(self._parts(kind, smaller_than)).items():
                readable = [part for part in parts if self._readable(part)]
                if len(readable) > 1 or any(self._lacks(part, schema) for part in readable):
                    table = _DROP[kind](self._read_parts(readable, schema))
                    self._write(table.select(schema.names), folder)
                    for part in readable:
                        self._delete(part)
        if not self.is_remote:  # what a kill between write and rename left; we are the one writer
            for left in Path(self.root).rglob(".part-*.tmp"):
                left.unlink(missing_ok=True)

    def write_file(self, name: str, data: bytes) -> str:
        """Write a small file beside the dataset, whole or not at all; where it is now.

        Raises
        ------
        SweepError
            When it cannot be written.
        """
        try:
            self.put(name, data)
        except OSError as error:
            raise SweepError(f"cannot write {name} in {self.location}: {error}") from error
        return inside(self.location, name)

    def put(self, name: str, data: bytes) -> None:
        """The same, for who has an answer to the error of the file system."""
        self._put(f"{self.root}/{name}", data)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock that other processes respect; not on an object store, which has none."""
        if self.is_remote:
            yield
            return
        from filelock import FileLock, Timeout

        try:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            lock = FileLock(Path(self.root) / ".lock")
            lock.acquire(timeout=120)
        except (OSError, Timeout) as error:
            raise SweepError(f"cannot write to {self.location}: {error}") from error
        try:
            yield
        finally:
            lock.release()

    def delete_file(self, name: str) -> None:
        """Delete a small file beside the dataset."""
        self._delete(f"{self.root}/{name}")

    # Reading -------------------------------------------------------------------------------

    def read(self, columns: Sequence[str] | None = None, *, skip_corrupt: bool = False) -> pa.Table:
        """All evaluations, a point that was written twice only once.

        Parameters
        ----------
        columns
            Names to read, `frame` and `level` among them if wanted; None for all.
        skip_corrupt
            Leave out parts that cannot be read instead of raising.

        Raises
        ------
        SweepError
            Naming the parts that cannot be read.
        """
        wanted = None if columns is None else sorted({*columns, "point_id"})
        table = self._read("points", POINTS_SCHEMA, wanted, skip_corrupt)
        table = _drop_duplicates(table)
        return table if columns is None else table.select(list(columns))

    def read_failures(self, *, skip_corrupt: bool = False) -> pa.Table:
        """All failures, in the order they were written."""
        return _drop_repeated(self._read("failures", FAILURES_SCHEMA, None, skip_corrupt))

    def read_text(self, name: str) -> str | None:
        """Text of a small file beside the dataset, None when there is none."""
        path = f"{self.root}/{name}"
        if self.filesystem.get_file_info(path).type != pafs.FileType.File:
            return None
        with self.filesystem.open_input_stream(path) as stream:
            return stream.read().decode()

    def facts(self) -> list[dict[str, Any]]:
        """What the parts' schemas say of their writers, each once; parts that cannot be read say
        nothing."""
        found: dict[bytes, None] = {}
        for part in self._parts("points"):
            with contextlib.suppress(pa.ArrowException, OSError):
                schema = pq.read_schema(part, filesystem=self.filesystem)
                found[(schema.metadata or {}).get(_METADATA_KEY, b"{}")] = None
        return [json.loads(facts) for facts in found]

    def state(self) -> str:
        """A digest of which parts there are: another one after anything was written or joined."""
        digest = hashlib.sha256()
        for kind in ("points", "failures"):
            selector = pafs.FileSelector(
                f"{self.root}/{kind}", allow_not_found=True, recursive=True
            )
            found = self.filesystem.get_file_info(selector)
            for line in sorted(f"{info.path} {info.size}\n" for info in found if info.is_file):
                digest.update(line.removeprefix(self.root).encode())
        return digest.hexdigest()

    def is_empty(self) -> bool:
        """True when nothing was ever written here by a sweep."""
        return self.read_text("sweep.json") is None and not self._parts("points")

    def frames(self) -> set[int]:
        """Numbers of the frames that have evaluations."""
        found = (re.search(r"/frame=(\d+)/", part) for part in self._parts("points"))
        return {int(match[1]) for match in found if match}

    def part_count(self) -> int:
        """How many part files hold the evaluations."""
        return len(self._parts("points"))

    # Inside --------------------------------------------------------------------------------

    def _append(
        self, kind: str, rows: Sequence[Row], to_table: Callable[[list[Row]], pa.Table]
    ) -> None:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            point = row.origin.point
            folder = f"{self.root}/{kind}/frame={point.frame}/level={point.level}"
            groups.setdefault(folder, []).append(row)
        for folder, group in groups.items():
            self._write(to_table(group), folder)

    def _write(self, table: pa.Table, folder: str) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(self._metadata), sink, compression="zstd")
        # The time comes first so that names sort in the order of writing.
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        self._put(f"{folder}/{name}", sink.getvalue())

    def _put(self, path: str, data: bytes | pa.Buffer) -> None:
        if self.is_remote:
            # An object store shows an object only when its upload has ended.
            with self._open_remote(path) as stream:
                stream.write(data)
            return
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(memoryview(data))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
            _sync_folder(final.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _open_remote(self, path: str) -> pa.NativeFile:
        try:
            return self.filesystem.open_output_stream(path)
        except FileNotFoundError:  # not an object store: folders are real there
            self.filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
            return self.filesystem.open_output_stream(path)

    def _delete(self, part: str) -> None:
        self.filesystem.delete_file(part)

    def _parts(self, kind: str, smaller_than: int | None = None) -> list[str]:
        selector = pafs.FileSelector(f"{self.root}/{kind}", allow_not_found=True, recursive=True)
        return sorted(
            info.path
            for info in self.filesystem.get_file_info(selector)
            if _PART.fullmatch(info.path.rsplit("/", 1)[-1])
            and (smaller_than is None or info.size < smaller_than)
        )

    @staticmethod
    def _by_folder(parts: Iterable[str]) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {}
        for part in parts:
            folders.setdefault(part.rsplit("/", 1)[0], []).append(part)
        return folders

    def _read(
        self, kind: str, schema: pa.Schema, columns: list[str] | None, skip_corrupt: bool
    ) -> pa.Table:
        for _ in range(_LISTINGS):
            parts = self._parts(kind)
            try:
                return self._read_parts(parts, schema, columns)
            except FileNotFoundError:
                continue  # parts were joined between the listing and the reading
            except (pa.ArrowException, OSError) as error:
                try:
                    bad = [part for part in parts if not self._readable(part)]
                except FileNotFoundError:
                    continue
                if not bad:
                    raise
                if not skip_corrupt:
                    raise SweepError(_corrupt_message(bad, len(parts))) from error
                return self._read_parts([p for p in parts if p not in set(bad)], schema, columns)
        raise SweepError(f"the parts of {self.root}/{kind} change faster than they can be read")

    def _read_parts(
        self, parts: list[str], schema: pa.Schema, columns: list[str] | None = None
    ) -> pa.Table:
        full = pa.schema([*schema, *PARTITION])
        if not parts:
            empty = full.empty_table()
            return empty if columns is None else empty.select(columns)
        dataset = ds.dataset(
            parts,
            schema=full,
            format="parquet",
            filesystem=self.filesystem,
            partitioning=ds.partitioning(PARTITION, flavor="hive"),
        )
        return _with_defaults(dataset.to_table(columns=columns))

    def _lacks(self, part: str, schema: pa.Schema) -> bool:
        """Whether a part was written before one of the columns there are now."""
        return not set(schema.names) <= set(pq.read_schema(part, filesystem=self.filesystem).names)

    def _readable(self, part: str) -> bool:
        """False for a part whose bytes are wrong; what the file system refuses is raised."""
        try:
            with self.filesystem.open_input_file(part) as file:
                pq.ParquetFile(file).read()
        except pa.ArrowException:
            return False
        except OSError as error:
            if error.errno is not None:
                raise
            return False  # Arrow's own word for bytes that it cannot decode
        return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _filesystem(location: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in location:
        return pafs.LocalFileSystem(), str(Path(location).expanduser().absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(location)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SweepError(
            f"storage {location!r} is not a folder or a URI that pyarrow knows: {error}"
        ) from error
    return filesystem, root.rstrip("/")


def inside(location: str, name: str) -> str:
    """Location of something in a folder or under a URI, whose query stays at the end."""
    if "://" not in location:
        return str((Path(location).expanduser() / name).absolute())
    path, mark, query = location.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _corrupt_message(bad: list[str], total: int) -> str:
    names = "\n".join(f"  {part}" for part in bad)
    return (
        f"{len(bad)} of {total} parts of the dataset cannot be read:\n{names}\n"
        "Their points count as not run. To go on without them: --skip-corrupt. To mend it: restore"
        " the files from a copy, or delete them and run the same command again."
    )


def _with_defaults(table: pa.Table) -> pa.Table:
    for name, value in BEFORE_COLUMNS.items():
        index = table.schema.get_field_index(name)
        if index >= 0 and table.column(index).null_count:
            field = table.schema.field(index)
            table = table.set_column(index, field, table.column(index).fill_null(value))
    return table


def _drop_duplicates(table: pa.Table) -> pa.Table:
    ids = table.column("point_id").combine_chunks().dictionary_encode()
    if len(ids.dictionary) == len(ids):
        return table
    _, first = np.unique(ids.indices.to_numpy(zero_copy_only=False), return_index=True)
    return table.take(pa.array(np.sort(first)))


def _drop_repeated(failures: pa.Table) -> pa.Table:
    """Failures of a point are several; the same one twice is of a joining that was killed."""
    seen = set()
    keep = []
    keys = failures.select(["point_id", "attempt", "created_at", "error"]).to_pylist()
    for index, key in enumerate(keys):
        if (name := tuple(key.values())) not in seen:
            seen.add(name)
            keep.append(index)
    return failures if len(keep) == failures.num_rows else failures.take(pa.array(keep))


_DROP = {"points": _drop_duplicates, "failures": _drop_repeated}
