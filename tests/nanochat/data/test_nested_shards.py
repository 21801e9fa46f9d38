"""Shards: beginnings of one stream, each as short as its budget allows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiktoken

from nanochat.data.bad_rows import SkippedRows, parse_rows
from nanochat.data.conversations import load_conversations
from nanochat.data.examples import tokenize_conversations
from nanochat.data.nested_shards import list_shards, pick_shard, write_shards
from nanochat.errors import NanochatError
from nanochat.prepare import encodings
from nanochat.prepare.encodings import from_encoding, load_tokenizer
from nanochat.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

ASK = {"role": "user", "content": "1+1?"}
PARTS = [
    {"type": "text", "text": "Let me see. "},
    {"type": "python", "text": "1+1"},
    {"type": "python_output", "text": "2"},
    {"type": "text", "text": ""},
]
MIXED = [
    [ASK, {"role": "assistant", "content": PARTS}],
    [{"role": "system", "content": "\u2028 ü"}, ASK, {"role": "assistant", "content": ""}],
    [ASK, {"role": "assistant", "content": []}],
    [ASK],
]


@pytest.fixture(scope="module")
def stream() -> Any:
    return load_conversations("stdlib_qa", limit=60)


def _supervised(conversations: Any, tokenizer: Tokenizer, max_seq_len: int = 128) -> Any:
    return tokenize_conversations(conversations, tokenizer, max_seq_len).num_supervised


def test_shards_are_the_shortest_beginnings(
    tmp_path: Path, stream: Any, tokenizer: Tokenizer
) -> None:
    budgets = [1500, 1, 200, 200]
    paths = write_shards(iter(stream), tokenizer, budgets, tmp_path, 128, "stdlib_qa")
    assert [path.name for path in paths] == [f"shard_{n}.parquet" for n in (1, 200, 1500)]
    for (path, about), budget in zip(list_shards(tmp_path), (1, 200, 1500), strict=True):
        shard = load_conversations(str(path))
        assert shard == stream[: len(shard)]
        assert _supervised(shard, tokenizer) == about.supervised_tokens >= budget == about.budget
        assert len(shard) == about.rows
        if len(shard) > 1:
            assert _supervised(shard[:-1], tokenizer) < budget
        counts = pq.read_table(path)["supervised_tokens"]
        assert counts.type == pa.int32()
        assert sum(counts.to_pylist()) == about.supervised_tokens
    written = json.loads(pq.read_schema(paths[0]).metadata[b"nanochat"])
    assert written["source"] == "stdlib_qa"
    assert written["tokenizer"] == tokenizer.fingerprint
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_a_folder_of_shards_is_a_source(tmp_path: Path, stream: Any, tokenizer: Tokenizer) -> None:
    write_shards(stream, tokenizer, [300, 900], tmp_path, 128)
    small, large = (load_conversations(str(tmp_path / f"shard_{n}.parquet")) for n in (300, 900))
    held = list_shards(tmp_path)[0][1].supervised_tokens
    assert load_conversations(str(tmp_path)) == large
    assert load_conversations(str(tmp_path), num_tokens=1) == small
    assert load_conversations(str(tmp_path), num_tokens=held) == small
    assert load_conversations(str(tmp_path), num_tokens=held + 1) == large
    with pytest.raises(NanochatError, match=r"has 5000 .* 300 \(holds \d+\), 900 \(holds .*--budg"):
        load_conversations(str(tmp_path), num_tokens=5000)
    with pytest.raises(
        NanochatError, match=r"no validation\.jsonl .*there are: shard_300\.parquet"
    ):
        load_conversations(str(tmp_path), split="validation")
    (tmp_path / "val.jsonl").write_text(json.dumps(stream[0]) + "\n")
    assert load_conversations(str(tmp_path), split="validation") == stream[:1]


def test_what_is_no_text_comes_back_as_it_was(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (path,) = write_shards(MIXED, tokenizer, [1], tmp_path / "parts", 128)
    assert load_conversations(str(path)) == MIXED[:1]
    (path,) = write_shards(MIXED * 50, tokenizer, [400], tmp_path / "parts", 128)
    again = load_conversations(str(path))
    assert again == (MIXED * 50)[: len(again)]
    assert len(again) > 4
    # Text alone is stored as every reader of chat data expects it.
    (path,) = write_shards([*MIXED[1:2], *MIXED], tokenizer, [1], tmp_path / "text", 128)
    message = pq.read_schema(path).field("messages").type.value_type
    assert message == pa.struct([("role", pa.string()), ("content", pa.string())])


def test_the_stream_is_read_once_and_no_further_than_needed(
    tmp_path: Path, stream: Any, tokenizer: Tokenizer
) -> None:
    taken = []

    def read() -> Iterator[Any]:
        for conversation in stream:
            taken.append(conversation)
            yield conversation

    write_shards(read(), tokenizer, [100, 500], tmp_path, 128)
    assert len(taken) == list_shards(tmp_path)[-1][1].rows < len(stream)


def test_a_stream_that_ends_too_early_leaves_what_it_filled(
    tmp_path: Path, stream: Any, tokenizer: Tokenizer
) -> None:
    total = _supervised(stream[:4], tokenizer)
    message = (
        rf"{total} is the largest budget it can fill, not 99999 \(written: shard_50\.parquet\)"
    )
    with pytest.raises(NanochatError, match=message):
        write_shards(stream[:4], tokenizer, [50, 99999, 999999], tmp_path, 128, "some set")
    assert [path.name for path in tmp_path.iterdir()] == ["shard_50.parquet"]
    write_shards(stream[:4], tokenizer, [total], tmp_path, 128, "some set")
    with pytest.raises(NanochatError, match=f"not {total + 1} "):
        write_shards(stream[:4], tokenizer, [total + 1], tmp_path, 128, "some set")


def test_shards_of_two_sets_are_not_mixed(
    tmp_path: Path, stream: Any, tokenizer: Tokenizer
) -> None:
    write_shards(stream, tokenizer, [50], tmp_path, 128, "one")
    write_shards(stream, tokenizer, [60], tmp_path, 128, "one")
    for given in [(64, "one", "train"), (128, "two", "train"), (128, "one", "test")]:
        with pytest.raises(NanochatError, match=r"is of another set .*another --out-dir"):
            write_shards(stream, tokenizer, [70], tmp_path, *given)
    (tmp_path / "shard_1.parquet").write_bytes(b"PAR1")
    with pytest.raises(NanochatError, match=r"shard_1\.parquet is no shard"):
        pick_shard(tmp_path)


@pytest.mark.parametrize(
    ("budgets", "length", "message"),
    [([], 128, "budgets"), ([0, 5], 128, "budgets must be"), ([5], 1, "max_seq_len must be")],
)
def test_bad_numbers_are_refused(
    tmp_path: Path, stream: Any, tokenizer: Tokenizer, budgets: Any, length: int, message: str
) -> None:
    with pytest.raises(NanochatError, match=message):
        write_shards(stream, tokenizer, budgets, tmp_path / "new", length)
    assert not (tmp_path / "new").exists()


def test_text_that_parquet_cannot_hold_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    half = [ASK, {"role": "assistant", "content": "\ud800"}]
    with pytest.raises(NanochatError, match="cannot be stored in Parquet"):
        write_shards([half], tokenizer, [1], tmp_path, 128)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def encoding() -> Any:
    ranks = {bytes([value]): value for value in range(256)}
    ranks |= {b"th": 256, b"the": 258}  # 257 is a special token in the middle
    return tiktoken.Encoding(
        "made", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens={"<|end|>": 257}
    )


def test_an_encoding_counts_with_the_special_tokens_added(
    encoding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = from_encoding(encoding)
    assert tokenizer.vocab_size == 258 + len(SPECIAL_TOKENS)
    assert [tokenizer.special[name] for name in SPECIAL_TOKENS] == list(range(258, 267))
    text = "then the <|end|> thing"
    assert len(tokenizer.encode(text)) == len(encoding.encode_ordinary(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    monkeypatch.setattr("tiktoken.get_encoding", {"cl100k_base": encoding}.__getitem__)
    assert load_tokenizer("cl100k_base").fingerprint == tokenizer.fingerprint


def test_tokenizers_of_folders_and_models(golden_folder: Path, tokenizer: Tokenizer) -> None:
    for source in (golden_folder, golden_folder / "tokenizer"):
        assert load_tokenizer(str(source)).fingerprint == tokenizer.fingerprint
    with pytest.raises(NanochatError, match=r"cl100k.*no such folder.*cl100k_base"):
        load_tokenizer("cl100k")


def test_an_encoding_that_cannot_be_fetched_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    monkeypatch.setattr("nanochat.files.retry.FIRST_WAIT", 0.01)
    # Nothing listens there.
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        NanochatError, match=r"'cl100k_base' could not be fetched .*--tokenizer FOL"
    ):
        encodings.load_tokenizer("cl100k_base")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(encodings, "with_retries", None)  # not called: one attempt is enough
    with pytest.raises(NanochatError, match=r"could not be fetched .*; HF_HUB_OFFLINE is set"):
        encodings.load_tokenizer("cl100k_base")


def test_shards_keep_the_bad_rows_before_their_end(
    tmp_path: Path, stream: Any, tokenizer: Tokenizer
) -> None:
    rows = [("row 1", NanochatError("row 1: not JSON")), *(("row", each) for each in stream)]
    rows.insert(9, ("row 9", NanochatError("row 9: not JSON")))
    skipped = SkippedRows(limit=2)
    left = parse_rows(rows, lambda where, row: row, skipped)
    write_shards(left, tokenizer, [100, 2000], tmp_path, 128, skipped=skipped)
    small, large = (about for _, about in list_shards(tmp_path))
    assert small.skipped_rows == {"count": 1, "first": ["row 1: not JSON"]}
    assert large.skipped_rows == {"count": 2, "first": ["row 1: not JSON", "row 9: not JSON"]}
    (path,) = write_shards(stream, tokenizer, [100], tmp_path / "clean", 128)
    assert b"skipped_rows" not in pq.read_schema(path).metadata[b"nanochat"]
    assert load_conversations(str(path)) == load_conversations(str(tmp_path), num_tokens=100)
