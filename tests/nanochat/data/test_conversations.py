"""Rows that are read, rows that are refused, and the batches made of them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nanochat.data.conversations import load_conversations
from nanochat.data.examples import Examples, tokenize_conversations
from nanochat.errors import NanochatError
from nanochat.prepare.docvqa_rows import parse_row
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.batches import make_batches
from nanochat.train.recipe import Recipe

ASK = {"role": "user", "content": "Hello?"}
ANSWER = {"role": "assistant", "content": "Hi."}
PARTS = {"role": "assistant", "content": [{"type": "python", "text": "1+1"}]}


def _write(path: Path, *rows: Any) -> Any:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_shipped_conversations() -> None:
    assert len(load_conversations("stdlib_qa", split="validation")) == 256
    train = load_conversations("stdlib_qa", limit=5)
    assert len(train) == 5
    assert train[0][0]["content"].startswith("What does the Python function `collections.Counter")


def test_both_row_shapes_and_mixed_content(tmp_path: Path) -> None:
    odd = [{"role": "user", "content": "line\u2028separator\r and \x85"}, ANSWER]
    source = _write(tmp_path / "a b.jsonl", {"messages": [ASK, ANSWER]}, "", [ASK, PARTS], odd)
    expected = [[ASK, ANSWER], [ASK, PARTS], odd]
    assert load_conversations(source) == expected
    assert load_conversations(source, limit=2) == expected[:2]


def test_a_split_of_one_file_is_the_whole_file_with_a_note(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    source = _write(tmp_path / "talks.jsonl", [ASK, ANSWER])
    named = _write(tmp_path / "val.jsonl", [ASK, ANSWER])
    for path, split in ((source, "train"), (named, "validation"), (named, "val")):
        load_conversations(path, split)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"talks\.jsonl has one split: all its rows are read as "):
        assert load_conversations(source, "validation") == [[ASK, ANSWER]]


def test_a_folder_has_splits(tmp_path: Path) -> None:
    _write(tmp_path / "validation.jsonl", [ASK, ANSWER])
    assert load_conversations(str(tmp_path), split="validation") == [[ASK, ANSWER]]
    with pytest.raises(NanochatError, match=r"train\.jsonl"):
        load_conversations(str(tmp_path))


def test_a_folder_may_hold_parquet_and_spell_its_splits(tmp_path: Path) -> None:
    messages = [[{**ASK, "name": None}, {**ANSWER, "name": None}]] * 600
    pq.write_table(pa.table({"n": list(range(600)), "messages": messages}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").rename(tmp_path / "val.parquet")
    for split in ("val", "valid", "validation"):
        assert load_conversations(str(tmp_path), split) == [[ASK, ANSWER]] * 600
    _write(tmp_path / "valid.jsonl", [ASK, ANSWER])
    assert len(load_conversations(str(tmp_path), "valid")) == 1  # as it is spelt comes first
    assert len(load_conversations(str(tmp_path), "val")) == 600
    _write(tmp_path / "val.jsonl", [ASK, ANSWER])
    with pytest.raises(NanochatError, match=r"has val\.jsonl and val\.parquet: name one"):
        load_conversations(str(tmp_path), "val")
    assert len(load_conversations(str(tmp_path / "val.parquet"), "train", limit=3)) == 3
    with pytest.raises(NanochatError, match=r"there are: val\.jsonl, val\.parquet, valid\.jsonl"):
        load_conversations(str(tmp_path), "test")
    with pytest.raises(NanochatError, match=r"stdlib_qa has no test\.jsonl"):
        load_conversations("stdlib_qa", "test")


def test_bad_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 and so on")
    with pytest.raises(NanochatError, match=r"data\.parquet: not readable as Parquet"):
        load_conversations(str(path))
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), path)
    with pytest.raises(NanochatError, match=r"row 1: no messages \(keys: text, n\)"):
        load_conversations(str(path))
    messages = [[ASK, ANSWER], None, [ASK]]
    pq.write_table(pa.table({"messages": messages}), path)
    with pytest.raises(NanochatError, match=r"row 2: messages must be a list, not NoneType"):
        load_conversations(str(path))
    pq.write_table(pa.table({"messages": messages[:1]}).slice(0, 0), path)
    with pytest.raises(NanochatError, match=r"data\.parquet: no conversations"):
        load_conversations(str(path))


def test_what_a_message_holds_beside_role_and_content_is_left_out(tmp_path: Path) -> None:
    part = {"type": "text", "text": "Hi.", "id": 3}
    talk = [{**ASK, "name": None, "id": 1}, {"role": "assistant", "content": [part], "parts": None}]
    source = _write(tmp_path / "data.jsonl", "\ufeff" + json.dumps({"id": 1, "messages": talk}))
    assert load_conversations(source) == [
        [ASK, {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}]
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{broken", "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        ({"text": "hi"}, r"no messages \(keys: text\)"),
        ({}, r"no messages \(keys: none\)"),
        ([], "there are no messages"),
        ("3", "messages must be a list, not int"),
        ([ANSWER, ASK], "message 1 is from 'assistant'; 'user' is expected"),
        ([ASK, ASK], "message 2 is from 'user'; 'assistant' is expected"),
        ([{"role": "system", "content": "x"}, ANSWER], "message 2 is from 'assistant'"),
        ([{"role": "system", "content": "x"}], "must be followed by a user message"),
        ([{"role": "tool", "content": "x"}], "message 1 has role 'tool'"),
        (["hi"], "message 1 is a str, not an object"),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], "must be text, not list"),
        ([{"role": "user"}], "content of 'user' must be text, not NoneType"),
        ([ASK, {"role": "assistant", "content": 3}], "message 2: content must be text or parts"),
        ([ASK, {"role": "assistant", "content": [{"type": "image", "text": ""}]}], "'image'"),
        ([ASK, {"role": "assistant", "content": ["x"]}], "a part must be an object with text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    source = _write(tmp_path / "data.jsonl", [ASK, ANSWER], "", row)
    with pytest.raises(NanochatError, match=message) as caught:
        load_conversations(source)
    assert str(caught.value).startswith(f"{source}, row 3: ")
    assert "\n" not in str(caught.value)


def test_deep_json_within_a_row_is_named() -> None:
    with pytest.raises(NanochatError, match=r"^here: ocr_results is not JSON \(maximum recursion"):
        parse_row("here", {"question": "?", "answers": [], "ocr_results": "[" * 100_000})


@pytest.mark.parametrize("name", ["x.txt", "x.json", "x"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    source = _write(tmp_path / name, [ASK, ANSWER])
    message = rf"{name}: its name must end in \.jsonl \(a JSON value a line\) or \.parquet$"
    with pytest.raises(NanochatError, match=message):
        load_conversations(source)


def test_tables_of_text_are_named_as_not_read(tmp_path: Path) -> None:
    source = _write(tmp_path / "Talks.CSV", "messages")
    message = r"CSV is not read; write a \.jsonl file, .* or a \.parquet file$"
    with pytest.raises(NanochatError, match=rf"Talks\.CSV: {message}"):
        load_conversations(source)
    _write(tmp_path / "train.tsv", "messages")
    message = message.replace("read;", r"read \(Talks\.CSV, train\.tsv\):")
    with pytest.raises(NanochatError, match=rf"train\.parquet \(there are: none\); {message}"):
        load_conversations(str(tmp_path))


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").mkdir()
    with pytest.raises(NanochatError, match=r"train\.jsonl: not readable \(Is a directory\)$"):
        load_conversations(str(tmp_path))


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NanochatError, match=r"there is no stdlib .*stdlib_qa, a \.jsonl file"):
        load_conversations("stdlib")
    with pytest.raises(NanochatError, match="no conversations"):
        load_conversations(_write(tmp_path / "empty.jsonl", ""))
    with pytest.raises(NanochatError, match="hf:owner/name"):
        load_conversations("hf:a b/c")
    with pytest.raises(NanochatError, match=r"there is no some/set; did you mean hf:some/set\?"):
        load_conversations("some/set")
    (tmp_path / "latin.jsonl").write_bytes('["é"]\n'.encode("latin-1"))
    with pytest.raises(NanochatError, match=r"latin\.jsonl, row 1: not UTF-8 text"):
        load_conversations(str(tmp_path / "latin.jsonl"))


def test_reading_leaves_no_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = "from nanochat.data.conversations import load_conversations as l; l('stdlib_qa')"
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_"))}
    subprocess.run([sys.executable, "-c", code], env={**keep, "HOME": str(home)}, check=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_examples_of_conversations(tokenizer: Tokenizer) -> None:
    long = {"role": "assistant", "content": "word " * 200}
    conversations = [[ASK, ANSWER], [ASK, long], [{"role": "user", "content": "x " * 99}, ANSWER]]
    examples = tokenize_conversations(conversations, tokenizer, 40)
    assert (len(examples), examples.truncated, examples.skipped) == (2, 2, 1)
    assert (examples.ids.dtype, examples.mask.dtype, examples.offsets.dtype) == (
        np.int32,
        np.uint8,
        np.int64,
    )
    ids, mask = tokenizer.render_conversation(conversations[0], 40)
    assert examples.ids[: len(ids)].tolist() == ids
    assert examples.lengths.tolist() == [len(ids), 40]
    assert examples.num_supervised == sum(mask) + examples.mask[len(ids) :].sum()
    assert tokenize_conversations(conversations[:1], tokenizer, len(ids)).truncated == 0


def test_nothing_to_predict_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(NanochatError, match="none of the 1 conversations"):
        tokenize_conversations([[ASK]], tokenizer, 64)
    with pytest.raises(NanochatError, match="max_seq_len must be at least 2"):
        tokenize_conversations([[ASK, ANSWER]], tokenizer, 1)


def test_fingerprint_is_of_the_content(examples: Examples) -> None:
    same = Examples(examples.ids.copy(), examples.mask.copy(), examples.offsets.copy())
    assert same.fingerprint == examples.fingerprint
    mask = examples.mask.copy()
    mask[-1] ^= 1
    assert Examples(examples.ids, mask, examples.offsets).fingerprint != examples.fingerprint


def test_read_only_and_pickled_examples_work(examples: Examples) -> None:
    again = pickle.loads(pickle.dumps(examples))
    for array in (again.ids, again.mask, again.offsets):
        array.flags.writeable = False
    one, other = (make_batches(data, Recipe(), 0)[3] for data in (examples, again))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_batches_are_padded_shifted_and_kept(examples: Examples, pad_id: int) -> None:
    batches = make_batches(examples, Recipe(device_batch_size=3), pad_id)
    inputs, targets = batches[0]
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.shape == (3, examples.lengths[:3].max() - 1)
    for row in range(3):
        start, end = examples.offsets[row : row + 2]
        length = end - start - 1
        assert inputs[row, :length].tolist() == examples.ids[start : end - 1].tolist()
        assert (inputs[row, length:] == pad_id).all()
        assert (targets[row, length:] == -1).all()
        spoken = targets[row, :length] >= 0
        assert spoken.tolist() == (examples.mask[start + 1 : end] > 0).tolist()
        assert targets[row, :length][spoken].tolist() == (
            examples.ids[start + 1 : end][spoken.numpy()].tolist()
        )
    assert batches[0][0] is inputs
    assert batches.first_supervised == int((targets >= 0).sum()) == batches.supervised(0)


def test_epochs_follow_each_other(examples: Examples, pad_id: int) -> None:
    batches = make_batches(examples, Recipe(device_batch_size=300), pad_id)
    assert batches.per_epoch == 2
    assert [batches[index][0].size(0) for index in range(4)] == [300, 100, 300, 100]
    assert batches[2][0] is batches[0][0]
    with pytest.raises(IndexError):
        batches[-1]


def test_shuffling_is_seeded_and_differs_by_epoch(examples: Examples, pad_id: int) -> None:
    def firsts(recipe: Recipe, start: Any) -> Any:
        batches = make_batches(examples, recipe, pad_id)
        rows = [tuple(row.tolist()) for i in range(2) for row in batches[start + i][0][:, :20]]
        return rows, sorted(rows)

    recipe = Recipe(device_batch_size=200, shuffle=True)
    first, members = firsts(recipe, 0)
    assert first == firsts(recipe, 0)[0]
    for other in (firsts(recipe, 2), firsts(recipe.with_values({"seed": 1}), 0)):
        assert other[0] != first
        assert other[1] == members
