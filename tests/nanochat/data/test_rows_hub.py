"""Data sets read from a hub, sent to it, and fetched from it: one on the loopback device."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.bad_rows import SkippedRows
from nanochat.data.conversations import iter_conversations, load_conversations
from nanochat.data.rows import read_rows
from nanochat.errors import NanochatError
from nanochat.files import retry
from nanochat.prepare.fetch import fetch_dataset
from nanochat.prepare.push import push_dataset
from tests.hub_stand_in import HubStandIn, use

SET = "datasets/some/talks"
TALKS = [
    [
        {"role": "user", "content": f"Question {n}?"},
        {"role": "assistant", "content": f"Answer {n}."},
    ]
    for n in range(5)
]
PARTS = [
    {"role": "user", "content": "1+1?"},
    {
        "role": "assistant",
        "content": [{"type": "python", "text": "1+1"}, {"type": "text", "text": "2"}],
    },
]

# huggingface_hub 2.4 hands a file to httpx2 in a way that httpx2 has renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.timeout(60),
]


def _jsonl(talks: Path, **more: Any) -> Any:
    return b"".join(json.dumps({"messages": talk, **more}).encode() + b"\n" for talk in talks)


def _parquet(columns: Any) -> Any:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)
    with HubStandIn() as stand_in:
        use(monkeypatch, stand_in, tmp_path)
        yield stand_in


@pytest.fixture
def talks(hub: HubStandIn) -> Path:
    hub.repos[SET] = {
        "train.jsonl": _jsonl(TALKS, id=7),
        "val.jsonl": _jsonl(TALKS[:2]),
    }
    return hub


@pytest.mark.parametrize("streaming", [True, False])
def test_splits_are_read_either_way(talks: Path, streaming: bool) -> None:
    assert load_conversations("hf:some/talks", streaming=streaming) == TALKS
    assert load_conversations("hf:some/talks", limit=2, streaming=streaming) == TALKS[:2]
    for spelling in ("val", "valid", "validation"):
        found = load_conversations("hf:some/talks", split=spelling, streaming=streaming)
        assert found == TALKS[:2]
    with pytest.raises(NanochatError, match=r"no split 'test' \(there are: train, validation\)"):
        load_conversations("hf:some/talks", split="test", streaming=streaming)


def test_a_revision_and_a_configuration_are_taken(hub: HubStandIn) -> None:
    card = """---
configs:
- config_name: short
  data_files: [{split: train, path: short.jsonl}]
- config_name: long
  data_files: [{split: train, path: long.jsonl}]
---
"""
    files = {"README.md": card.encode(), "short.jsonl": _jsonl(TALKS[:1]), "long.jsonl": b""}
    hub.repos[SET] = {**files, "long.jsonl": _jsonl(TALKS)}
    hub.revisions[SET] = {"v1": {**files, "short.jsonl": _jsonl(TALKS[3:])}}
    assert load_conversations("hf:some/talks:short") == TALKS[:1]
    assert load_conversations("hf:some/talks:long") == TALKS
    assert load_conversations("hf:some/talks:short@v1") == TALKS[3:]
    for bad, message in [
        ("hf:some/talks", r"not read from the hub .*short.*long"),
        ("hf:some/talks:middle", r"not read from the hub .*middle"),
        ("hf:some/talks:short@v2", "not read from the hub"),
        ("hf:some/talks:", r"is not of the form hf:owner/name\[:config\]\[@revision\]"),
        ("hf:some/nothing", r"not read from the hub .*HF_TOKEN"),
    ]:
        with pytest.raises(NanochatError, match=message) as caught:
            load_conversations(bad)
        assert "\n" not in str(caught.value)


def test_other_columns_are_neither_asked_for_nor_minded(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [[{**message, "name": None, "tools": None} for message in talk] for talk in TALKS]
    image = [os.urandom(200_000)] * len(TALKS)
    hub.repos[SET] = {"train.parquet": _parquet({"image": image, "messages": messages})}
    asked = []
    build = datasets.load_dataset_builder
    monkeypatch.setattr(
        datasets, "load_dataset_builder", lambda *a, **k: asked.append(k) or build(*a, **k)
    )
    assert load_conversations("hf:some/talks") == TALKS
    assert asked[-1]["columns"] == ["messages"]
    assert load_conversations("hf:some/talks", streaming=False) == TALKS
    rows = list(read_rows("hf:some/talks", "train", ("messages", "missing")))
    assert [sorted(row) for _, row in rows] == [["messages"]] * 5


def test_a_bad_row_of_the_hub_is_named(hub: HubStandIn) -> None:
    bad = [*TALKS[:2], TALKS[2][::-1]]
    hub.repos[SET] = {"train.jsonl": _jsonl(bad)}
    source = "hf:some/talks"
    message = "hf:some/talks, row 3: message 1 is from 'assistant'; 'user' is expected"
    with pytest.raises(NanochatError) as caught:
        load_conversations(source)
    assert str(caught.value) == message
    assert load_conversations(source, limit=2) == TALKS[:2]
    hub.repos[SET] = {"train.jsonl": b'{"text": "hi"}\n'}
    with pytest.raises(NanochatError, match=r"some/talks, row 1: no messages \(keys: text\)"):
        load_conversations(source)
    none = pa.array([], pa.list_(pa.string()))
    hub.repos[SET] = {"train.parquet": _parquet({"messages": none})}
    with pytest.raises(NanochatError, match=r"^hf:some/talks: no conversations$"):
        load_conversations(source)
    hub.repos[SET] = {"train.jsonl": b""}
    with pytest.raises(NanochatError, match=r"^hf:some/talks: .*its first file is empty"):
        load_conversations(source)


def test_a_folder_of_the_same_name_is_not_read_instead(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some" / "talks").mkdir(parents=True)
    (tmp_path / "some" / "talks" / "train.jsonl").write_bytes(_jsonl(TALKS[:1]))
    monkeypatch.chdir(tmp_path)
    for streaming in (True, False):
        assert load_conversations("hf:some/talks", streaming=streaming) == TALKS
    assert load_conversations("some/talks") == TALKS[:1]


def test_a_moment_of_trouble_is_waited_out_and_more_is_one_line(talks: Path) -> None:
    talks.fail.append(("GET /api/datasets/some/talks", 503, 2))
    talks.fail.append(("GET /datasets/some/talks/resolve", 503, 1))
    assert load_conversations("hf:some/talks") == TALKS
    assert [times for _, _, times in talks.fail] == [0, 0]
    talks.fail.append(("/some/talks", 403, 1000))
    with pytest.raises(
        NanochatError, match=r"hf:some/talks: not read from the hub .*403"
    ) as caught:
        load_conversations("hf:some/talks")
    assert "\n" not in str(caught.value)


def test_a_set_that_was_loaded_whole_is_there_offline_at_its_revision_only(talks: Path) -> None:
    talks.revisions[SET] = {"v1": {"train.jsonl": _jsonl(TALKS[:1])}}
    assert load_conversations("hf:some/talks", streaming=False) == TALKS
    talks.fail.append(("", 404, 10**6))
    for streaming in (True, False):
        with pytest.warns(
            UserWarning, match=r"the copy in the cache, commit \w{40}, is used"
        ) as told:
            assert load_conversations("hf:some/talks", streaming=streaming) == TALKS
    commit = re.search(r"commit (\w{40})", str(told[0].message))[1]
    with pytest.warns(UserWarning, match=commit):
        load_conversations(f"hf:some/talks@{commit}")
    for revision in ("v1", "f" * 40):
        with pytest.raises(NanochatError, match=f"the copy in the cache is of commit {commit}"):
            load_conversations(f"hf:some/talks@{revision}")


def test_offline_mode_reads_the_cache(talks: Path) -> None:
    assert load_conversations("hf:some/talks", streaming=False) == TALKS
    code = (
        "from nanochat.data.conversations import load_conversations as load;"
        "print(len(load('hf:some/talks')))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    asked = len(talks.requests)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["5"], done.stderr
    assert len(talks.requests) == asked


def test_offline_mode_refuses_at_once_with_the_command(
    hub: HubStandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    command = "HF_HUB_OFFLINE is set; .*`HF_HUB_OFFLINE=0 nanochat data fetch hf:some/talks`$"
    for streaming in (True, False):
        with pytest.raises(NanochatError, match=rf"is not in the cache, and {command}"):
            load_conversations("hf:some/talks", streaming=streaming)
    (tmp_path / "a.jsonl").write_bytes(_jsonl(TALKS))
    with pytest.raises(NanochatError, match="nothing is sent, because HF_HUB_OFFLINE is set"):
        push_dataset({"train": str(tmp_path / "a.jsonl")}, "some/talks")
    assert (hub.requests, caplog.records) == ([], [])  # no attempt was repeated


def test_pushed_conversations_come_back_as_they_were(hub: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_jsonl([*TALKS, PARTS]))
    (tmp_path / "b.jsonl").write_bytes(_jsonl(TALKS[:2]))
    sources = {"train": str(tmp_path / "a.jsonl"), "validation": str(tmp_path / "b.jsonl")}
    hub.fail.append(("POST /api/datasets/some/talks/commit", 503, 1))
    url = push_dataset(sources, "hf:some/talks")
    assert url == f"{hub.url}/datasets/some/talks"
    assert len(hub.commits) == 1
    assert sorted(hub.commits[0]["paths"]) == [
        "README.md",
        "data/train.parquet",
        "data/validation.parquet",
    ]
    assert load_conversations("hf:some/talks") == [*TALKS, PARTS]
    assert load_conversations("hf:some/talks", streaming=False) == [*TALKS, PARTS]
    assert load_conversations("hf:some/talks", split="validation") == TALKS[:2]


def test_a_second_push_keeps_the_card_and_the_other_split(hub: HubStandIn, tmp_path: Path) -> None:
    for name, talks in [("a", TALKS), ("b", TALKS[:2]), ("c", TALKS[3:])]:
        (tmp_path / f"{name}.jsonl").write_bytes(_jsonl(talks))
    paths = {"train": str(tmp_path / "a.jsonl"), "validation": str(tmp_path / "b.jsonl")}
    push_dataset(paths, "some/talks")
    card = hub.repos[SET]["README.md"].decode()
    card = card.replace("---\n\n", "license: mit\n---\n\nWords of the owner. ", 1)
    hub.repos[SET]["README.md"] = card.encode()
    push_dataset({"train": str(tmp_path / "c.jsonl")}, "some/talks")
    again = hub.repos[SET]["README.md"].decode()
    assert "license: mit" in again
    assert "Words of the owner." in again
    assert load_conversations("hf:some/talks") == TALKS[3:]
    assert load_conversations("hf:some/talks", split="val") == TALKS[:2]


def test_nothing_bad_is_pushed(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_bytes(_jsonl(TALKS))
    bad.write_bytes(_jsonl([*TALKS, TALKS[0][::-1]]))
    with pytest.raises(NanochatError, match=r"bad\.jsonl, row 6: message 1 is from"):
        push_dataset({"train": str(good), "validation": str(bad)}, "some/talks")
    with pytest.raises(NanochatError, match="named owner/name, not 'talks'"):
        push_dataset({"train": str(good)}, "talks")
    for name in ("some/ta--lks", "some/ta..lks", "some/-talks", "some/talks.git"):
        with pytest.raises(NanochatError, match=f"^the hub allows no such name as '{name}': "):
            push_dataset({"train": str(good)}, name)
    assert hub.requests == []
    with pytest.raises(NanochatError, match=r"the hub refused: .*401.*HF_TOKEN"):
        push_dataset({"train": str(good)}, "some/talks", token="hf_wrong")
    hub.repos[SET] = {}
    with pytest.raises(NanochatError, match="exists and is public"):
        push_dataset({"train": str(good)}, "some/talks", private=True)
    assert hub.commits == []
    push_dataset({"train": str(good)}, "some/new", private=True)
    assert hub.private == {"datasets/some/new"}
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(NanochatError, match=r"the hub refused: .*HF_TOKEN"):
        push_dataset({"train": str(good)}, "some/talks")


def test_a_hub_that_is_away_is_one_line(hub: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_jsonl(TALKS))
    hub.fail.append(("", 0, 10**6))
    with pytest.raises(NanochatError, match="some/talks: the hub was not reached") as caught:
        push_dataset({"train": str(tmp_path / "a.jsonl")}, "some/talks")
    assert "\n" not in str(caught.value)
    assert len(hub.requests) >= retry.ATTEMPTS


def test_fetched_files_are_kept_while_their_rows_match(talks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = list(fetch_dataset("hf:some/talks", out))
    assert [(each.path.name, each.rows, each.kept) for each in first] == [
        ("train.jsonl", 5, False),
        ("validation.jsonl", 2, False),
    ]
    assert load_conversations(str(out)) == TALKS
    (out / "validation.jsonl").write_bytes(_jsonl(TALKS[3:5]))
    (out / "train.jsonl").write_bytes(_jsonl(TALKS[:1]))
    again = list(fetch_dataset("hf:some/talks", out))
    assert [each.kept for each in again] == [False, True]
    assert load_conversations(str(out)) == TALKS
    assert load_conversations(str(out), "validation") == TALKS[3:5]
    (forced,) = fetch_dataset("hf:some/talks", out, ["validation"], force=True)
    assert not forced.kept
    assert load_conversations(str(out), "validation") == TALKS[:2]
    with pytest.raises(NanochatError, match="only data sets of the hub are fetched"):
        list(fetch_dataset("some/talks", out))
    with pytest.raises(NanochatError, match="has no split 'test'"):
        list(fetch_dataset("hf:some/talks", out, ["test"]))


def test_a_stream_is_read_no_further_than_asked(talks: Path) -> None:
    stream = iter_conversations("hf:some/talks")
    assert [next(stream), next(stream)] == TALKS[:2]
    stream.close()


def test_bad_rows_are_fetched_and_pushed_by_nobody(hub: HubStandIn, tmp_path: Path) -> None:
    rows = [TALKS[0], [], *TALKS[1:3], TALKS[3][::-1], TALKS[4]]
    hub.repos[SET] = {"train.jsonl": _jsonl(rows)}
    with pytest.raises(NanochatError, match="talks, row 2: there are no messages"):
        load_conversations("hf:some/talks")
    for streaming in (True, False):
        skipped = SkippedRows(limit=2)
        talks = load_conversations("hf:some/talks", streaming=streaming, skipped=skipped)
        assert (talks, skipped.count) == ([*TALKS[:3], TALKS[4]], 2)

    def fetch(limit: int) -> Any:
        (fetched,) = fetch_dataset("hf:some/talks", tmp_path, skip_bad_rows=limit)
        return fetched.rows, fetched.kept, fetched.skipped.count

    with pytest.raises(NanochatError, match=r"bad row number 2; skip_bad_rows is 1"):
        fetch(1)
    path = tmp_path / "train.jsonl"
    assert not path.exists()
    assert [fetch(2), fetch(2), fetch(5)] == [(4, False, 2), (4, True, 2), (4, True, 2)]
    assert load_conversations(str(path)) == [*TALKS[:3], TALKS[4]]
    path.write_bytes(path.read_bytes() + b"[]\n")
    assert fetch(2) == (4, False, 2)
    with pytest.raises(NanochatError, match="there are no messages"):
        fetch(0)
    assert load_conversations(str(path)) == [*TALKS[:3], TALKS[4]]

    (tmp_path / "bad.jsonl").write_bytes(_jsonl(rows))
    skipped = {"train": SkippedRows(limit=2)}
    push_dataset({"train": str(tmp_path / "bad.jsonl")}, "some/other", skipped=skipped)
    assert load_conversations("hf:some/other") == [*TALKS[:3], TALKS[4]]
    assert skipped["train"].count == 2
