"""A data source: the conversations that it names, and the examples made of them."""

from nanochat.data.conversations import load_conversations
from nanochat.data.examples import tokenize_conversations
from nanochat.data.source import DataSource
from nanochat.tokenizer.tokenizer import Tokenizer


def test_it_loads_what_its_fields_name(tokenizer: Tokenizer) -> None:
    source = DataSource("stdlib_qa", "validation", limit=3, max_seq_len=64)
    conversations = load_conversations("stdlib_qa", "validation", 3)
    assert source.conversations() == conversations
    expected = tokenize_conversations(conversations, tokenizer, 64)
    assert source.examples(tokenizer).fingerprint == expected.fingerprint
