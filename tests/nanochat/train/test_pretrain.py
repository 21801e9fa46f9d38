"""The preset model: made once, the same every time, and worth fine-tuning."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import nanochat.train.presets
import nanochat.train.pretrain
from nanochat.data.conversations import load_conversations
from nanochat.data.examples import tokenize_conversations
from nanochat.errors import NanochatError
from nanochat.model.checkpoint import build_model, load_checkpoint
from nanochat.sources.load import resolve_model
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.batches import make_batches
from nanochat.train.finetune import finetune
from nanochat.train.pretrain import pretrain
from nanochat.train.recipe import Recipe


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A preset of three steps, and a base folder of its own."""
    preset = dataclasses.replace(nanochat.train.presets.PRESETS["tiny"], steps=3, rows=4)
    monkeypatch.setitem(nanochat.train.presets.PRESETS, "small", preset)
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))
    return tmp_path / "presets"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that were built, in order."""
    made = []
    real = nanochat.train.pretrain._build

    def build(folder: Path, *rest: Any) -> None:
        made.append(folder)
        real(folder, *rest)

    monkeypatch.setattr(nanochat.train.pretrain, "_build", build)
    return made


def test_tiny_learns_in_training_and_in_a_fine_tune() -> None:
    found = resolve_model("preset:tiny")
    checkpoint = load_checkpoint(found.checkpoint_dir)
    tokenizer = Tokenizer.load(found.tokenizer_dir)
    assert tokenizer.vocab_size == checkpoint.config.vocab_size
    assert checkpoint.meta["train_loss"] < 2  # ln 512 = 6.2 at the start
    examples = tokenize_conversations(load_conversations("stdlib_qa", limit=200), tokenizer, 128)
    recipe = Recipe(num_tokens=8000, dtype="float32", matrix_lr=0.05, unembedding_lr=0.01)
    batches = make_batches(examples, recipe, tokenizer.special["<|assistant_end|>"])
    model = build_model(checkpoint.config, checkpoint.state)
    result = finetune(model, batches, recipe)
    assert result.losses[-20:].mean() < 0.85 * result.losses[0]
    assert result.losses[-1] < 0.7 * result.losses[0]


def test_made_once_and_without_a_trace_of_the_making(small: Path, builds: list[Path]) -> None:
    steps = []
    folder = pretrain("small", progress=lambda *step: steps.append(step))
    assert [step[:2] for step in steps] == [(1, 3), (2, 3), (3, 3)]
    assert folder.parent == small
    assert [path.name for path in small.iterdir()] == [folder.name]
    assert pretrain("small") == folder
    assert resolve_model("preset:small").tokenizer_dir == folder / "tokenizer"
    assert len(builds) == 1


def test_the_same_weights_every_time(small: Path, tmp_path: Path) -> None:
    prints = [
        load_checkpoint(pretrain("small", tmp_path / name) / "checkpoints").fingerprint
        for name in ("one", "two")
    ]
    assert prints[0] == prints[1]


def test_the_name_changes_with_the_settings(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pretrain("small")
    other = dataclasses.replace(nanochat.train.presets.PRESETS["small"], seed=1)
    monkeypatch.setitem(nanochat.train.presets.PRESETS, "small", other)
    assert pretrain("small") != first


def test_two_at_once_make_one(small: Path, builds: list[Path]) -> None:
    # The second begins and ends while the first, which has found no model, is at its first step.
    second = []

    def progress(*_: Any) -> None:
        if not second:
            second.append(pretrain("small"))

    assert pretrain("small", progress=progress) == second[0]
    assert len(builds) == 2
    assert [path.name for path in small.iterdir()] == [second[0].name]
    load_checkpoint(second[0] / "checkpoints")


def test_a_build_that_dies_is_not_taken_for_a_model(
    small: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain("small", progress=die)
    assert list(small.iterdir()) == []
    # Killed outright: the temporary folder stays, under a name that nobody looks for.
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        pretrain("small", progress=die)
    assert len(list(small.iterdir())) == 1
    assert pretrain("small").is_dir()
    assert len(builds) == 3


def test_a_folder_of_somebody_elses_is_left_alone(small: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").touch()
    with pytest.raises(NanochatError, match="exists and is no small model"):
        pretrain("small", taken)
    assert [path.name for path in taken.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_filled_and_then_recognised(
    small: Path, tmp_path: Path, builds: list[Path]
) -> None:
    target = tmp_path / "empty"
    target.mkdir()
    assert pretrain("small", target) == target == pretrain("small", target)
    assert len(builds) == 1
    meta = json.loads((target / "checkpoints" / "meta_000003.json").read_text())
    assert meta["preset"] == "small"


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(NanochatError, match="unknown preset 'huge'"):
        pretrain("huge")
