"""Options of both command lines that name a file or a folder to write."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fractal_ray.cli.main
import nanochat.cli.main

DATASET = "tests/golden/datasets/zooms"
FILES = [
    ["fractal-ray", "compare", DATASET, DATASET, "--output"],
    ["fractal-ray", "compare", DATASET, DATASET, "--out"],
    ["fractal-ray", "ensemble", DATASET, DATASET, "--out"],
    ["fractal-ray", "plot", DATASET, "--out"],
    ["fractal-ray", "movie", DATASET, "--out"],
    ["fractal-ray", "report", DATASET, "--output"],
    ["nanochat", "data", "docvqa", "--source", "none", "--out-path"],
]
FOLDERS = [
    ["fractal-ray", "rerun", DATASET, "--point", "0,0", "--out"],
    ["fractal-ray", "plot", DATASET, "--figure", "all", "--out"],
    ["nanochat", "finetune", "--preset", "tiny", "--out"],
    ["nanochat", "pretrain", "--out"],
    ["nanochat", "export", "--model", "none", "--out"],
    ["nanochat", "import", "--model", "none", "--out"],
    ["nanochat", "repro-check", "--preset", "tiny", "--out"],
    ["nanochat", "probe-batch-size", "--preset", "tiny", "--out"],
    ["nanochat", "data", "shards", "--budgets", "9", "--source", "none", "--out-dir"],
    ["nanochat", "data", "fetch", "hf:some/data", "--out-dir"],
]
ODD = ["{}/file/new", "{}/" + "a" * 300, "/dev/full/new"]


def main(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", words)
    program = fractal_ray.cli.main if words[0] == "fractal-ray" else nanochat.cli.main
    with pytest.raises(SystemExit) as ended:
        program.main()
    return ended.value.code


@pytest.mark.parametrize("words", [*FILES, *FOLDERS], ids=" ".join)
def test_a_path_that_cannot_be_written_is_one_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    own = [str(tmp_path)] if words in FILES else ["{}/file", "/dev/full"]
    for path in [*own, *ODD]:
        code = main([*words, path.format(tmp_path)], monkeypatch)
        text, errors = capsys.readouterr()
        assert (code, text, errors.count("\n")) == (2, "", 1), errors
        assert errors.startswith("error: ")
        assert "cannot" in errors or "must be a folder" in errors, errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "words",
    [["nanochat", "size", "--depth", "2"], ["fractal_ray", "plan", "sweeps/weierstrass.yaml"]],
)
def test_a_result_that_is_lost_on_a_full_disk_is_a_failure(
    words: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", *words]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    line = "note: standard output cannot be written (No space left on device)"
    assert done.stderr == f"{line}; nothing more is printed there\n"
    lead, trail = os.pipe()
    os.close(lead)
    done = subprocess.run(command, stdout=trail, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(trail)
    assert (done.returncode, done.stderr) == (0, "")
