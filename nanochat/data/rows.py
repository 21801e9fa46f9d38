"""Rows of data files and of data sets on the Hugging Face hub, one at a time, in stored order."""

import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.data.json_rows import read_json_rows
from nanochat.errors import NanochatError, Note, missing_library, quoted, user_path
from nanochat.files.git_lfs import refuse_pointer
from nanochat.files.hub import split_revision
from nanochat.files.retry import (
    command_online,
    is_network_fault,
    is_offline,
    offline_note,
    with_retries,
)

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".jsonl", ".parquet")
_TABLES = (".csv", ".tsv")
_READ = 'write a .jsonl file, a row like {"messages": [...]} a line, or a .parquet file'
_VALIDATION = ("validation", "val", "valid")  # three spellings of one split
_BATCH = 256  # rows turned into Python objects at a time


class MissingSplitError(NanochatError):
    """Error for a split that a data source does not have.

    Attributes
    ----------
    splits
        Names of the splits that it has.
    """

    def __init__(self, message: str, splits: Sequence[str]) -> None:
        super().__init__(message)
        self.splits = tuple(splits)


def read_rows(
    source: str, split: str, columns: Sequence[str] | None = None, streaming: bool = True
) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a data source in its order, each with its name for error messages.

    A row that cannot be decoded is the `NanochatError` that names it
    (`nanochat.data.bad_rows.parse_rows` raises or counts it); the rows after it follow.

    Parameters
    ----------
    source
        A JSONL or Parquet file, a folder with ``<split>.jsonl`` or ``<split>.parquet``, or
        ``hf:owner/name[:config][@revision]``.
    split
        Split to read. A file is read whole, with a warning where its name is not the split's.
    columns
        The columns wanted, where rows have them; the others of a Parquet file are not even read.
    streaming
        Rows of the hub as they come; False downloads the set whole, into datasets' cache.

    Raises
    ------
    NanochatError
        One line for whatever keeps the source from being read.
    """
    if source.startswith("hf:"):
        return _hub_rows(source, hub_dataset(source, split, columns, streaming))
    path = find_file(source, split)
    one_file = path == Path(source).expanduser()
    if one_file and split != "train" and path.stem not in spellings(split):
        warnings.warn(
            f"{path} has one split: all its rows are read as {split!r}", Note, stacklevel=2
        )
    refuse_pointer(path)
    return _parquet_rows(path, columns) if path.suffix == ".parquet" else read_json_rows(path)


def find_file(source: str, split: str) -> Path:
    """Return the file of a split; raises NanochatError with the existing files if there is none."""
    path = user_path(source)
    if path.is_dir():
        return _file_of_split(path, split)
    if not path.exists():
        raise no_source(source, split)
    if path.suffix.lower() in _TABLES:
        raise NanochatError(f"{path}: CSV is not read; {_READ}")
    if path.suffix not in SUFFIXES:
        raise NanochatError(
            f"{path}: its name must end in .jsonl (a JSON value a line) or .parquet"
        )
    return path


def check_place(source: str, split: str) -> None:
    """Refuse a source that can hold conversations on no machine; nothing is read.

    Refused are a file with another suffix, and a name like ``alpaca`` that is neither a folder here
    nor the path of a file or folder elsewhere.

    Raises
    ------
    NanochatError
        The message names the allowed forms.
    """
    path = user_path(source)
    if source.startswith("hf:"):
        split_revision(source)
    elif path.is_file():
        find_file(source, split)
    elif not path.is_dir() and path.name == source and path.suffix not in SUFFIXES:
        raise no_source(source, split)


def no_source(source: str, split: str) -> NanochatError:
    """Return the error for a source of conversations that does not exist."""
    hint = f"; did you mean hf:{source}?" if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else ""
    return NanochatError(
        f"there is no {Path(source).expanduser()}{hint} (a source is one of: stdlib_qa, a .jsonl"
        f" file, a .parquet file, a folder with {split}.jsonl or {split}.parquet, hf:owner/name)"
    )


def _file_of_split(path: Path, split: str) -> Path:
    for name in spellings(split):
        files = [
            each for each in (path / f"{name}{suffix}" for suffix in SUFFIXES) if each.exists()
        ]
        if len(files) > 1:
            raise NanochatError(f"{path} has {files[0].name} and {files[1].name}: name one of them")
        if files:
            return files[0]
    there = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
    names = ", ".join(each.name for each in there) or "none"
    tables = sorted(each.name for each in path.iterdir() if each.suffix.lower() in _TABLES)
    csv = f"; CSV is not read ({', '.join(tables)}): {_READ}" if tables else ""
    raise MissingSplitError(
        f"{path} has no {split}.jsonl or {split}.parquet (there are: {names}){csv}",
        [each.stem for each in there],
    )


def hub_dataset(
    source: str, split: str, columns: Sequence[str] | None = None, streaming: bool = True
) -> Any:
    """Open a split of a data set on the hub with the ``datasets`` library.

    Parameters and errors are those of `read_rows`. Where the hub cannot be reached, what an earlier
    ``streaming=False`` left in the cache is used, with a warning, if it is of the revision asked.
    """
    builder = _builder(source)
    with _one_line(source):
        splits = with_retries(builder.as_streaming_dataset)
        name = next((each for each in spellings(split) if each in splits), None)
        if name is None:
            raise MissingSplitError(
                f"{source} has no split {quoted(split)} (there are: {', '.join(splits)})",
                list(splits),
            )
        present = splits[name].column_names or ()
        wanted = [each for each in columns or () if each in present]
        if streaming and wanted and hasattr(builder.config, "columns"):
            # Parquet: other columns, such as page images, are not sent.
            builder = _builder(source, columns=wanted, batch_size=_BATCH)
            return with_retries(lambda: builder.as_streaming_dataset(split=name))
        if streaming:
            rows = splits[name]
        else:
            with_retries(builder.download_and_prepare)
            rows = builder.as_dataset(split=name)
        return rows.select_columns(wanted) if wanted else rows


def split_names(source: str) -> list[str]:
    """Return the splits of a data set on the hub."""
    builder = _builder(source)
    with _one_line(source):
        return list(with_retries(builder.as_streaming_dataset))


def _builder(source: str, **more: Any) -> Any:
    try:
        from datasets import load_dataset_builder
        from datasets.packaged_modules.cache.cache import Cache
    except ModuleNotFoundError as error:
        raise missing_library(source, "datasets", "data") from error

    repository, config, revision = _parse(source)
    if Path(repository).is_dir():  # datasets would read this folder instead
        repository = f"hf://datasets/{repository}"
    with _one_line(source):
        builder = with_retries(
            lambda: load_dataset_builder(repository, config, revision=revision, **more)
        )
    if isinstance(builder, Cache):  # the fallback of datasets, for any revision
        commit = str(builder.hash)
        if revision is not None and not (len(revision) >= 7 and commit.startswith(revision)):
            raise NanochatError(
                f"{source}: not read from the hub, and the copy in the cache is of commit {commit}"
            )
        warnings.warn(
            f"{source}: not read from the hub; the copy in the cache, commit {commit}, is used",
            Note,
            stacklevel=2,
        )
    return builder


def _parse(source: str) -> tuple[str, str | None, str | None]:
    """Split ``hf:owner/name[:config][@revision]`` into repository, configuration and revision."""
    name, at, revision = source.removeprefix("hf:").partition("@")
    name, colon, config = name.partition(":")
    if colon and not config:
        raise NanochatError(
            f"{quoted(source)} is not of the form hf:owner/name[:config][@revision]"
        )
    repository, commit = split_revision(f"hf:{name}{at}{revision}")
    return repository, config or None, commit


def spellings(split: str) -> tuple[str, ...]:
    """Return the names under which a split may be stored, the preferred one first."""
    return tuple(dict.fromkeys((split, *_VALIDATION))) if split in _VALIDATION else (split,)


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    try:
        yield
    except NanochatError:
        raise
    # Every layer below (datasets, the hub's client, its transport, Arrow) has errors of its own.
    except Exception as error:
        # A missing data set: datasets then reports a local folder, which is misleading.
        cause = _root(error) if type(error) is FileNotFoundError else error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        if isinstance(error.__cause__, StopIteration):  # the error of datasets for an empty file
            reason = "its first file is empty"
        needs = (
            "; a private or gated one needs `hf auth login` or HF_TOKEN"
            if type(error).__name__ == "DatasetNotFoundError"
            else ""
        )
        if is_offline(error):
            command = command_online(f"nanochat data fetch {shlex.quote(source)}")
            raise NanochatError(
                f"{source}: it is not in the cache, and {offline_note()}; fetch it with {command}"
            ) from error
        if is_network_fault(error):
            needs = "; HF_HUB_OFFLINE=1 uses the cache at once"
        raise NanochatError(f"{source}: not read from the hub ({reason[:400]}{needs})") from error


def _root(error: BaseException) -> BaseException:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _hub_rows(source: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    with _one_line(source):
        for number, row in enumerate(rows, 1):
            yield f"{source}, row {number}", row


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            wanted = [each for each in columns or () if each in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH, columns=wanted or None):
                for row in _rows_of_batch(batch):
                    number += 1
                    where = f"{path}, row {number}"
                    if isinstance(row, UnicodeDecodeError):
                        row = NanochatError(f"{where}: not UTF-8 text ({row})")
                    yield where, row
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise NanochatError(f"{path}: not readable as Parquet ({reason})") from error


def _rows_of_batch(batch: "pa.RecordBatch") -> list[Any]:
    """Return the rows; a row with text that is not UTF-8 is the error of its decoding."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_decoded(batch.slice(number, 1)) for number in range(batch.num_rows)]


def _decoded(row: "pa.RecordBatch") -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return error
