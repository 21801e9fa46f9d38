"""Conversations as tokens: the rules for a list of messages, and the tokens that it becomes.

A system message is put before the first user's text, with a blank line between.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nanochat.errors import NanochatError, quoted

PART_TYPES = ("text", "python", "python_output")


def check_conversation(messages: Any) -> None:
    """Raise for a conversation that cannot be rendered.

    A conversation is a list of messages ``{"role": ..., "content": ...}``: an optional system
    message, then user and assistant in turn, the user first. Content is text; an assistant's may
    also be a list of parts ``{"type": ..., "text": ...}`` with a type of `PART_TYPES`.

    Raises
    ------
    NanochatError
        Says which message is wrong and how; messages are counted from 1.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise NanochatError(f"messages must be a list, not {type(messages).__name__}")
    if not messages:
        raise NanochatError("there are no messages")
    roles = [_role(number, message) for number, message in enumerate(messages, 1)]
    lead = 1 if roles[0] == "system" else 0
    if len(roles) == lead:
        raise NanochatError("a system message must be followed by a user message")
    for number, role in enumerate(roles[lead:], lead + 1):
        expected = ("user", "assistant")[(number - lead - 1) % 2]
        if role != expected:
            raise NanochatError(
                f"message {number} is from {quoted(role)}; {expected!r} is expected"
            )
    for number, message in enumerate(messages, 1):
        _check_content(number, roles[number - 1], message.get("content"))


def _role(number: int, message: Any) -> str:
    if not isinstance(message, Mapping):
        raise NanochatError(f"message {number} is a {type(message).__name__}, not an object")
    role = message.get("role")
    if role not in ("system", "user", "assistant"):
        raise NanochatError(f"message {number} has role {quoted(role)} (system, user or assistant)")
    return role


def _check_content(number: int, role: str, content: Any) -> None:
    if isinstance(content, str):
        return
    kind = type(content).__name__
    if role != "assistant":
        raise NanochatError(f"message {number}: content of {quoted(role)} must be text, not {kind}")
    if not isinstance(content, Sequence):
        raise NanochatError(f"message {number}: content must be text or parts, not {kind}")
    for part in content:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise NanochatError(f"message {number}: a part must be an object with text")
        if part.get("type") not in PART_TYPES:
            allowed = ", ".join(PART_TYPES)
            raise NanochatError(
                f"message {number}: part of type {quoted(part.get('type'))} (allowed: {allowed})"
            )


def render(
    messages: Sequence[Mapping[str, Any]],
    max_tokens: int,
    encode: Callable[[str], list[int]],
    special: Mapping[str, int],
) -> tuple[list[int], list[int]]:
    """Render a conversation as token ids and a mask of those that a fine-tune predicts.

    Parameters
    ----------
    messages
        As `check_conversation` demands.
    max_tokens
        Tokens beyond this number are cut off.
    encode
        Returns the ids of a text.
    special
        Ids of the special tokens by name.

    Returns
    -------
    ids, mask
        Two lists of one length. `mask` is 1 where the assistant speaks (its end token and the code
        that it sends to Python included, Python's output excluded), else 0.

    Raises
    ------
    NanochatError
        For a conversation that breaks the rules, or a text that `encode` refuses.
    """
    check_conversation(messages)
    first = 1
    if messages[0]["role"] == "system":
        system, user, *rest = messages
        text = f"{system['content']}\n\n{user['content']}"
        messages = [{"role": "user", "content": text}, *rest]
        first = 2
    pieces: list[tuple[list[int], int]] = [([special["<|bos|>"]], 0)]
    for number, message in enumerate(messages, first):
        try:
            pieces += _pieces(message, encode, special)
        except NanochatError as error:
            raise NanochatError(f"message {number}: {error}") from error
    ids = [token for tokens, _ in pieces for token in tokens]
    mask = [bit for tokens, bit in pieces for _ in tokens]
    return ids[:max_tokens], mask[:max_tokens]


def _pieces(
    message: Mapping[str, Any], encode: Callable[[str], list[int]], special: Mapping[str, int]
) -> Iterator[tuple[list[int], int]]:
    """Yield the token ids of a message in pieces, each with its bit of the mask."""

    def wrapped(kind: str, text: str) -> list[int]:
        return [special[f"<|{kind}_start|>"], *encode(text), special[f"<|{kind}_end|>"]]

    content = message["content"]
    if message["role"] == "user":
        yield wrapped("user", content), 0
        return
    yield [special["<|assistant_start|>"]], 0
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "text":
            yield encode(part["text"]), 1
        elif part["type"] == "python":
            yield wrapped("python", part["text"]), 1
        else:
            yield wrapped("output", part["text"]), 0
    yield [special["<|assistant_end|>"]], 1
