"""Base training of a preset, on plain text, from a tokenizer on up: ``nanochat pretrain``.

Made once and kept: the folder's name holds a hash of all inputs, and it appears under that name
only when it is complete.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from nanochat.data.conversations import Conversation, load_conversations
from nanochat.errors import NanochatError
from nanochat.files.atomic import temporary_beside
from nanochat.files.base_dir import base_dir
from nanochat.files.outputs import writing
from nanochat.model.checkpoint import find_checkpoint, save_checkpoint
from nanochat.model.gpt import GPT, GPTConfig
from nanochat.model.torch_settings import isolated
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.optim.groups import build_optimizers
from nanochat.train.optim.learning_rates import set_lr_factor
from nanochat.train.presets import Preset, get_preset
from nanochat.train.recipe import Recipe

CODE_VERSION = 1  # to be raised when a change here gives another model
Progress = Callable[[int, int, float], None]


def pretrain(preset: str, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Train a preset's model, or find the one trained before.

    Parameters
    ----------
    preset
        A name in `nanochat.train.presets.PRESETS`.
    folder
        Where to put it: a folder that does not exist, is empty, or has this very preset. If not
        given, a folder under ``base_dir()/presets`` whose name holds a hash of everything that
        the model depends on.
    progress
        Called after each step with (steps made, steps in all, loss in nats).

    Returns
    -------
    Path
        Folder with ``checkpoints/`` and ``tokenizer/``. On one machine the weights are always the
        same to the bit.

    Raises
    ------
    NanochatError
        For an unknown preset, or a folder with something else in it.
    """
    settings = get_preset(preset)
    conversations = load_conversations(settings.data)
    key = _key(settings, conversations)
    folder = base_dir() / "presets" / f"{preset}-{key[:12]}" if folder is None else Path(folder)
    if _is_done(folder, key):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NanochatError(f"{folder} exists and is no {preset} model of this version")
    building = temporary_beside(folder, f"{uuid.uuid4().hex}.tmp")
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _build(building, preset, settings, key, conversations, progress)
            _publish(building, folder, key)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _said(conversations: list[Conversation], *roles: str) -> list[str]:
    """Yield the text of the messages of these roles, in order."""
    return [m["content"] for messages in conversations for m in messages if m["role"] in roles]


def _key(settings: Preset, conversations: list[Conversation]) -> str:
    content = json.dumps([CODE_VERSION, asdict(settings), conversations], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _is_done(folder: Path, key: str) -> bool:
    checkpoints = folder / "checkpoints"
    try:
        meta = checkpoints / f"meta_{find_checkpoint(checkpoints):06d}.json"
        return json.loads(meta.read_bytes()).get("preset_key") == key
    except (OSError, ValueError):  # ValueError includes NanochatError: no checkpoint
        return False


def _publish(building: Path, folder: Path, key: str) -> None:
    try:
        building.replace(folder)
    except OSError:
        # Another process was first; its model is equal.
        if not _is_done(folder, key):
            raise


def _build(
    folder: Path,
    name: str,
    settings: Preset,
    key: str,
    conversations: list[Conversation],
    progress: Progress | None,
) -> None:
    tokenizer = Tokenizer.train(_said(conversations, "user", "assistant"), settings.vocab_size)
    tokenizer.save(folder / "tokenizer")
    # Questions only: a model that knew the answers would leave the fine-tune nothing to learn.
    texts = _said(conversations, "user")
    bos = tokenizer.special["<|bos|>"]
    stream = torch.tensor([token for text in texts for token in [bos, *tokenizer.encode(text)]])
    with isolated(torch.device("cpu"), deterministic=True):
        model, loss = _train(settings, stream, progress)
    meta = {"preset": name, "preset_key": key, "train_loss": loss, "user_config": asdict(settings)}
    meta["tokenizer_fingerprint"] = tokenizer.fingerprint
    save_checkpoint(folder / "checkpoints", model, settings.steps, meta)


def _train(settings: Preset, stream: Tensor, progress: Progress | None) -> tuple[GPT, float]:
    """Train the model; returns it with the loss of the last step."""
    names = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")
    model = GPT(GPTConfig(**{name: getattr(settings, name) for name in names}))
    model.init_weights(torch.Generator().manual_seed(settings.seed))
    recipe = Recipe(
        matrix_lr=settings.matrix_lr,
        embedding_lr=settings.embedding_lr,
        unembedding_lr=settings.unembedding_lr,
        trainable_param_groups=("embedding", "matrix", "unembedding"),
        weight_decay=0.0,
    )
    optimizers = build_optimizers(model, recipe)
    batches = _rows(stream, settings)
    value = 0.0
    for step in range(settings.steps):
        inputs, targets = next(batches)
        loss = model(inputs, targets)
        loss.backward()
        value = loss.item()
        # Constant, then down to 0 in a straight line, as in nanochat's base training.
        left = (settings.steps - step) / (settings.warmdown_frac * settings.steps)
        set_lr_factor(optimizers, min(1.0, left))
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        if progress is not None:
            progress(step + 1, settings.steps, value)
    return model, value


def _rows(stream: Tensor, settings: Preset) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets, int64 (rows, sequence_len) each, cycling through the stream."""
    need = settings.rows * settings.sequence_len
    start = 0
    while True:
        if start + need + 1 > len(stream):
            start = 0
        piece = stream[start : start + need + 1]
        yield piece[:-1].view(settings.rows, -1), piece[1:].view(settings.rows, -1)
        start += need
