"""The data commands, called as on a command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanochat.cli.main import main
from nanochat.data.conversations import load_conversations
from tests.hub_stand_in import HubStandIn, use

ASK = {"role": "user", "content": "Hello?"}
ANSWER = {"role": "assistant", "content": "Hi."}

# huggingface_hub 2.4 hands a file to httpx2 in a way that httpx2 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(*arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["nanochat", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        return caught.value.code, told.out, told.err

    return call


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps({"messages": [ASK, ANSWER]}) + "\n")
    return path


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("shards", "--budgets --out-dir --source --split --tokenizer --max-seq-len"),
        (
            "docvqa",
            "--out-path --split --source --workers --max-tokens --max-answer-chars --tokenizer",
        ),
        ("push", "--repo --train --validation --token --private"),
        ("fetch", "--out-dir --split --force"),
    ],
)
def test_help_is_complete(run: Callable[..., Any], command: str, options: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert [option for option in options.split() if option not in out] == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from nanochat.cli.main import app\n"
        "for words in (['data', '--help'], ['data', 'push', '--help']):\n"
        "    app(words, standalone_mode=False)\n"
        "heavy = {'torch', 'datasets', 'huggingface_hub', 'pyarrow', 'tiktoken', 'numpy'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_shards_are_made_of_several_budgets(
    run: Callable[..., Any], tmp_path: Path, golden_folder: Path
) -> None:
    options = ["--source=stdlib_qa", f"--out_dir={tmp_path}", "--max_seq_len", "128"]
    code, out, _ = run("shards", *options, "--budgets", 100, 1000, "--tokenizer", golden_folder)
    assert (code, out.split()) == (
        0,
        [f"{tmp_path}/shard_100.parquet", f"{tmp_path}/shard_1000.parquet"],
    )
    made = load_conversations(str(tmp_path), num_tokens=500)
    assert made == load_conversations("stdlib_qa", limit=len(made))
    code, _, err = run("shards", *options, "--budgets", 10**9, "--tokenizer", golden_folder)
    assert code == 2
    assert "is the largest budget it can fill" in err
    assert err.count("\n") == 1


def test_long_work_tells_how_far_it_is(
    run: Callable[..., Any], tmp_path: Path, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.cli.data._PLAIN_SECONDS", 0.0)
    options = ["--out-dir", tmp_path, "--tokenizer", golden_folder, "--max-seq-len", 128]
    _, _, err = run("shards", "--source", "stdlib_qa", "--budgets", 1000, *options)
    assert err.splitlines()[-1] == "1,000/1,000 supervised tokens"
    assert "\x1b" not in err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    _, _, err = run("shards", "--source", "stdlib_qa", "--budgets", 1000, *options)
    assert "1,000/1,000" in err
    assert "\x1b" in err


def test_docvqa_prints_the_file_and_the_counts(
    run: Callable[..., Any], tmp_path: Path, golden_folder: Path
) -> None:
    row = {"question": "What?", "answers": ["this"], "ocr_results": {"lines": [{"text": "this"}]}}
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps({**row, "answers": []})
    )
    out_path = tmp_path / "out.jsonl"
    given = ["--source", tmp_path / "rows.jsonl", "--out_path", out_path, "--workers=1"]
    code, out, err = run("docvqa", *given, "--tokenizer", golden_folder)
    assert (code, out) == (0, f"{out_path}\n")
    assert err.splitlines()[0].startswith("2 rows, 2 questions, 1 kept, ")
    assert err.splitlines()[1:] == [
        "dropped: no_answer 1, long_answer 0, too_long 0",
        "match: exact 1, fuzzy 0, none 0",
    ]
    assert len(load_conversations(str(out_path))) == 1


def test_push_and_fetch(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, talks: Path
) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text(talks.read_text())
    with HubStandIn() as hub:
        use(monkeypatch, hub, tmp_path)
        code, _, err = run("push", "--val", talks, "--train", talks, "--repo", "a/b")
        assert (code, hub.commits) == (2, [])
        assert f"train and validation are both {talks}: a validation split must hold other" in err
        code, out, err = run("push", "--val", talks, "--train", train, "--repo", "a/b", "--private")
        assert (code, out) == (0, f"{hub.url}/datasets/a/b\n"), err
        assert hub.private == {"datasets/a/b"}
        for state in ("written", "already there"):
            code, out, _ = run("fetch", "hf:a/b", "--out-dir", tmp_path / "d", "--split", "train")
            assert out == f"{tmp_path}/d/train.jsonl: 1 conversations, {state}\n"
        assert run("fetch", "hf:a/b", "--out_dir", tmp_path / "d", "--force=True")[0] == 0
    assert load_conversations(str(tmp_path / "d"), "validation") == [[ASK, ANSWER]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["push", "--repo", "a/b"], "error: nothing to push: give --train FILE, --validation FILE"),
        (["push", "--repo", "a/b", "--train", "no/file"], "did you mean hf:no/file?"),
        (["fetch", "a/b"], "error: only data sets of the hub are fetched"),
        (["shards", "--budgets", "5", "--out-dir", "x", "--tokenizer", "none"], "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_code_two(
    run: Callable[..., Any], arguments: Any, message: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_bad_rows_are_left_out_by_every_command_that_reads_rows(
    run: Callable[..., Any], tmp_path: Path, golden_folder: Path
) -> None:
    rows = [json.dumps(each) for each in load_conversations("stdlib_qa", limit=9)]
    talks, pages = tmp_path / "talks.jsonl", tmp_path / "pages.jsonl"
    talks.write_text("\n".join(["[]", *rows]))
    page = {"question": "What?", "answers": ["this"], "ocr_results": {"lines": [{"text": "this"}]}}
    pages.write_text("\n".join(map(json.dumps, [page, {**page, "answers": [3]}, page])))
    shards = ("shards", "--source", talks, "--budgets", 100, "--out-dir", tmp_path / "parts")
    docvqa = ("docvqa", "--source", pages, "--out-path", tmp_path / "made.jsonl", "--workers=1")
    for words, row, reason in ((shards, 1, "there are no"), (docvqa, 2, "answers must be")):
        command = (*words, "--tokenizer", golden_folder)
        code, _, err = run(*command)
        assert (code, err.count("\n")) == (2, 1)
        code, _, err = run(*command, "--skip-bad-rows", 1)
        assert code == 0, err
        assert err.splitlines()[-2] == "1 bad row left out"
        assert f", row {row}: {reason}" in err.splitlines()[-1]
    assert load_conversations(str(tmp_path / "parts"))[0] == json.loads(rows[0])
    assert len(load_conversations(str(tmp_path / "made.jsonl"))) == 2
