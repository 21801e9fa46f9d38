"""Bad rows of a data source, left out up to a limit."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.bad_rows import SkippedRows, parse_rows
from nanochat.data.conversations import load_conversations
from nanochat.errors import NanochatError

TALK = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
BAD = ['{"text": "x"}', "{broken", "[]", '{"messages": 3}']
REASONS = ["row 2: no messages", "row 4: not JSON", "row 6: there are no", "row 8: messages must"]


def _talks(folder: Path) -> str:
    path = folder / "talks.jsonl"
    path.write_text("".join(f"{json.dumps(TALK)}\n{bad}\n" for bad in BAD))
    return str(path)


def test_bad_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    source = _talks(tmp_path)
    skipped = SkippedRows(limit=4)
    assert load_conversations(source, skipped=skipped) == [TALK] * 4
    assert skipped.count == 4
    assert len(skipped.first) == 3
    for line, reason in zip(skipped.first, REASONS[:3], strict=True):
        assert line.startswith(f"{source}, {reason}")
    assert skipped.lines() == ["4 bad rows left out", *skipped.first, "... and 1 more"]
    assert skipped.record() == {"count": 4, "first": skipped.first}


def test_a_row_beyond_the_limit_ends_the_reading_with_the_count(tmp_path: Path) -> None:
    source = _talks(tmp_path)
    message = r"row 6: there are no messages \(bad row number 3; skip_bad_rows is 2\)$"
    with pytest.raises(NanochatError, match=message):
        load_conversations(source, skipped=SkippedRows(limit=2))
    for skipped in (None, SkippedRows()):
        with pytest.raises(NanochatError, match=r"row 2: no messages \(keys: text\)$"):
            load_conversations(source, skipped=skipped)


def test_only_rows_that_are_read_count(tmp_path: Path) -> None:
    skipped = SkippedRows(limit=1)
    assert load_conversations(_talks(tmp_path), limit=2, skipped=skipped) == [TALK] * 2
    assert skipped.count == 1


def test_no_bad_row_leaves_no_record(tmp_path: Path) -> None:
    skipped = SkippedRows(limit=9)
    load_conversations("stdlib_qa", limit=3, skipped=skipped)
    assert (skipped.lines(), skipped.record()) == ([], {})


def test_rows_of_parquet_with_text_that_is_not_utf8_are_bad_rows(tmp_path: Path) -> None:
    contents = [b"a", b"b", b"a", b"\xff", b"a", b"b"]
    messages = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"] * 3), pa.array(contents).view(pa.string())],
        ["role", "content"],
    )
    column = pa.ListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int32()), messages)
    path = tmp_path / "talks.parquet"
    pq.write_table(pa.table({"messages": column}), path)
    with pytest.raises(NanochatError, match=r"talks\.parquet, row 2: not UTF-8 text"):
        load_conversations(str(path))
    assert load_conversations(str(path), skipped=SkippedRows(limit=1)) == [TALK] * 2


def test_errors_of_the_consumer_are_not_counted() -> None:
    skipped = SkippedRows(limit=5)
    rows = parse_rows([("row 1", 1)], lambda where, row: row, skipped)
    with pytest.raises(NanochatError, match="later"):
        for _ in rows:
            raise NanochatError("later")
    assert skipped.count == 0
