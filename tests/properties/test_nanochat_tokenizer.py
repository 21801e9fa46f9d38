"""Any text survives encoding; any conversation gets a mask that covers what the assistant says."""

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.tokenizer.tokenizer import Tokenizer

TEXT = st.text(max_size=60)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "python", "python_output"]), "text": TEXT}
)


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.train(["to be or not to be, that is the question. 123 456"] * 5, 280)


@st.composite
def conversations(draw: Any) -> Any:
    messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXT)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXT)})
        content = draw(TEXT | st.lists(PART, max_size=4))
        messages.append({"role": "assistant", "content": content})
    return messages


@given(TEXT)
def test_decoding_gives_the_text_back(text: Any) -> None:
    tokenizer = _tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= token < tokenizer.vocab_size for token in ids)


@settings(deadline=None)
@given(conversations(), st.integers(1, 300))
def test_mask_is_as_long_and_counts_what_is_said(messages: Any, limit: Any) -> None:
    tokenizer = _tokenizer()
    ids, mask = tokenizer.render_conversation(messages, 10**6)
    assert len(ids) == len(mask)
    assert ids[0] == tokenizer.special["<|bos|>"]
    assert sum(mask) == sum(_supervised(tokenizer, message) for message in messages)
    cut = tokenizer.render_conversation(messages, limit)
    assert cut == (ids[:limit], mask[:limit])


def _supervised(tokenizer: Tokenizer, message: str) -> Any:
    if message["role"] != "assistant":
        return 0
    if isinstance(message["content"], str):
        return len(tokenizer.encode(message["content"])) + 1
    extra = {"text": 0, "python": 2}
    said = [part for part in message["content"] if part["type"] in extra]
    return 1 + sum(len(tokenizer.encode(part["text"])) + extra[part["type"]] for part in said)
