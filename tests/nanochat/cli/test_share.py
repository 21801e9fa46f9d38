"""``nanochat export``, ``import`` and ``upload``, as they are typed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.cli.main import main
from nanochat.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nanochat.model.gpt import GPT
from nanochat.sharing.transformers_format import EXPORTED, import_transformers
from nanochat.sources.load import load_model
from tests.hub_stand_in import HubStandIn, use


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def typed(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["nanochat", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return typed


@pytest.fixture
def folder(tmp_path: Path, golden_folder: Path) -> Path:
    return shutil.copytree(golden_folder, tmp_path / "model")


def test_a_model_goes_to_transformers_and_comes_back(
    run: Callable[..., Any], folder: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    code, shown, _ = run("export", "--model", folder, "--out", tmp_path / "hf")
    assert (code, shown) == (0, f"{tmp_path / 'hf'}\n")
    assert {path.name for path in (tmp_path / "hf").iterdir()} == set(EXPORTED)
    code, shown, _ = run("import", "--model", tmp_path / "hf", "--out", tmp_path / "back")
    assert (code, shown) == (0, f"{tmp_path / 'back'}\n")
    again, tokenizer = load_model(str(tmp_path / "back"))
    assert (again.step, again.fingerprint) == (400, checkpoint.fingerprint)
    assert again.meta["tokenizer_fingerprint"] == tokenizer.fingerprint


def test_weights_that_are_not_finite_are_shared_by_no_command(
    run: Callable[..., Any], folder: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    path = folder / "checkpoints" / "model_000400.pt"
    head = checkpoint.state["lm_head.weight"].clone()
    head[3, 4] = torch.nan
    torch.save({**checkpoint.state, "lm_head.weight": head}, path)
    fault = f"error: {path}: lm_head.weight has 1 of 32,768 values that are not finite"
    out = ("--out", tmp_path / "out")
    for words in (
        ("export", "--model", folder, *out),
        ("export", "--model", folder, *out, "--format", "nanochat"),
        ("upload", "--model", folder, "--repo", "owner/name"),
        ("finetune", "--model", folder, *out, "--device", "cpu", "--data", "stdlib_qa"),
    ):
        code, _, told = run(*words)
        assert (code, told[: len(fault)]) == (2, fault), words


def test_a_config_out_of_bounds_is_not_imported(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    assert run("export", "--model", folder, "--out", tmp_path / "hf")[0] == 0
    path = tmp_path / "hf" / "config.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "max_position_embeddings": 10**9}))
    code, _, told = run("import", "--model", tmp_path / "hf", "--out", tmp_path / "back")
    limit = "config.json: max_position_embeddings must be at most 131,072, not 1,000,000,000"
    assert (code, told) == (2, f"error: {tmp_path / 'hf'}: {limit}\n")
    for name in ("config.json", "tokenizer.json"):
        path.write_text(json.dumps(whole))
        (tmp_path / "hf" / name).write_text("[" * 100_000)
        code, _, told = run("import", "--model", tmp_path / "hf", "--out", tmp_path / "back")
        assert code == 2
        assert told.startswith(f"error: {tmp_path / 'hf' / name} is ")


def test_the_published_layout_keeps_the_meta_file(
    run: Callable[..., Any], folder: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    code, *_ = run("export", f"--model={folder}", "--out", tmp_path / "out", "--format=nanochat")
    assert code == 0
    again = load_checkpoint(tmp_path / "out" / "checkpoints")
    assert again.fingerprint == checkpoint.fingerprint
    assert checkpoint.meta.items() <= again.meta.items()
    assert (tmp_path / "out" / "tokenizer" / "tokenizer.pkl").is_file()


@pytest.mark.parametrize("option", ["--step=6", "--model-step=6", "--model_step 6"])
def test_one_of_several_checkpoints_is_chosen(
    run: Callable[..., Any], tmp_path: Path, golden_folder: Path, model: GPT, option: str
) -> None:
    base = tmp_path / "base"
    for tag, step in (("d2", 5), ("d2", 6), ("d9", 6)):
        save_checkpoint(base / "mid_checkpoints" / tag, model, step, {"tag": tag})
    save_checkpoint(base / "chatsft_checkpoints" / "d2", model, 6, {"tag": "sft"})
    shutil.copytree(golden_folder / "tokenizer", base / "tokenizer")
    chosen = ["--model_tag", "d2", "--source-stage", "mid", *option.split()]
    written = ["--out", tmp_path / "out", "--format", "nanochat"]
    assert run("export", "--model", base, *written, *chosen)[0] == 0
    found = load_checkpoint(tmp_path / "out" / "checkpoints")
    assert (found.step, found.meta["tag"]) == (6, "d2")


def test_a_folder_that_holds_something_else_is_left_alone(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for command in ("export", "import"):
        source = folder
        if command == "import":
            source = tmp_path / "hf"
            assert run("export", "--model", folder, "--out", source)[0] == 0
        code, _, told = run(command, "--model", source, "--out", out)
        assert code == 2
        assert told == f"error: --out {out} holds notes.txt already; give a new or empty folder\n"
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    code, _, told = run("export", "--model", folder, "--out", out / "notes.txt")
    assert (code, told) == (
        2,
        f"error: cannot write {out / 'notes.txt'}: {out / 'notes.txt'} is not a folder\n",
    )
    (out / "notes.txt").unlink()
    for _ in range(2):  # the same files from before are no obstacle
        assert run("export", "--model", folder, "--out", out)[0] == 0
    assert import_transformers(out)[0].step == 400
    assert run("export", "--model", folder, "--out", out, "--format", "nanochat")[0] == 2


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
def test_a_model_is_uploaded(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with HubStandIn() as hub:
        use(monkeypatch, hub, tmp_path)
        words = ("upload", "--model", folder, "--repo", "some/model", "--mid", folder)
        code, shown, _ = run(*words, "--private", "--message", "by hand")
        assert code == 0
        assert shown == f"{hub.url}/some/model/commit/{hub.commits[0]['sha']}\n"
        assert hub.commits[0]["message"] == "by hand"
        assert hub.private == {"models/some/model"}
        assert "mid_model_000400.pt" in hub.repos["models/some/model"]
        monkeypatch.delenv("HF_TOKEN")
        code, _, told = run(*words)
        assert code == 2
        assert "`hf auth login`" in told
        assert run(*words, "--token", "hf_stand_in")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--model", "nowhere", "--out", "x"], "error: model 'nowhere': no such folder"),
        (["export", "--model", "preset:tyni", "--out", "x"], "did you mean 'tiny'?"),
        (["import", "--model", "nowhere", "--out", "x"], "error: no config.json in nowhere"),
        (["upload", "--model", ".", "--repo", "name"], "is named owner/name, not 'name'"),
        (["upload", "--model", ".", "--repo", "a/b--c"], "hub allows no such name as 'a/b--c': "),
        (["export", "--model", ".", "--out", "x", "--format", "onnx"], "'onnx' is not one of"),
        (["export", "--model", "."], "'--out'"),
    ],
)
def test_bad_input_is_code_two(
    run: Callable[..., Any],
    words: Any,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = run(*words)
    assert code == 2
    assert message in told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["export", "import", "upload"])
def test_help_is_complete_and_loads_no_torch(command: str) -> None:
    code = (
        "import sys; from nanochat.cli.main import app\n"
        f"try: app(['{command}', '--help'])\n"
        "finally: print({'torch', 'transformers', 'huggingface_hub'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert "--model" in done.stdout
    assert ("--model-step" in done.stdout) == (command != "import")
