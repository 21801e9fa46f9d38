"""Encodings and rendered conversations of nanochat, storage, and pickles that must not run."""

import builtins
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from nanochat.errors import NanochatError
from nanochat.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

TEXTS = ["the cat sat on the mat. ", "the dog sat on the log. "] * 20


def test_encodings_match_nanochat(tokenizer: Tokenizer, fixtures: dict[str, Any]) -> None:
    for case in fixtures["encode"]:
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.decode(case["ids"]) == case["text"]


def test_sixteen_conversations_are_rendered_as_by_nanochat(
    tokenizer: Tokenizer, fixtures: dict[str, Any]
) -> None:
    assert len(fixtures["rendered"]) == 16
    for case in fixtures["rendered"]:
        longest = 2048
        ids, mask = tokenizer.render_conversation(case["messages"], longest)
        assert (ids, mask) == (case["ids"], case["mask"])
        assert tokenizer.render_conversation(case["messages"], 9) == (ids[:9], mask[:9])


def test_special_tokens_match_nanochat(tokenizer: Tokenizer, fixtures: dict[str, Any]) -> None:
    assert tokenizer.special == fixtures["special"]
    assert tokenizer.vocab_size == 512


def test_special_names_in_text_are_text(tokenizer: Tokenizer) -> None:
    for name in SPECIAL_TOKENS:
        ids = tokenizer.encode(f"a {name} b")
        assert not set(ids) & set(tokenizer.special.values())
        assert tokenizer.decode(ids) == f"a {name} b"


def test_stored_and_read_back(
    tokenizer: Tokenizer, tmp_path: Path, fixtures: dict[str, Any]
) -> None:
    path = tokenizer.save(tmp_path / "new" / "folder")
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.json"]
    again = Tokenizer.load(path.parent)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.special == tokenizer.special
    for case in fixtures["encode"]:
        assert again.encode(case["text"]) == case["ids"]


def test_training_is_repeatable() -> None:
    first, second = (Tokenizer.train(iter(TEXTS), 280) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.vocab_size == 280
    assert first.special["<|bos|>"] == 271
    assert len(first.encode("the cat sat")) < len("the cat sat")
    assert first.fingerprint != Tokenizer.train(TEXTS, 275).fingerprint


@pytest.mark.parametrize(("size", "message"), [(264, "at least 265"), (5000, "the texts give")])
def test_impossible_vocabularies_are_refused(size: int, message: str) -> None:
    with pytest.raises(NanochatError, match=message):
        Tokenizer.train(TEXTS, size)


class _Call:
    def __init__(self, function: Any, *arguments: str) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _hidden(function: Any, *arguments: str) -> Any:
    """An encoding with a call in place of its pattern."""
    state = {"name": "x", "pat_str": _Call(function, *arguments), "mergeable_ranks": {}}
    return _Stated(state)


class _Stated:
    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return tiktoken.Encoding.__new__, (tiktoken.Encoding,), self.state


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("wrap", [_Call, _hidden])
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec, os.mkdir])
def test_a_pickle_that_calls_something_is_refused(
    tmp_path: Path, function: Any, wrap: Any, protocol: int
) -> None:
    mark = tmp_path / "mark"
    argument = {
        os.system: f"touch {mark}",
        os.mkdir: str(mark),
    }.get(function, f"__import__('os').mkdir({str(mark)!r})")
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(wrap(function, argument), protocol))
    with pytest.raises(NanochatError, match="is refused"):
        Tokenizer.load(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"pat_str": "x"}),
        pickle.dumps(tiktoken.Encoding),
        # A class in place of an instance, and a state that is no dict.
        b"ctiktoken.core\nEncoding\n}b.",
        b"ctiktoken.core\nEncoding\n)\x81K\x05b.",
        b"ctiktoken.core\nEncoding.__init__.__globals__\n.",
        # Python 2 names that protocol 2 maps onto new ones.
        b"c__builtin__\neval\n(S'1'\ntR.",
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "tokenizer.pkl").write_bytes(content)
    with pytest.raises(NanochatError, match=r"tokenizer\.pkl is refused"):
        Tokenizer.load(tmp_path)


def test_an_encoding_without_our_tokens_is_refused(tmp_path: Path) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    plain = tiktoken.Encoding("x", pat_str=".", mergeable_ranks=ranks, special_tokens={})
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(plain))
    with pytest.raises(NanochatError):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tokens_base64": 3}'])
def test_damaged_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(NanochatError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer.load(tmp_path)


def test_foreign_json_gives_way_to_the_pickle(
    tmp_path: Path, golden_folder: Path, tokenizer: Tokenizer
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    published = (golden_folder / "tokenizer" / "tokenizer.pkl").read_bytes()
    (tmp_path / "tokenizer.pkl").write_bytes(published)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_an_empty_folder_has_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(NanochatError, match=r"no tokenizer\.json or tokenizer\.pkl in"):
        Tokenizer.load(tmp_path)


def test_ids_with_a_gap_are_refused(tokenizer: Tokenizer) -> None:
    special = {**tokenizer.special, "<|bos|>": 999}
    with pytest.raises(NanochatError, match="ids are not 0 to 511"):
        Tokenizer(tokenizer.pattern, tokenizer.ranks, special)


def test_a_pickle_that_would_hash_for_ever_is_refused(tmp_path: Path) -> None:
    pairs = b"".join(b"h%ch%c\x86\x94" % (k, k) for k in range(40))
    (tmp_path / "tokenizer.pkl").write_bytes(b"\x80\x04N\x94" + pairs + b"}h\x28Ns.")
    message = r"tokenizer\.pkl is refused: it nests more than 100 objects in one tuple"
    with pytest.raises(NanochatError, match=message):
        Tokenizer.load(tmp_path)


def test_a_large_vocabulary_in_a_pickle_is_read(tmp_path: Path) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {bytes([65 + k // 60, 65 + k % 60, 65]): 256 + k for k in range(3000)}
    special = {name: len(ranks) + index for index, name in enumerate(SPECIAL_TOKENS)}
    plain = tiktoken.Encoding("x", pat_str="(?s:.)", mergeable_ranks=ranks, special_tokens=special)
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(plain))
    assert Tokenizer.load(tmp_path).vocab_size == 3265
