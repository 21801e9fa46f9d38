"""Data sets of the Hugging Face hub as JSONL files, each fetched once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.data.conversations import iter_conversations
from nanochat.data.rows import hub_dataset, split_names
from nanochat.errors import NanochatError
from nanochat.prepare.row_files import write_jsonl


@dataclass(frozen=True)
class Fetched:
    """File of a split, its number of conversations, and a flag for a file that existed before."""

    path: Path
    rows: int
    kept: bool


def fetch_dataset(
    source: str, out_dir: Path, splits: Sequence[str] = (), force: bool = False
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

    Yields
    ------
    Fetched

    Raises
    ------
    NanochatError
        For a source that is not of the hub, a split that is not there, or a bad row.
    """
    if not source.startswith("hf:"):
        raise NanochatError(f"only data sets of the hub are fetched: hf:owner/name, not {source!r}")
    for split in splits or split_names(source):
        path = Path(out_dir) / f"{split}.jsonl"
        rows = len(hub_dataset(source, split, ("messages",), streaming=False))
        kept = not force and path.is_file() and _count_lines(path) == rows
        if not kept:
            conversations = iter_conversations(source, split, streaming=False)
            write_jsonl(path, ({"messages": each} for each in conversations))
        yield Fetched(path, rows, kept)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
