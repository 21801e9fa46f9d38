"""`nanochat finetune`, `repro-check` and `probe-batch-size`, as they are typed."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nanochat.cli.main import main

QUICK = [
    "--data=stdlib_qa",
    "--limit=200",
    "--max-seq-len=64",
    "--dtype=float32",
    "--eval-every=0",
    "--device=cpu",
]
FINETUNE = ["finetune", "--num_iterations", "3"]


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(
    tmp_path: Path,
    golden_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Any]:
    """Call the command line in this process, which has torch already."""
    for name in ("CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")  # so that what a command sets is gone after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, model: Any = str(golden_folder)) -> Any:
        monkeypatch.setattr(sys, "argv", ["nanochat", *arguments, "--model", model])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return call


def test_spellings_of_the_source_give_the_same_run(run: Callable[..., Any], tmp_path: Path) -> None:
    ways = [
        ["--learning-rate", "1e-3", "--save-artifacts", "--no-deterministic"],
        ["--learning_rate=0.001", "--save_artifacts=True", "--deterministic=False"],
        ["--learning_rate", ".001", "--save_artifacts", "true", "--deterministic", "False"],
    ]
    contents = []
    for number, way in enumerate(ways):
        done = run(*FINETUNE, *QUICK, *way, "--out", f"out_{number}")
        assert (done.returncode, done.stderr) == (0, "")
        (path,) = (tmp_path / f"out_{number}").glob("*.json")
        assert f"result: {path.relative_to(tmp_path)}\n" in done.stdout
        assert done.stdout.count("\nstep ") == 3
        contents.append(json.loads(path.read_text()))
        assert (path.with_suffix("") / "tokenizer" / "tokenizer.json").is_file()
    configs = [content["config"] for content in contents]
    assert configs[0] == configs[1] == configs[2]
    assert configs[0]["deterministic"] is False


def test_table_of_answers_before_and_after(run: Callable[..., Any]) -> None:
    done = run(*FINETUNE, *QUICK, "--visualize", "--trainable=all")
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout[done.stdout.index("result: ") :]
    for word in ("question", "expected", "before", "after", "What does the Python"):
        assert word in table


def test_deterministic_runs_fix_what_cuda_reads_and_others_do_not(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    found = []
    for way in ("--no-deterministic", "--deterministic"):
        assert run(*FINETUNE, *QUICK, way, "--out", way[2:]).returncode == 0
        (path,) = (tmp_path / way[2:]).glob("*.json")
        found.append(json.loads(path.read_text())["repro"]["environment"])
    assert found[0]["CUBLAS_WORKSPACE_CONFIG"] is None
    assert found[1]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found[1]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_divergence_is_status_zero(run: Callable[..., Any]) -> None:
    wild = ["--unembedding-lr", "1e30", "--matrix-lr", "1e30", "--num-iterations", "9"]
    done = run(*FINETUNE, *QUICK, *wild)
    assert (done.returncode, done.stderr) == (0, "")
    assert " stable=False converged=False " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainable", "matrx"], "unknown parameter group 'matrx'; did you mean 'matrix'?"),
        (["--matrix-lr", "0"], "matrix_lr must be above 0, or -1 to derive it, not 0.0"),
        (["--learning-rate", "fast"], "learning_rate must be a finite number, not 'fast'"),
        (["--num-tokens", "1.5"], "num_tokens must be a whole number"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--step", "7"], "step 7"),
        (["--tokenizer-artifact", "nowhere"], "nowhere"),
        (["--grid"], "a sweep: fractal-ray run sweeps/lr_tokens.yaml"),
        (["--resolution", "8"], "a sweep: fractal-ray run sweeps/lr_tokens.yaml"),
        (["--init-lr-frac=0"], "init_lr_frac must be above 0 and at most 1, not 0.0"),
        (["--run", "a", "--wandb-tags", "x" * 65], "has 65 characters; W&B takes 64 at most"),
        (["--out", "/dev/null"], "cannot write /dev/null: /dev/null is not a folder"),
        (["--out", "/dev/null/sub"], "cannot write /dev/null/sub: /dev/null is not a folder"),
    ],
)
def test_bad_input_is_one_line_and_code_two(
    run: Callable[..., Any], arguments: Any, message: str
) -> None:
    done = run(*FINETUNE, *QUICK, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_bad_files_are_named(run: Callable[..., Any], tmp_path: Path, golden_folder: Path) -> None:
    empty, broken = tmp_path / "empty.jsonl", tmp_path / "broken.jsonl"
    empty.touch()
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    broken.write_text(json.dumps({"messages": twice}) + "\n")
    for file, message in (
        (empty, "no conversations"),
        (broken, "row 1: message 2 is from 'user'; 'assistant' is expected"),
    ):
        done = run(*FINETUNE, "--data", file.name)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert file.name in done.stderr
        assert message in done.stderr
    cut = tmp_path / "cut"
    cut.mkdir()
    for path in [
        *(golden_folder / "checkpoints").iterdir(),
        *(golden_folder / "tokenizer").iterdir(),
    ]:
        content = path.read_bytes()
        (cut / path.name).write_bytes(
            content[: len(content) // 2] if path.suffix == ".pt" else content
        )
    done = run(*FINETUNE, *QUICK, model="cut")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "model_" in done.stderr
    assert "cut short" in done.stderr


def test_repro_check_compares_runs_in_processes(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("repro-check", "--runs", "2", *QUICK, "--num_tokens=1000", "--out", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all 2 final losses agree to 6 decimals; the loss curves are the same to the bit" in (
        done.stdout
    )
    assert len(list(tmp_path.glob("check/*/run_*/finetune_single_*.json"))) == 2


def test_probe_finds_the_largest_batch_there_is_data_for(run: Callable[..., Any]) -> None:
    sizes = ["--bs-start", "8", "--bs-max", "16", "--bs-stride", "8"]
    done = run("probe-batch-size", *sizes, *QUICK, "--limit=10", "--num-iterations=2")
    assert "batch 8: fits (loss " in done.stdout
    assert done.returncode == 2
    assert done.stderr == (
        "error: batch 16: the data has only 10 conversations; give more, or --bs-max 10\n"
    )


def test_a_conversation_beyond_the_models_reach_is_told_at_once(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    long = [{"role": "user", "content": "a b " * 2000}, {"role": "assistant", "content": "Three."}]
    (tmp_path / "long.jsonl").write_text(json.dumps({"messages": long}) + "\n")
    done = run(*FINETUNE, "--data", "long.jsonl", "--max-seq-len=9000", "--device=cpu")
    assert done.returncode == 2
    assert done.stderr.startswith("error: long.jsonl: a conversation has ")
    assert "this model reaches 1,280; give --max-seq-len 1280 or less" in done.stderr
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_two_at_once_into_one_folder_have_a_result_each(
    tmp_path: Path, golden_folder: Path
) -> None:
    command = [sys.executable, "-m", "nanochat", *FINETUNE, *QUICK, "--save-artifacts"]
    command += ["--model", str(golden_folder), "--out", str(tmp_path)]
    both = [
        subprocess.Popen([*command, f"--seed={seed}"], stdout=subprocess.PIPE, text=True)
        for seed in (1, 2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in both]
    results = sorted(tmp_path.glob("*.json"))
    assert {json.loads(path.read_text())["config"]["seed"] for path in results} == {1, 2}
    assert all(path.with_suffix("").is_dir() for path in results)
    assert all(sum(str(path) in text for text in printed) == 1 for path in results)


def test_the_environment_reaches_every_command(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAX_SEQ_LEN", "48")
    quick = [word for word in QUICK if not word.startswith("--max-seq-len")]
    sizes = ["--bs-start=4", "--bs-max=4", "--num-iterations=1", "--out", "probe"]
    done = run("probe-batch-size", *sizes, *quick)
    assert done.returncode == 0
    assert done.stdout.endswith("largest that fits: --device-batch-size 4\n")
    (path,) = tmp_path.glob("probe/*/batch_4/*.json")
    assert json.loads(path.read_text())["config"]["max_seq_len"] == 48
