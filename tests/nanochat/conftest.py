"""The reference model and its numbers, and one thread for torch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nanochat.data.conversations import load_conversations
from nanochat.data.examples import tokenize_conversations
from nanochat.model.checkpoint import build_model, load_checkpoint
from nanochat.tokenizer.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "nanochat_tiny"


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def golden_folder():
    return GOLDEN


@pytest.fixture(scope="session")
def fixtures():
    return json.loads((GOLDEN / "fixtures.json").read_text())


@pytest.fixture(scope="session")
def golden_arrays():
    with np.load(GOLDEN / "logits.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="session")
def curves():
    return json.loads((GOLDEN / "finetune_curves.json").read_text())["rows"]


@pytest.fixture(scope="session")
def checkpoint():
    return load_checkpoint(GOLDEN / "checkpoints")


@pytest.fixture
def model(checkpoint):
    return build_model(checkpoint.config, checkpoint.state)


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.load(GOLDEN / "tokenizer")


@pytest.fixture(scope="session")
def examples(tokenizer):
    return tokenize_conversations(load_conversations("stdlib_qa", limit=400), tokenizer, 128)


@pytest.fixture(scope="session")
def pad_id(tokenizer):
    return tokenizer.special["<|assistant_end|>"]
