"""Nested shards of a stream of conversations, one for each token budget.

The shard of budget B is the shortest beginning of the stream with at least B supervised tokens, so
a larger shard begins with all the smaller ones, and runs of different budgets see the same data in
the same order. A run picks the smallest shard that has its budget.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nanochat.data.bad_rows import SkippedRows
from nanochat.data.messages_table import Conversation, messages_array, write_table
from nanochat.errors import NanochatError
from nanochat.files.git_lfs import refuse_pointer
from nanochat.tokenizer.tokenizer import Tokenizer

_PATTERN = "shard_*.parquet"


@dataclass(frozen=True)
class About:
    """Description of a shard, stored as JSON under ``nanochat`` in its schema metadata.

    Attributes
    ----------
    budget, supervised_tokens, rows
        Requested tokens, tokens present (at least `budget`), conversations.
    source, split
        Data source and split of the conversations.
    tokenizer
        `Tokenizer.fingerprint` of the tokenizer that counted.
    max_seq_len
        Tokens of a conversation that counted; the conversations themselves are whole.
    skipped_rows
        Record of the bad rows left out up to the end of the shard (`SkippedRows.record`); None, and
        not in the file, where there were none.
    """

    budget: int
    supervised_tokens: int
    rows: int
    source: str
    split: str
    tokenizer: str
    max_seq_len: int
    skipped_rows: dict[str, Any] | None = None

    @property
    def origin(self) -> tuple[str, str, str, int]:
        """Return the fields that must be equal for all shards of a folder."""
        return self.source, self.split, self.tokenizer, self.max_seq_len


def write_shards(
    conversations: Iterable[Conversation],
    tokenizer: Tokenizer,
    budgets: Iterable[int],
    out_dir: Path,
    max_seq_len: int,
    source: str = "",
    split: str = "train",
    progress: Callable[[int, int], None] | None = None,
    skipped: SkippedRows | None = None,
) -> list[Path]:
    """Write ``shard_<budget>.parquet`` for each budget, smallest first, each as soon as it is full.

    The stream is read once, and no further than the largest budget needs; what was read is kept in
    memory. A file has the columns ``messages`` (`nanochat.data.messages_table`) and
    ``supervised_tokens`` (int32, of the row).

    Parameters
    ----------
    tokenizer
        It counts; a run with another one finds other numbers of tokens.
    budgets
        Supervised tokens, each at least 1; in any order.
    out_dir
        Created if needed. Shards with an equal budget are replaced.
    max_seq_len
        Tokens of a conversation that count, at least 2.
    source, split
        Kept in the files.
    progress
        Called with the supervised tokens so far and the largest budget.
    skipped
        Bad rows that the stream has left out so far, kept in the files.

    Returns
    -------
    list of Path
        The shards, smallest first.

    Raises
    ------
    NanochatError
        For bad numbers; for a folder that has shards of another origin; for a stream that ends too
        early, when the shards that could be filled have been written.
    """
    pending = sorted(set(budgets))
    if not pending or pending[0] < 1:
        raise NanochatError(f"budgets must be at least 1 token each, not {pending}")
    if max_seq_len < 2:
        raise NanochatError(f"max_seq_len must be at least 2, not {max_seq_len}")
    about = About(0, 0, 0, source, split, tokenizer.fingerprint, max_seq_len)
    out_dir = Path(out_dir)
    _refuse_others(out_dir, about)
    largest, total = pending[-1], 0
    taken: list[Conversation] = []
    counts: list[int] = []
    written: list[Path] = []
    for conversation in conversations:
        try:
            _, mask = tokenizer.render_conversation(conversation, max_seq_len)
        except NanochatError as error:
            place = f"{source or 'the stream'}, conversation {len(taken) + 1}"
            raise NanochatError(f"{place}: {error}") from error
        taken.append(conversation)
        counts.append(sum(mask[1:]))  # the first token has no predecessor, so it is no target
        total += counts[-1]
        while pending and pending[0] <= total:
            held = replace(
                about,
                budget=pending.pop(0),
                supervised_tokens=total,
                rows=len(taken),
                skipped_rows=skipped.record() if skipped and skipped.count else None,
            )
            written.append(_write(out_dir, taken, counts, held))
        if progress is not None:
            progress(min(total, largest), largest)
        if not pending:
            return written
    there = ", ".join(path.name for path in written) or "none"
    raise NanochatError(
        f"{source or 'the stream'} ends after {len(taken)} conversations with {total} supervised"
        f" tokens, so {total} is the largest budget it can fill, not {pending[0]}"
        f" (written: {there})"
    )


def has_shards(folder: Path) -> bool:
    """Return True if a folder has shards."""
    return any(folder.glob(_PATTERN))


def list_shards(folder: Path) -> list[tuple[Path, About]]:
    """Return the shards of a folder, the one with the fewest tokens first.

    Raises
    ------
    NanochatError
        For a file named like a shard that is none.
    """
    shards = [(path, _read_about(path)) for path in folder.glob(_PATTERN)]
    return sorted(shards, key=lambda each: (each[1].supervised_tokens, each[1].budget))


def pick_shard(folder: Path, num_tokens: int | None = None) -> Path:
    """Return the smallest shard with at least `num_tokens` supervised tokens; without it, the
    largest.

    Raises
    ------
    NanochatError
        Where no shard has as many; names those there are.
    """
    shards = list_shards(Path(folder))
    if not shards:
        raise NanochatError(f"{folder} has no shards (made by `nanochat data shards`)")
    if num_tokens is None:
        return shards[-1][0]
    for path, about in shards:
        if about.supervised_tokens >= num_tokens:
            return path
    held = ", ".join(f"{about.budget} (holds {about.supervised_tokens})" for _, about in shards)
    raise NanochatError(
        f"no shard in {folder} has {num_tokens} supervised tokens; budgets there: {held};"
        f" `nanochat data shards --budgets {num_tokens}` makes one"
    )


def _write(folder: Path, taken: list[Conversation], counts: Sequence[int], about: About) -> Path:
    import pyarrow as pa

    path = folder / f"shard_{about.budget}.parquet"
    columns = {
        "messages": messages_array(taken),
        "supervised_tokens": pa.array(counts, pa.int32()),
    }
    facts = {name: value for name, value in asdict(about).items() if value is not None}
    write_table(path, columns, json.dumps(facts).encode())
    return path


def _refuse_others(folder: Path, about: About) -> None:
    for path, other in list_shards(folder):
        if other.origin != about.origin:
            names = ("source", "split", "tokenizer", "max_seq_len")
            values = zip(names, other.origin, about.origin, strict=True)
            name, there, here = next(value for value in values if value[1] != value[2])
            raise NanochatError(
                f"{path} is of another set ({name} {there}, not {here}): use another --out-dir,"
                " or delete it"
            )


def _read_about(path: Path) -> About:
    import pyarrow as pa
    import pyarrow.parquet as pq

    refuse_pointer(path)
    try:
        metadata = pq.read_schema(path).metadata or {}
        return About(**json.loads(metadata[b"nanochat"]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise NanochatError(f"{path} is no shard that `nanochat data shards` wrote") from error
