"""Conversations from the shipped set, from JSONL files, or from the Hugging Face hub.

``Examples`` and ``Batches``, what becomes of them, can be imported from here too.
"""

import glob
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nanochat.batches import Batches, make_batches
from nanochat.conversation import check_conversation
from nanochat.errors import NanochatError
from nanochat.examples import Examples, tokenize_conversations
from nanochat.hub import split_revision

__all__ = [
    "Batches",
    "Examples",
    "load_conversations",
    "make_batches",
    "tokenize_conversations",
]

SHIPPED = ("stdlib_qa",)
Conversation = list[dict[str, Any]]


def load_conversations(
    source: str, split: str = "train", limit: int | None = None
) -> list[Conversation]:
    """Conversations of a source, in its order, each checked.

    Parameters
    ----------
    source : str
        ``stdlib_qa`` (shipped with the package), a ``.jsonl`` file, a folder that has
        ``<split>.jsonl``, or ``hf:repository[@revision]``. A line of JSONL is
        ``{"messages": [...]}`` or the bare list; empty lines are passed over.
    split : str
        Which part; without meaning for a file.
    limit : int, optional
        Read this many conversations at most.

    Returns
    -------
    list of list of dict
        Messages that `nanochat.conversation.check_conversation` accepts.

    Raises
    ------
    NanochatError
        Where the source does not exist, has a bad row (named by file and row), or has none.
    """
    if source.startswith("hf:"):
        rows: Iterable[tuple[str, Any]] = _hub_rows(source, split)
    else:
        rows = _file_rows(_find_file(source, split))
    conversations = [_conversation(where, row) for where, row in itertools.islice(rows, limit)]
    if not conversations:
        raise NanochatError(f"{source}: no conversations")
    return conversations


def _find_file(source: str, split: str) -> Path:
    if source in SHIPPED:
        path = Path(__file__).parent / source / f"{split}.jsonl"
    else:
        path = Path(source).expanduser()
        if path.is_dir():
            path = path / f"{split}.jsonl"
    if not path.is_file():
        kinds = f"{', '.join(SHIPPED)}, a .jsonl file, a folder with {split}.jsonl, hf:repository"
        raise NanochatError(f"no conversations at {path} (a source is one of: {kinds})")
    return path


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    # Here, because loading it takes seconds that workers who get examples ready-made need not pay.
    from datasets import load_dataset

    with tempfile.TemporaryDirectory() as locks:  # it leaves a lock file even when streaming
        # As text, streamed: rows whose content is now a string, now a list, are no Arrow table,
        # and nothing is put into a cache.
        lines = load_dataset(
            "text",
            data_files=glob.escape(str(path)),
            split="train",
            streaming=True,
            cache_dir=locks,
        )
        for number, text in enumerate(_decoded(path, lines), 1):
            if not text.strip():
                continue
            where = f"{path}, row {number}"
            try:
                row = json.loads(text)
            except ValueError as error:
                raise NanochatError(f"{where}: not JSON ({error})") from error
            yield where, row


def _decoded(path: Path, lines: Iterable[Mapping[str, str]]) -> Iterator[str]:
    try:
        for line in lines:
            yield line["text"]
    except UnicodeDecodeError as error:
        raise NanochatError(f"{path}: not UTF-8 text ({error})") from error


def _hub_rows(source: str, split: str) -> Iterator[tuple[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    repository, revision = split_revision(source)
    try:
        rows = load_dataset(repository, revision=revision, split=split, streaming=True)
    # ValueError: there is no such split.
    except (DatasetNotFoundError, ConnectionError, ValueError) as error:
        raise NanochatError(f"{source}: {error}") from error
    for number, row in enumerate(rows, 1):
        yield f"{source}, row {number}", row


def _conversation(where: str, row: Any) -> Conversation:
    messages = row
    if isinstance(row, Mapping):
        if "messages" not in row:
            raise NanochatError(f"{where}: no messages (keys: {', '.join(row) or 'none'})")
        messages = row["messages"]
    try:
        check_conversation(messages)
    except NanochatError as error:
        raise NanochatError(f"{where}: {error}") from error
    return [dict(message) for message in messages]
