"""Conversations from the shipped set, from files, from shards, or from the Hugging Face hub."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.data.bad_rows import SkippedRows, parse_rows
from nanochat.data.rows import find_file, read_rows, spellings
from nanochat.errors import NanochatError, shortened, user_path
from nanochat.tokenizer.conversation import check_conversation

SHIPPED = ("stdlib_qa",)
Conversation = list[dict[str, Any]]


def load_conversations(
    source: str,
    split: str = "train",
    limit: int | None = None,
    num_tokens: int | None = None,
    streaming: bool = True,
    skipped: SkippedRows | None = None,
) -> list[Conversation]:
    """Load and check the conversations of a data source, in its order.

    Parameters
    ----------
    source
        ``stdlib_qa`` (shipped with the package), a ``.jsonl`` or ``.parquet`` file, a folder that
        has ``<split>.jsonl``, ``<split>.parquet`` or shards (`nanochat.data.nested_shards`), or
        ``hf:owner/name[:config][@revision]``. A row is ``{"messages": [...]}``, whatever else it
        holds; in JSONL it may also be the bare list of messages, an array holds many rows, on one
        line or over the whole file, and empty lines are passed over.
    split
        Split to read; ``validation``, ``val`` and ``valid`` are equal. A file is read
        whole, with a warning where its name is not the split's. Shards are the ``train`` split
        of their folder.
    limit
        Read this many conversations at most.
    num_tokens
        Budget in supervised tokens, by which the smallest shard that has them is picked; the
        largest without it. Only for a folder of shards.
    streaming
        Rows of the hub as they come, no more than are needed. False downloads the set whole into
        the cache of the ``datasets`` library, from where it can be read again offline.
    skipped
        Counts bad rows, which are left out up to its limit; without it, the first one is an error.

    Returns
    -------
    list of list of dict
        Messages that `check_conversation` accepts, each with ``role`` and
        ``content`` and nothing else.

    Raises
    ------
    NanochatError
        Where the source or the split does not exist, has a bad row (named by file and row), or has
        none.
    """
    stream = iter_conversations(source, split, num_tokens, streaming, skipped)
    conversations = list(itertools.islice(stream, limit))
    if not conversations:
        raise NanochatError(f"{source}: no conversations")
    return conversations


def iter_conversations(
    source: str,
    split: str = "train",
    num_tokens: int | None = None,
    streaming: bool = True,
    skipped: SkippedRows | None = None,
) -> Iterator[Conversation]:
    """Yield conversations as `load_conversations` returns them; no error for an empty source."""
    place = str(_place(source, split, num_tokens))
    rows = read_rows(place, split, ("messages",), streaming)
    yield from parse_rows(rows, _conversation, SkippedRows() if skipped is None else skipped)


def location(source: str, split: str, num_tokens: int | None = None) -> str:
    """Return the place from which a split is read; equal places hold the same conversations.

    Raises
    ------
    NanochatError
        Where a local source or its split does not exist. The hub is not asked.
    """
    place = str(_place(source, split, num_tokens))
    if place.startswith("hf:"):
        return f"{place} {min(spellings(split))}"
    return str(find_file(place, split).resolve())


def is_file(source: str) -> bool:
    """Return True if a data source is one file, whose rows are all in one split."""
    return user_path(source).is_file()


def _place(source: str, split: str, num_tokens: int | None) -> str | Path:
    if source.startswith("hf:"):
        return source
    if source in SHIPPED:
        return Path(__file__).parent / source
    from nanochat.data.nested_shards import (  # Arrow, which shipped text does not need
        has_shards,
        pick_shard,
    )

    folder = user_path(source)
    return pick_shard(folder, num_tokens) if split == "train" and has_shards(folder) else folder


def _conversation(where: str, row: Any) -> Conversation:
    messages = row
    if isinstance(row, Mapping):
        if "messages" not in row:
            keys = shortened(", ".join(map(str, row))) or "none"
            raise NanochatError(f"{where}: no messages (keys: {keys})")
        messages = row["messages"]
    is_list = isinstance(messages, Sequence) and not isinstance(messages, str)
    conversation: Any = [_message(each) for each in messages] if is_list else messages
    try:
        check_conversation(conversation)
    except NanochatError as error:
        raise NanochatError(f"{where}: {error}") from error
    return conversation


def _message(given: Any) -> Any:
    """Return the role and content of a message; other values are returned unchanged."""
    if not isinstance(given, Mapping):
        return given
    content = given.get("content")
    if content is None:
        content = given.get("parts")  # as nanochat.data.messages_table stores them
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = [_part(each) for each in content]
    return {"role": given.get("role"), "content": content}


def _part(given: Any) -> Any:
    return (
        {key: given.get(key) for key in ("type", "text")} if isinstance(given, Mapping) else given
    )
