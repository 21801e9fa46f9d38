"""Pointers of git-lfs in place of models, tokenizers and conversations."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanochat.data.conversations import load_conversations
from nanochat.data.nested_shards import list_shards
from nanochat.errors import NanochatError
from nanochat.model.checkpoint import Checkpoint
from nanochat.sharing.transformers_format import export_transformers, import_transformers
from nanochat.sources.load import load_model
from nanochat.tokenizer.tokenizer import Tokenizer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def _check(path: Path, read: Callable[[], Any], content: str = POINTER) -> None:
    path.write_text(content)
    command = re.escape(f"`git -C '{path.parent}' lfs pull`")
    message = rf"{path.name} is a pointer of git-lfs: .* was not fetched; run {command}(; .*)?$"
    with pytest.raises(NanochatError, match=message):
        read()


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/model_000400.pt",
        "checkpoints/meta_000400.json",
        "tokenizer/tokenizer.pkl",
        "tokenizer/token_bytes.pt",
    ],
)
def test_models_are_refused_with_the_command(
    tmp_path: Path, golden_folder: Path, name: str
) -> None:
    model = shutil.copytree(golden_folder, tmp_path / "a model")
    _check(model / name, lambda: load_model(str(model)))


def test_our_own_tokenizers_are_refused_with_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "a tokenizer"
    folder.mkdir()
    _check(folder / "tokenizer.json", lambda: Tokenizer.load(folder))


@pytest.mark.parametrize("name", ["data.jsonl", "data.parquet", "shard_100.parquet"])
@pytest.mark.parametrize("content", [POINTER, POINTER.replace("git-lfs", "hawser")])
def test_conversations_are_refused_with_the_command(
    tmp_path: Path, name: str, content: str
) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    path = folder / name
    shard = name.startswith("shard")
    _check(path, lambda: list_shards(folder) if shard else load_conversations(str(path)), content)


def test_models_of_transformers_are_refused_with_the_command(
    tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    folder = tmp_path / "of transformers"
    export_transformers(checkpoint, tokenizer, folder)
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        _check(folder / name, lambda: import_transformers(folder))
