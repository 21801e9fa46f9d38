"""Where models are looked for."""

import shutil
from pathlib import Path

import pytest

from nanochat.errors import NanochatError
from nanochat.presets import base_dir
from nanochat.sources import ModelFolder, check_source, resolve_model


def test_nested_layout(golden_folder):
    expected = ModelFolder(golden_folder / "checkpoints", golden_folder / "tokenizer")
    assert resolve_model(str(golden_folder)) == expected
    assert resolve_model(str(golden_folder / "checkpoints")) == expected
    check_source(str(golden_folder))


def test_flat_layout(tmp_path, golden_folder):
    for name in ("checkpoints", "tokenizer"):
        shutil.copytree(golden_folder / name, tmp_path, dirs_exist_ok=True)
    assert resolve_model(str(tmp_path)) == ModelFolder(tmp_path, tmp_path)


def test_base_dir_layout(tmp_path, golden_folder):
    model = tmp_path / "base_checkpoints" / "d2"
    shutil.copytree(golden_folder / "checkpoints", model)
    shutil.copytree(golden_folder / "tokenizer", tmp_path / "tokenizer")
    assert resolve_model(str(model)) == ModelFolder(model, tmp_path / "tokenizer")


def test_base_dir_is_taken_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))
    assert base_dir() == tmp_path
    monkeypatch.delenv("NANOCHAT_BASE_DIR")
    assert base_dir() == Path.home() / ".cache" / "nanochat"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("preset:tyni", "unknown preset 'tyni'; did you mean 'tiny'"),
        ("hf:", "is not of the form hf:owner/name"),
        ("hf:a/b@", "is not of the form"),
        ("hf:a/b/c", "is not of the form"),
        ("s3:bucket", "unknown scheme .a model is a folder, preset:NAME, or hf:owner/name"),
    ],
)
def test_bad_sources_are_refused(source, message):
    with pytest.raises(NanochatError, match=message):
        check_source(source)


def test_a_folder_without_a_model_names_what_was_tried(tmp_path, golden_folder):
    with pytest.raises(NanochatError, match=r"no model_\*\.pt .looked in .*checkpoints"):
        resolve_model(str(tmp_path))
    shutil.copytree(golden_folder / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(NanochatError, match=r"no tokenizer\.json or tokenizer\.pkl .looked in"):
        resolve_model(str(tmp_path))


def test_a_folder_that_is_elsewhere_is_refused_only_when_it_is_needed():
    check_source("nowhere/at/all")
    with pytest.raises(NanochatError, match=r"no such folder .a model is a folder"):
        resolve_model("nowhere/at/all")


def test_hub_repositories_are_fetched_and_found(monkeypatch, golden_folder):
    asked = {}

    def download(repository, *, revision, allow_patterns):
        asked.update(repository=repository, revision=revision, patterns=allow_patterns)
        return str(golden_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    found = resolve_model("hf:karpathy/nanochat-d34@refs/pr/1")
    assert found.checkpoint_dir == golden_folder / "checkpoints"
    assert (asked["repository"], asked["revision"]) == ("karpathy/nanochat-d34", "refs/pr/1")
    assert not any("optim" in pattern for pattern in asked["patterns"])
