"""Weights & Biases, offline: what a run leaves for `wandb sync`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb

from nanochat.cli.main import main
from nanochat.errors import LaterSteps, NanochatError
from nanochat.finetune_run.settings import parse_settings
from nanochat.finetune_run.tracking import Tracker, WandbTracker, tracked
from nanochat.model.gpt import GPT
from tests.wandb_log import read_records

QUICK = [
    "--data=stdlib_qa",
    "--limit=200",
    "--max-seq-len=64",
    "--dtype=float32",
    "--device=cpu",
    "--num-iterations=4",
]


def _finetune(model: GPT, folder: Path, *arguments: str, **environment: Any) -> Any:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    command = [sys.executable, "-m", "nanochat", "finetune", "--model", str(model), *QUICK]
    return subprocess.run(
        [*command, *arguments],
        env=env | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _records(folder: Path) -> Any:
    """Records of the one transaction log under a folder."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return read_records(path)


@pytest.fixture(scope="module")
def logged(golden_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("logged")
    way = ["--run=night", "--eval-every=2", "--eval-batches=1", "--save-artifacts", "--out=out"]
    tags = ["--wandb_tags=a, b", "--grid_sweep_id=sweep7"]
    done = _finetune(golden_folder, folder, *way, *tags)
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = (folder / "out").glob("finetune_single_night-ft_*.json")
    return json.loads(path.read_text())["result"], _records(folder / "out")


def _values(items: Any) -> Any:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_run_has_name_tags_and_settings(logged: Any) -> None:
    _, records = logged
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (run.display_name, run.run_group, run.job_type) == ("night-ft", "sweep7", "finetune")
    assert list(run.tags) == ["a", "b", "sweep7"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["num_iterations"], config["dtype"]) == (4, "float32")


def test_curves_samples_and_summary_have_the_keys_of_the_source(logged: Any) -> None:
    result, records = logged
    history = [_values(record.history.item) for record in records if record.HasField("history")]
    steps = [row for row in history if "train/loss" in row]
    assert [row["train/loss"] for row in steps] == pytest.approx(result["losses"])
    for name in ("lr_mult", "lr", "lr_matrix", "lr_embedding", "lr_unembedding", "tokens_seen"):
        assert all(f"train/{name}" in row for row in steps), name
    assert [row["_step"] for row in steps] == [1, 2, 3, 4]
    assert [row["_step"] for row in steps if "val/loss" in row] == [2, 4]
    whole = [row for row in history if "samples/generations/nrows" in row]
    growing = [row for row in history if "samples/generations_incr/nrows" in row]
    assert [(row["_step"], row["samples/generations/nrows"]) for row in whole] == [(4, 10)]
    assert [row["_step"] for row in growing] == [0, 4]
    summary = {}
    for record in records:
        if record.HasField("summary"):
            summary |= _values(record.summary.update)
    assert summary["final_train_loss"] == pytest.approx(result["final_loss"])
    assert summary["trainable_ratio"] == pytest.approx(result["trainable_ratio"])
    for name in ("diagnostic/initial_loss", "model/params_matrix", "runtime_s", "converged"):
        assert name in summary, name


def test_model_is_an_artifact_in_the_published_layout(logged: Any) -> None:
    result, records = logged
    requests = [r.request.log_artifact.artifact for r in records if r.HasField("request")]
    artifacts = [r.artifact for r in records if r.HasField("artifact")] + requests
    (model,) = [artifact for artifact in artifacts if artifact.type == "model"]
    assert model.name == "night-ft-artifact"
    assert set(model.aliases) >= {"finetune", "night-ft", "latest"}
    assert json.loads(model.metadata)["final_loss"] == pytest.approx(result["final_loss"])
    paths = {entry.path for entry in model.manifest.contents}
    assert {"checkpoints/model_000004.pt", "checkpoints/meta_000004.json"} <= paths
    assert "tokenizer/tokenizer.pkl" in paths


@pytest.fixture(scope="module")
def wild(golden_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Records of a run that diverges and has its name and its place from the environment."""
    folder = tmp_path_factory.mktemp("wild")
    (folder / "elsewhere").mkdir()
    where = {"WANDB_RUN": "dawn", "WANDB_DIR": str(folder / "elsewhere")}
    rates = ["--unembedding-lr=1e30", "--matrix-lr=1e30"]
    done = _finetune(golden_folder, folder, "--eval-every=0", *rates, **where)
    assert (done.returncode, done.stderr) == (0, "")
    assert " stable=False " in done.stdout
    return _records(folder / "elsewhere")


def test_samples_of_a_run_that_diverges_are_kept(wild: Any) -> None:
    history = [_values(record.history.item) for record in wild if record.HasField("history")]
    assert any("samples/generations/nrows" in row for row in history)


def test_the_run_may_be_named_by_the_environment(wild: Any) -> None:
    (run,) = [record.run for record in wild if record.HasField("run")]
    assert run.display_name == "dawn-ft"


class BrokenRun:
    """A W&B run that cannot log."""

    url, name = None, "night-ft"

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls: list[str] = []
        self.summary = self

    def log(self, values: Any, step: int) -> None:
        self.calls.append(f"log {step}")
        raise self.error

    def update(self, values: Any) -> None:
        self.calls.append("summary")

    def finish(self, exit_code: int = 0) -> None:
        self.calls.append(f"finish {exit_code}")
        raise self.error


def test_a_run_that_cannot_log_is_said_once() -> None:
    run, lines = BrokenRun(ValueError("no such chart\nat all")), []
    tracker = WandbTracker(run, lines.append)
    tracker.log({"train/loss": 1.0}, 1)
    tracker.log({"train/loss": 1.0}, 2)
    tracker.summary({"converged": True})
    assert run.calls == ["log 1"]
    assert lines == ["W&B: ValueError: no such chart; nothing more is sent to it"]


def test_ctrl_c_ends_a_training_but_only_the_end_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, lines = BrokenRun(KeyboardInterrupt()), []
    with pytest.raises(KeyboardInterrupt):
        WandbTracker(run, lines.append).log({"train/loss": 1.0}, 1)
    monkeypatch.setattr("wandb.init", lambda **_: run)
    settings, _ = parse_settings({"preset": "tiny", "run": "night"})
    later = LaterSteps(lines.append)
    with tracked(settings, {}, tmp_path, later):
        pass
    assert lines == ["could not send the rest of the run to W&B: stopped by Ctrl-C"]
    assert later.exit_code == 130
    with pytest.raises(ZeroDivisionError), tracked(settings, {}, tmp_path, later):
        raise ZeroDivisionError
    assert run.calls == ["log 1", "finish 0", "finish 1"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            None,
            "WANDB_INIT_TIMEOUT is 'x', which wandb refuses (Input should be a valid number",
        ),
        (PermissionError(13, "Permission denied"), "PermissionError: [Errno 13] Permission denied"),
    ],
)
def test_a_run_that_wandb_cannot_open_goes_on_untracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, reason: str
) -> None:
    def init(**_: Any) -> Any:
        if error is not None:
            raise error
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", "x")
        wandb.Settings().update_from_env_vars(dict(os.environ))

    monkeypatch.setattr("wandb.init", init)
    lines: list[str] = []
    settings, _ = parse_settings({"preset": "tiny", "run": "night"})
    with tracked(settings, {}, tmp_path, LaterSteps(lines.append)) as tracker:
        tracker.log({"train/loss": 1.0}, 1)
    assert type(tracker) is Tracker
    assert len(lines) == 1
    assert lines[0].startswith(f"W&B: {reason}")
    assert lines[0].endswith("; the run goes on without it")


def test_a_run_without_a_login_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> Any:
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr("wandb.init", init)
    settings, _ = parse_settings({"preset": "tiny", "run": "night"})
    refused = r"run 'night': W&B refused it \(No API key configured\); `wandb login`"
    with (
        pytest.raises(NanochatError, match=refused),
        tracked(settings, {}, tmp_path, LaterSteps(print)),
    ):
        raise AssertionError("nothing is trained")


def test_without_a_name_nothing_is_logged_and_wandb_is_not_loaded(
    golden_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "wandb.py").write_text("raise SystemExit('wandb was imported')\n")
    monkeypatch.syspath_prepend(tmp_path / "poison")
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    words = ["nanochat", "finetune", "--model", str(golden_folder), *QUICK, "--eval-every=0"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (None, 0)
    printed = capsys.readouterr()
    assert "result: " in printed.out
    assert printed.err == ""
    assert not list(tmp_path.rglob("offline-run-*"))
