"""The Parquet dataset of a sweep: the only record of its runs.

One row per evaluation in append-only part files; a part is written under a temporary name, synced
and renamed, so a reader never sees half a file and a crash leaves nothing that looks finished.
Layout and columns: docs/storage.md.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset import part_damage
from fractal_ray.dataset import parts as part_files
from fractal_ray.dataset.part_writing import part_name, to_parquet
from fractal_ray.dataset.rows import (
    FAILURES_SCHEMA,
    POINTS_SCHEMA,
    Evaluation,
    Failure,
    failures_table,
    points_table,
    with_columns,
)
from fractal_ray.errors import StorageError, SweepError, reading
from nanochat.errors import shortened, user_path
from nanochat.files.atomic import write_atomically
from nanochat.files.file_systems import locked

SCHEMA_VERSION = 1
"""Version of the layout. It changes when older readers would misread rows, not for a new column."""
_SCHEMAS = {"points": POINTS_SCHEMA, "failures": FAILURES_SCHEMA}
_LARGEST_TEXT = 64 << 20  # bytes of a small file beside the dataset
_LOCK_SECONDS = 120.0
_LISTINGS = 5  # attempts to list and read the parts while they are being joined
_PART = re.compile(r"part-[^/]+\.parquet")
_GENERATION = re.compile(r"/part-\d+-g(\d+)-[^/]*$")

Row = TypeVar("Row", Evaluation, Failure)


class Store:
    """The dataset of one sweep.

    Parameters
    ----------
    location
        Folder, or a URI that pyarrow's file systems know (``s3://bucket/prefix/name``).
    metadata
        Facts for JSON in the schema of every part: axis definitions, criterion, versions.
    generation
        Generation of the driver that writes (`driver_lease.py`), for the names of its parts. 0
        for none.
    """

    def __init__(
        self, location: str, metadata: dict[str, Any] | None = None, generation: int = 0
    ) -> None:
        self.location = location
        self.filesystem, self.root = part_files.filesystem_at(location)
        self.is_remote = not isinstance(self.filesystem, pafs.LocalFileSystem)
        self._generation = generation
        facts = {"schema_version": SCHEMA_VERSION, **(metadata or {})}
        self._metadata = {part_files.METADATA_KEY: json.dumps(facts, sort_keys=True).encode()}

    # Writing -------------------------------------------------------------------------------

    def append(self, rows: Sequence[Evaluation]) -> None:
        """Write evaluations, one part per frame and level; on return they are on disk."""
        self._append("points", rows, points_table)

    def append_failures(self, rows: Sequence[Failure]) -> None:
        """Write failures; on return they are on disk."""
        self._append("failures", rows, failures_table)

    def append_table(
        self, table: pa.Table, *, frame: int, level: int, facts: dict[str, Any]
    ) -> None:
        """Write rows of another dataset as one part.

        Parameters
        ----------
        table
            Rows with the columns of `POINTS_SCHEMA`, and of metrics.
        frame, level
            Place of the part.
        facts
            Facts of the other dataset, for the schema of the part. The name of the part depends
            on its bytes alone, so an interrupted copy can be repeated.
        """
        rows = table.select(with_columns(POINTS_SCHEMA, table.column_names).names)
        data = to_parquet(
            rows, {part_files.METADATA_KEY: json.dumps(facts, sort_keys=True).encode()}
        )
        name = part_name(data, written_at=0)
        self.write_file(f"points/frame={frame}/level={level}/{name}", data.to_pybytes())

    def write_file(self, name: str, data: bytes) -> str:
        """Write a small file beside the dataset, whole or not at all, and return its location.

        Raises
        ------
        SweepError
            If it cannot be written.
        """
        try:
            self.put(name, data)
        except OSError as error:
            raise SweepError(f"cannot write {name} in {self.location}: {error}") from error
        return inside(self.location, name)

    def put(self, name: str, data: bytes) -> None:
        """Write a small file like `write_file`, but raise OSError, for callers that retry."""
        self._put(f"{self.root}/{name}", data)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold a lock against other processes like `lock`, and make the folder first.

        Raises
        ------
        SweepError
            If the folder or the lock cannot be had.
        """
        with contextlib.ExitStack() as stack:
            try:
                if not self.is_remote:
                    Path(self.root).mkdir(parents=True, exist_ok=True)
                alone = stack.enter_context(self.lock())
            except TimeoutError as error:
                raise SweepError(
                    f"another process has held {self.root}/.lock for {_LOCK_SECONDS:.0f} s; nothing"
                    " was changed. A suspended driver of this sweep may hold it: end that process,"
                    " and run the same command again"
                ) from error
            except OSError as error:
                raise SweepError(f"cannot write to {self.location}: {error}") from error
            yield alone

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold a lock against other processes, and yield True; yield False where there is none.

        Object stores have no locks, and some file systems have none either.

        Raises
        ------
        OSError
            If the lock cannot be had.
        """
        if self.is_remote:
            yield False
            return
        consequence = "only driver.json keeps two drivers of a sweep apart"
        with locked(Path(self.root) / ".lock", consequence, timeout=_LOCK_SECONDS) as alone:
            yield alone

    def delete_file(self, name: str) -> None:
        """Delete a small file beside the dataset."""
        self._delete(f"{self.root}/{name}")

    # Reading -------------------------------------------------------------------------------

    def read(self, columns: Sequence[str] | None = None, *, skip_corrupt: bool = False) -> pa.Table:
        """Return all evaluations; a point that was written twice has one row.

        Parameters
        ----------
        columns
            Names to read, `frame` and `level` among them if wanted; None for all.
        skip_corrupt
            Leave out parts that cannot be read instead of raising.

        Raises
        ------
        SweepError
            The message names the parts that cannot be read.
        """
        wanted = None if columns is None else sorted({*columns, "point_id"})
        table = self._read("points", wanted, skip_corrupt)
        table = part_files.drop_repeated_points(table)
        return table if columns is None else table.select(list(columns))

    def read_failures(self, *, skip_corrupt: bool = False) -> pa.Table:
        """Return all failures, in the order in which they were written."""
        return part_files.drop_repeated_failures(self._read("failures", None, skip_corrupt))

    def names(self, folder: str) -> list[str]:
        """Return the names of the small files in a folder beside the dataset."""
        return sorted(info.base_name for info in self._files(folder, recursive=False))

    def read_text(self, name: str) -> str | None:
        """Return the text of a small file beside the dataset; None without the file.

        Raises
        ------
        SweepError
            If it is no text, or larger than any that is written.
        """
        path = f"{self.root}/{name}"
        with _storage_faults(self.location):
            info = self.filesystem.get_file_info(path)
            if info.type != pafs.FileType.File:
                return None
            part_files.refuse_git_lfs_pointer(path)
            with self.filesystem.open_input_stream(path) as stream:
                content = stream.read(_LARGEST_TEXT)
        with reading(f"{self.location}/{name}", "; restore it from a copy"):
            if info.size > _LARGEST_TEXT:
                raise ValueError(f"{info.size:,} bytes, and at most {_LARGEST_TEXT:,} are written")
            return content.decode()

    def facts(self) -> list[dict[str, Any]]:
        """Return the distinct facts in the schemas of the parts that can be read."""
        facts: dict[bytes, None] = {}
        for part in self.parts("points"):
            with contextlib.suppress(pa.ArrowException, OSError):
                schema = pq.read_schema(part, filesystem=self.filesystem)
                facts[(schema.metadata or {}).get(part_files.METADATA_KEY, b"{}")] = None
        return [json.loads(text) for text in facts]

    def state(self) -> str:
        """Return a digest of the list of parts; it changes whenever parts are written or joined."""
        digest = hashlib.sha256()
        for kind in ("points", "failures"):
            files = [info for info in self._files(kind) if info.is_file]
            for line in sorted(f"{info.path} {info.size}\n" for info in files):
                digest.update(line.removeprefix(self.root).encode())
        return digest.hexdigest()

    def is_empty(self) -> bool:
        """Return True if no sweep has written here."""
        return self.read_text("sweep.json") is None and not self.parts("points")

    def frames(self) -> set[int]:
        """Return the numbers of the frames that have evaluations."""
        matches = (re.search(r"/frame=(\d+)/", part) for part in self.parts("points"))
        return {int(match[1]) for match in matches if match}

    def last_generation(self) -> int:
        """Return the highest generation in the names of the parts; 0 without one."""
        matches = (_GENERATION.search(part) for part in self.parts("points"))
        return max((int(match[1]) for match in matches if match), default=0)

    def damaged_parts(self) -> list[str]:
        """Return the paths of the parts that readers with `skip_corrupt` leave out.

        Parts without a digest are decoded as a whole.
        """
        kinds = (part_damage.bad_parts(self.filesystem, self.listed(kind)) for kind in _SCHEMAS)
        return sorted({part for damaged in kinds for part in damaged})

    def part_count(self) -> int:
        """Return the number of part files with evaluations."""
        return len(self.parts("points"))

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
            self.write_part(to_table(group), folder)

    def write_part(self, table: pa.Table, folder: str) -> None:
        """Write a table as a new part in the folder of its frame and level."""
        data = to_parquet(table, self._metadata)
        self._put(f"{folder}/{part_name(data, generation=self._generation)}", data)

    def _put(self, path: str, data: bytes | pa.Buffer) -> None:
        if self.is_remote:
            # An object store shows an object only after its upload has ended.
            with self._open_remote(path) as stream:
                stream.write(data)
            return
        write_atomically(Path(path), lambda file: file.write(data))

    def _open_remote(self, path: str) -> pa.NativeFile:
        try:
            return self.filesystem.open_output_stream(path)
        except FileNotFoundError:  # not an object store, but remote storage with real folders
            self.filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
            return self.filesystem.open_output_stream(path)

    def _delete(self, path: str) -> None:
        self.filesystem.delete_file(path)

    def _files(self, folder: str, *, recursive: bool = True) -> list[pafs.FileInfo]:
        place = f"{self.root}/{folder}"
        selector = pafs.FileSelector(place, allow_not_found=True, recursive=recursive)
        with _storage_faults(self.location):
            return self.filesystem.get_file_info(selector)

    def listed(self, kind: str) -> list[pafs.FileInfo]:
        """Return the parts of a kind as files with sizes and times, in the order of writing."""
        parts = (info for info in self._files(kind) if _PART.fullmatch(info.base_name))
        return sorted(parts, key=lambda info: info.path)

    def parts(self, kind: str) -> list[str]:
        """Return the paths of the parts of a kind, in the order of writing."""
        return [info.path for info in self.listed(kind)]

    def _read(self, kind: str, columns: list[str] | None, skip_corrupt: bool) -> pa.Table:
        for _ in range(_LISTINGS):
            listed = self.listed(kind)
            try:
                return self._read_listed(listed, columns, self.rules(kind), skip_corrupt)
            except FileNotFoundError:
                continue  # parts were joined between the listing and the reading
            except part_damage.READ_ERRORS as error:
                refusal = part_damage.read_refusal(error, self.location, listed)
                if refusal is None:
                    raise
                raise refusal from error
        raise SweepError(f"the parts of {self.root}/{kind} change faster than they can be read")

    def _read_listed(
        self,
        listed: list[pafs.FileInfo],
        columns: list[str] | None,
        rules: part_files.Rules,
        skip_corrupt: bool,
    ) -> pa.Table:
        if not part_files.damaged_parts(self.filesystem, listed):
            try:
                return part_files.read_own_parts(self.filesystem, listed, columns, rules)
            except part_damage.READ_ERRORS as error:
                if isinstance(error, FileNotFoundError) or part_damage.is_out_of_memory(error):
                    raise
                if not part_damage.bad_parts(self.filesystem, listed):
                    raise
        bad = part_damage.bad_parts(self.filesystem, listed)
        if not skip_corrupt:
            raise SweepError(part_damage.corrupt_message(sorted(bad), len(listed)))
        rest = [part for part in listed if part.path not in bad]
        return part_files.read_own_parts(self.filesystem, rest, columns, rules)

    def rules(self, kind: str) -> part_files.Rules:
        """Return the facts that the parts of a kind share."""
        return part_files.Rules(_SCHEMAS[kind], _identity_of(self.read_text("sweep.json")))

    def read_parts(
        self, parts: list[str], schema: pa.Schema, columns: list[str] | None = None
    ) -> pa.Table:
        """Return the rows of parts, repeated rows included; `columns` None for all."""
        return part_files.read_parts(self.filesystem, parts, schema, columns)


def inside(location: str, name: str) -> str:
    """Return the location of a name in a folder or under a URI, whose query stays at the end."""
    if "://" not in location:
        return str((user_path(location, SweepError) / name).absolute())
    path, mark, query = location.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


@contextlib.contextmanager
def _storage_faults(location: str) -> Iterator[None]:
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


def _identity_of(header: str | None) -> dict[str, Any]:
    """Return the facts of the text of `sweep.json` that name its data: `IDENTITY`."""
    try:
        facts = json.loads(header or "{}")
    except (ValueError, RecursionError):  # readers of the whole file name its damage
        return {}
    return {
        name: facts[name]
        for name in part_files.IDENTITY
        if isinstance(facts, dict) and name in facts
    }
