"""Inputs of a single fine-tune: the model, the batches, validation batches and samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from nanochat.data.conversations import Conversation
from nanochat.data.examples import Examples
from nanochat.data.source import DataSource
from nanochat.errors import NanochatError
from nanochat.finetune_run.rows import load_rows
from nanochat.finetune_run.samples import LONGEST, Sample, make_samples
from nanochat.finetune_run.settings import Settings
from nanochat.model.checkpoint import build_model
from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.batches import Batches, make_batches
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.recipe import Recipe

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class RunInputs:
    """Loaded inputs of a fine-tune, on its device.

    Attributes
    ----------
    validation
        None where there is no validation data, or none is wanted.
    samples
        Empty unless `visualize` or W&B needs them.
    fingerprints
        SHA-256 of the weights, of the tokenizer, and of the tokenised conversations.
    skipped_rows
        Records of the bad rows left out (`SkippedRows.record`), by ``training`` and ``validation``;
        empty where there were none.
    """

    model: GPT
    tokenizer: Tokenizer
    batches: Batches
    validation: Batches | None
    samples: list[Sample]
    fingerprints: dict[str, str]
    skipped_rows: dict[str, dict[str, Any]]


def load_run_inputs(
    settings: Settings,
    recipe: Recipe,
    say: Say,
    budget: int | None = None,
    kernels: Kernels = PLAIN,
) -> RunInputs:
    """Find, read and tokenise all that the settings name.

    Parameters
    ----------
    say
        Called with each line to show.
    budget
        Supervised tokens that a folder of shards must hold, where the recipe's own budget is not
        what decides.
    kernels
        Kernels that the batches are made for.

    Raises
    ------
    NanochatError
        Where model, tokenizer or data are missing or do not match.
    """
    device = _device(settings)
    checkpoint, tokenizer = settings.model_source.load()
    config = checkpoint.config
    model = build_model(config, checkpoint.state).to(device)
    count = sum(param.numel() for param in model.parameters())
    say(
        f"model: {settings.model}, step {checkpoint.step}: {config.n_layer} blocks, width "
        f"{config.n_embd}, {count:,} parameters, on {_device_name(device)}"
    )
    # A folder of shards is read up to the budget; a number of steps is no budget.
    budget = budget or (recipe.num_tokens if recipe.num_iterations < 0 else None)
    data = settings.training_data
    rows = load_rows(settings, recipe, budget)
    examples = _tokenize(data, rows.training, tokenizer, config, data.name)
    say(f"data: {data.name}: {_describe(examples, settings)}")
    for part, skipped in rows.skipped.items():
        for line in skipped.lines():
            say(f"{part}: {line}")
    validation, samples, watched = None, [], rows.validation
    if settings.watched:
        hint = "" if watched else "; --val-data FILE or --val-share 0.05 gives one"
        say(f"validation: {rows.origin}{hint}")
    pad_id = tokenizer.special["<|assistant_end|>"]
    if watched:
        name = f"{settings.val_data or data.name} (validation)"
        held_out = _tokenize(data, watched, tokenizer, config, name)
        if settings.eval_batches:
            validation = make_batches(held_out, recipe, pad_id, device)
        if settings.visualize or settings.logged:
            longest = min(settings.max_seq_len, config.reach - LONGEST)
            samples = make_samples(watched, tokenizer, longest)
    return RunInputs(
        model=model,
        tokenizer=tokenizer,
        batches=make_batches(examples, recipe, pad_id, device, kernels, config.reach),
        validation=validation,
        samples=samples,
        fingerprints={
            "model": checkpoint.fingerprint,
            "tokenizer": tokenizer.fingerprint,
            "data": examples.fingerprint,
        },
        skipped_rows={part: each.record() for part, each in rows.skipped.items() if each.count},
    )


def _tokenize(
    data: DataSource,
    conversations: list[Conversation],
    tokenizer: Tokenizer,
    config: GPTConfig,
    name: str,
) -> Examples:
    try:
        examples = data.tokenise(conversations, tokenizer)
    except NanochatError as error:
        raise NanochatError(f"{name}: {error}") from error
    longest = int(examples.lengths.max()) - 1  # the last token is only predicted
    if longest > config.reach:
        raise NanochatError(
            f"{name}: a conversation has {longest + 1:,} tokens, and this model reaches "
            f"{config.reach:,}; give --max-seq-len {config.reach} or less"
        )
    return examples


def _device(settings: Settings) -> torch.device:
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise NanochatError("device cuda: torch sees no GPU here; --device cpu, or auto")
    return torch.device(settings.device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _describe(examples: Examples, settings: Settings) -> str:
    cut = f", {examples.truncated:,} cut to {settings.max_seq_len:,} tokens"
    skipped = f", {examples.skipped:,} skipped (nothing to predict)"
    return (
        f"{len(examples):,} conversations, {examples.num_supervised:,} supervised tokens"
        f"{cut if examples.truncated else ''}{skipped if examples.skipped else ''}"
    )
