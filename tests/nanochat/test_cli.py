"""The command line, in a process of its own."""

import os
import subprocess
import sys
import time

import pytest

RUN = [sys.executable, "-c", "from nanochat.cli import main; main()"]


def _run(*arguments, base):
    env = {**os.environ, "NANOCHAT_BASE_DIR": str(base), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run([*RUN, *arguments], env=env, capture_output=True, text=True)


def test_help_is_complete_and_quick(tmp_path):
    # The best of three: other processes share the machine.
    best = min(_timed("--help", base=tmp_path) for _ in range(3))
    assert best < 0.5
    shown = _run("pretrain", "--help", base=tmp_path).stdout
    assert "--preset" in shown
    assert "--out" in shown
    assert "NANOCHAT_BASE_DIR" in shown


def _timed(*arguments, base):
    start = time.perf_counter()
    done = _run(*arguments, base=base)
    assert done.returncode == 0
    assert "pretrain" in done.stdout
    return time.perf_counter() - start


def test_pretrain_prints_the_folder_and_plain_lines(tmp_path):
    done = _run("pretrain", "--preset", "tiny", "--out", str(tmp_path / "m"), base=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'm'}\n")
    assert done.stderr.splitlines()[-1].startswith("step 100/100 loss ")
    assert "\x1b" not in done.stderr
    again = _run("pretrain", "--out", str(tmp_path / "m"), base=tmp_path)
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "--preset", "tyni"], "error: unknown preset 'tyni'; did you mean 'tiny'?"),
        (["pretrain", "--out", "."], "exists and is no tiny model"),
    ],
)
def test_bad_input_is_one_line_and_code_two(tmp_path, arguments, message):
    done = _run(*arguments, base=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["pretran"], ["pretrain", "--prest", "tiny"]])
def test_unknown_words_are_code_two(tmp_path, arguments):
    done = _run(*arguments, base=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
