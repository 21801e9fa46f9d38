"""Data sets of the Hugging Face hub as JSONL files, each fetched once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.data.bad_rows import SkippedRows
from nanochat.data.conversations import Conversation, iter_conversations
from nanochat.data.rows import hub_dataset, split_names
from nanochat.errors import NanochatError, quoted
from nanochat.prepare.row_files import write_jsonl


@dataclass(frozen=True)
class Fetched:
    """File of a split.

    Attributes
    ----------
    path
    rows
        Conversations in it.
    kept
        True if it existed before.
    skipped
        Bad rows of the data set that are not in it.
    """

    path: Path
    rows: int
    kept: bool
    skipped: SkippedRows


def fetch_dataset(
    source: str,
    out_dir: Path,
    splits: Sequence[str] = (),
    force: bool = False,
    skip_bad_rows: int = 0,
) -> Iterator[Fetched]:
    """Write ``<split>.jsonl`` for each split of a data set, one ``{"messages": ...}`` a line.

    The files of the data set itself are kept in the cache of the ``datasets`` library.

    Parameters
    ----------
    source
        ``hf:owner/name[:config][@revision]``.
    out_dir
        Created if needed.
    splits
        All there are if empty.
    force
        Write a file also where one with as many rows is there; it may hold an earlier revision.
    skip_bad_rows
        Number of bad rows of a split that may be left out.

    Yields
    ------
    Fetched

    Raises
    ------
    NanochatError
        For a source that is not of the hub, a split that is not there, or a bad row.
    """
    if not source.startswith("hf:"):
        raise NanochatError(
            f"only data sets of the hub are fetched: hf:owner/name, not {quoted(source)}"
        )
    for split in splits or split_names(source):
        path = Path(out_dir) / f"{split}.jsonl"
        total = rows = len(hub_dataset(source, split, ("messages",), streaming=False))
        lines = -1 if force or not path.is_file() else _count_lines(path)
        skipped = SkippedRows(skip_bad_rows)
        if total - skip_bad_rows <= lines < total:  # perhaps all rows but the bad ones
            rows = sum(1 for _ in _conversations(source, split, skipped))
        if not (kept := lines == rows):
            skipped = SkippedRows(skip_bad_rows)
            conversations = _conversations(source, split, skipped)
            write_jsonl(path, ({"messages": each} for each in conversations))
            rows = total - skipped.count
        yield Fetched(path, rows, kept, skipped)


def _conversations(source: str, split: str, skipped: SkippedRows) -> Iterator[Conversation]:
    return iter_conversations(source, split, streaming=False, skipped=skipped)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
