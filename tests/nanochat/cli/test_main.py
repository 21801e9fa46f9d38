"""The command line, in a process of its own where that is what matters."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nanochat.train.presets
from nanochat.cli.main import main

RUN = [sys.executable, "-c", "from nanochat.cli.main import main; main()"]


def _run(*arguments: str, base: Path) -> Any:
    env = {**os.environ, "NANOCHAT_BASE_DIR": str(base), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run([*RUN, *arguments], env=env, capture_output=True, text=True)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Any]:
    """Call the command line in this process, which has torch already."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["nanochat", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


def test_help_is_complete_and_quick(tmp_path: Path) -> None:
    # The best of three: other processes share the machine.
    best = min(_timed("--help", base=tmp_path) for _ in range(3))
    assert best < 0.5
    shown = _run("pretrain", "--help", base=tmp_path).stdout
    assert "--preset" in shown
    assert "--out" in shown
    assert "NANOCHAT_BASE_DIR" in shown


def _timed(*arguments: str, base: Path) -> Any:
    start = time.perf_counter()
    done = _run(*arguments, base=base)
    assert done.returncode == 0
    assert "pretrain" in done.stdout
    return time.perf_counter() - start


def test_pretrain_prints_the_folder_and_plain_lines(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = dataclasses.replace(nanochat.train.presets.PRESETS["tiny"], steps=52, rows=1)
    monkeypatch.setitem(nanochat.train.presets.PRESETS, "tiny", quick)
    code, out, err = run("pretrain", "--preset", "tiny", "--out", str(tmp_path / "m"))
    assert (code, out) == (0, f"{tmp_path / 'm'}\n")
    assert [line.split(" loss ")[0] for line in err.splitlines()] == ["step 50/52", "step 52/52"]
    assert "\x1b" not in err
    assert run("pretrain", "--out", str(tmp_path / "m")) == (0, out, "")


SIZE = ["size", "--depth", "4", "--model-dim", "512", "--head-dim", "64", "--vocab-size", "24576"]


def test_size_tells_the_four_block_model_and_nothing_loads_torch(tmp_path: Path) -> None:
    done = _run(*SIZE, "--batch-size", "48", base=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["parameters", "37,748,736"] in lines
    assert ["FLOPs", "per", "token", "201,326,592"] in lines
    assert ["48", "20.8", "20.8", "23.4", "23.4"] in lines
    assert "15 shards" in done.stdout
    assert "measured on" not in done.stdout
    code = (
        "import sys; from nanochat.cli.main import app; "
        f"app({SIZE}, standalone_mode=False); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "False"


def test_size_as_json_measures_a_step_near_the_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The C library's heap keeps freed memory; without it the resident set is what is in use.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    small = ["--model-dim=256", "--vocab-size=16384", "--sequence-len=256", "--batch-size=8"]
    done = _run("size", "--depth", "4", *small, "--measure", "--json", base=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    measured = told["measured"]
    assert measured["device"] in ("cpu", "cuda")
    assert measured["estimate"] == told["memory_bytes"][measured["device"]]["total"]
    assert measured["estimate"] > 200e6  # far above the noise of a process
    assert measured["peak"] == pytest.approx(measured["estimate"], rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["size", "--depth", "0"], "error: depth must be from 1 to 1,000,000,000, not 0"),
        ([*SIZE, "--batch-size", "0"], "error: batch_size must be from 1 to"),
        ([*SIZE, "--head-dim", "63"], "error: head_dim must be even, not 63"),
        ([*SIZE, "--head-dim", "96"], "error: model_dim 512 cannot be shared by 6 heads"),
        ([*SIZE, "--batch-size", "1000000", "--measure"], "error: a step at batch 1,000,000 takes"),
        (["pretrain", "--preset", "tyni"], "error: unknown preset 'tyni'; did you mean 'tiny'?"),
        (["pretrain", "--out", "."], "exists and is no tiny model"),
    ],
)
def test_bad_input_is_one_line_and_code_two(
    run: Callable[..., Any], arguments: Any, message: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["pretran"], "pretran"),
        (["pretrain", "--prest", "tiny"], "--prest"),
        (["size", "--dept", "4"], "--dept"),
        (["size"], "--depth"),
        (["size", "--depth", "four"], "valid integer"),
    ],
)
def test_unknown_words_are_code_two(run: Callable[..., Any], arguments: Any, word: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert word in err
    assert "Traceback" not in err


def test_a_process_ends_with_the_code_and_the_one_line(tmp_path: Path) -> None:
    done = _run("pretrain", "--preset", "tyni", base=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown preset 'tyni'; did you mean 'tiny'? (allowed: tiny)\n"
