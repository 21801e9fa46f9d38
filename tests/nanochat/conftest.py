"""The reference model and its numbers, and one thread for torch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nanochat.data.conversations import load_conversations
from nanochat.data.examples import Examples, tokenize_conversations
from nanochat.model.checkpoint import Checkpoint, build_model, load_checkpoint
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "nanochat_tiny"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def fixtures() -> dict[str, Any]:
    return json.loads((GOLDEN / "fixtures.json").read_text())


@pytest.fixture(scope="session")
def golden_arrays() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / "logits.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="session")
def curves() -> list[dict[str, Any]]:
    return json.loads((GOLDEN / "finetune_curves.json").read_text())["rows"]


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return load_checkpoint(GOLDEN / "checkpoints")


@pytest.fixture
def model(checkpoint: Checkpoint) -> GPT:
    return build_model(checkpoint.config, checkpoint.state)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(GOLDEN / "tokenizer")


@pytest.fixture(scope="session")
def examples(tokenizer: Tokenizer) -> Examples:
    return tokenize_conversations(load_conversations("stdlib_qa", limit=400), tokenizer, 128)


@pytest.fixture(scope="session")
def pad_id(tokenizer: Tokenizer) -> int:
    return tokenizer.special["<|assistant_end|>"]
