"""Rows of a JSONL file: lines, arrays of rows, and JSON over several lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.data.conversations import load_conversations
from nanochat.data.json_rows import read_json_rows
from nanochat.errors import NanochatError

TALKS = [
    [{"role": "user", "content": f"a {n}"}, {"role": "assistant", "content": "b\u2028\n"}]
    for n in range(3)
]
ROWS = [{"messages": talk} for talk in TALKS]


def _write(folder: Path, text: str) -> Path:
    path = folder / "talks.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(TALKS), id="conversations on one line"),
        pytest.param(json.dumps(ROWS), id="objects on one line"),
        pytest.param(f"{json.dumps(TALKS[:2])}\n\n{json.dumps(TALKS[2])}\n", id="array and row"),
        pytest.param(_indented(TALKS), id="conversations over the file"),
        pytest.param(f"\ufeff\n{_indented(ROWS)}\n\n", id="objects over the file"),
        pytest.param("".join(_indented(row) for row in ROWS), id="objects one after the other"),
        pytest.param("[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]", id="an object a line"),
    ],
)
def test_arrays_hold_many_conversations(tmp_path: Path, text: str) -> None:
    assert load_conversations(str(_write(tmp_path, text))) == TALKS


@pytest.mark.parametrize("text", [json.dumps(TALKS[1]), _indented(TALKS[1])])
def test_an_array_of_messages_is_one_conversation(tmp_path: Path, text: str) -> None:
    assert load_conversations(str(_write(tmp_path, text))) == [TALKS[1]]


def test_rows_have_the_number_of_their_line_and_item(tmp_path: Path) -> None:
    text = f"{json.dumps(TALKS[0])}\n\n{json.dumps([{'text': 'x'}, TALKS[1]])}\n"
    names = [where.rpartition("jsonl, ")[2] for where, _ in read_json_rows(_write(tmp_path, text))]
    assert names == ["row 1", "row 3, item 1", "row 3, item 2"]
    names = [where for where, _ in read_json_rows(_write(tmp_path, f"\n{_indented(ROWS)}"))]
    assert [where.rpartition("jsonl, ")[2] for where in names][1:] == [
        "row 2, item 2",
        "row 2, item 3",
    ]
    with pytest.raises(NanochatError, match=r"row 1, item 2: no messages \(keys: text\)$"):
        load_conversations(str(_write(tmp_path, json.dumps([*ROWS[:1], {"text": "x"}]))))


@pytest.mark.parametrize("bad", [b"{broken", b'{"messages": [', b'["\xe9"]', b"[" * 100_000])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_rows_after_a_bad_one_follow(tmp_path: Path, bad: bytes, place: int) -> None:
    path = tmp_path / "talks.jsonl"
    lines = [json.dumps(row).encode() for row in ROWS]
    lines.insert(place, bad)
    path.write_bytes(b"\n".join(lines))
    rows = [row for _, row in read_json_rows(path)]
    error = rows.pop(place)
    assert rows == ROWS
    assert isinstance(error, NanochatError)
    assert str(error).startswith(f"{path}, row {place + 1}: not ")


def test_a_mistake_in_a_value_over_several_lines_is_named(tmp_path: Path) -> None:
    lines = _indented(ROWS).splitlines()
    lines[8] = "broken"
    with pytest.raises(NanochatError, match=r"jsonl, row 9: not JSON \(.*line 9"):
        list(read_json_rows(_write(tmp_path, "\n".join(lines))))
