"""Shards begin with all smaller ones, are no longer than need be, and the right one is picked."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data.conversations import load_conversations
from nanochat.data.nested_shards import list_shards, pick_shard, write_shards
from nanochat.errors import NanochatError
from nanochat.tokenizer.tokenizer import Tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "python", "python_output"]), "text": TEXT}
)
MAX_SEQ_LEN = 30


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.train(["to be or not to be, that is the question. 123 456"] * 5, 280)


@st.composite
def conversations(draw: Any) -> Any:
    answers = draw(st.lists(TEXT | st.lists(PART, max_size=3), min_size=1, max_size=2))
    turns = [
        [{"role": "user", "content": draw(TEXT)}, {"role": "assistant", "content": answer}]
        for answer in answers
    ]
    return [message for turn in turns for message in turn]


def _count(conversation: Any) -> int:
    return sum(_tokenizer().render_conversation(conversation, MAX_SEQ_LEN)[1][1:])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(conversations(), min_size=1, max_size=25),
    st.lists(st.integers(1, 150), min_size=1, max_size=5),
    st.lists(st.integers(0, 200), min_size=1, max_size=5),
)
def test_shards_are_minimal_nested_and_found(stream: Any, budgets: Any, asked: Any) -> None:
    counts = [_count(each) for each in stream]
    total = sum(counts)
    fillable = sorted({budget for budget in budgets if budget <= total})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if fillable == sorted(set(budgets)):
            write_shards(iter(stream), _tokenizer(), budgets, folder, MAX_SEQ_LEN)
        else:
            with pytest.raises(NanochatError, match=f" {total} is the largest budget"):
                write_shards(iter(stream), _tokenizer(), budgets, folder, MAX_SEQ_LEN)
        shards = list_shards(folder)
        assert [about.budget for _, about in shards] == fillable
        for path, about in shards:
            content = load_conversations(str(path))
            assert content == stream[: len(content)]
            held = sum(counts[: len(content)])
            assert held == about.supervised_tokens >= about.budget
            assert held - counts[len(content) - 1] < about.budget
        for num_tokens in asked:
            enough = [about for _, about in shards if about.supervised_tokens >= num_tokens]
            if enough:
                picked = pick_shard(folder, num_tokens)
                least = min(about.supervised_tokens for about in enough)
                assert dict(shards)[picked].supervised_tokens == least
            else:
                with pytest.raises(NanochatError, match="no shard"):
                    pick_shard(folder, num_tokens)
