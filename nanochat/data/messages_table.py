"""Conversations as an Arrow column in the form usual for chat data: role and content.

Text is in ``content``. Where an assistant's content is a list of parts, which no column of text
can hold, ``content`` is null and the parts are in a third field, ``parts``; the field is there only
in files that need it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.errors import NanochatError
from nanochat.files.atomic import write_atomically
from nanochat.files.outputs import writing

_TEXT = [("role", pa.string()), ("content", pa.string())]
_PARTS = ("parts", pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())])))
TEXT_MESSAGES = pa.list_(pa.struct(_TEXT))
_ROWS = 1024  # rows of a row group, which a reader of the first few rows must decode

Conversation = Sequence[Mapping[str, Any]]


def messages_array(conversations: Sequence[Conversation]) -> pa.Array:
    """Return the ``messages`` column of conversations.

    Raises
    ------
    NanochatError
        For text that is no Unicode (half a surrogate pair), which Parquet cannot hold.
    """
    rows = [[_encoded(message) for message in messages] for messages in conversations]
    parts = any("parts" in message for messages in rows for message in messages)
    kind = pa.list_(pa.struct([*_TEXT, _PARTS])) if parts else TEXT_MESSAGES
    try:
        return pa.array(rows, kind)
    except UnicodeEncodeError as error:
        raise NanochatError(f"a text cannot be stored in Parquet ({error})") from error


def write_table(path: Path, columns: Mapping[str, pa.Array], about: bytes | None = None) -> None:
    """Write a Parquet file, whole or not at all.

    Parameters
    ----------
    about
        Kept in the schema's metadata under ``nanochat``.
    """
    table = pa.table(dict(columns))
    if about is not None:
        table = table.replace_schema_metadata({"nanochat": about})
    with writing(path):
        write_atomically(
            path, lambda file: pq.write_table(table, file, compression="zstd", row_group_size=_ROWS)
        )


def _encoded(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {"role": message["role"], "content": content}
    return {"role": message["role"], "content": None, "parts": list(content)}
