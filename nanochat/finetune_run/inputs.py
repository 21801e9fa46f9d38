"""Inputs of a single fine-tune: the model, the batches, validation batches and samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from nanochat.data.conversations import Conversation, load_conversations
from nanochat.data.examples import Examples, tokenize_conversations
from nanochat.errors import NanochatError
from nanochat.finetune_run.samples import COUNT, LONGEST, Sample, make_samples
from nanochat.finetune_run.settings import Settings
from nanochat.model.checkpoint import build_model
from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT
from nanochat.sources.load import load_model
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.batches import Batches, make_batches
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.recipe import Recipe

Say = Callable[[str], None]
VALIDATION = "validation"


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
    """

    model: GPT
    tokenizer: Tokenizer
    batches: Batches
    validation: Batches | None
    samples: list[Sample]
    fingerprints: dict[str, str]


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
        Gets each line to show.
    budget
        Supervised tokens that a folder of shards must hold, where the recipe's own budget is not
        what decides.
    kernels
        That the batches are made for.

    Raises
    ------
    NanochatError
        Where any of it is missing or does not fit together.
    """
    device = _device(settings)
    checkpoint, tokenizer = load_model(
        settings.model,
        step=None if settings.model_step < 0 else settings.model_step,
        tag=settings.model_tag or None,
        stage=settings.source_stage or None,
        tokenizer=settings.tokenizer_artifact or None,
    )
    config = checkpoint.config
    model = build_model(config, checkpoint.state).to(device)
    count = sum(param.numel() for param in model.parameters())
    say(
        f"model: {settings.model}, step {checkpoint.step}: {config.n_layer} blocks, width "
        f"{config.n_embd}, {count:,} parameters, on {_device_name(device)}"
    )
    # A folder of shards is read as far as the budget goes; a number of steps is no budget.
    budget = budget or (recipe.num_tokens if recipe.num_iterations < 0 else None)
    conversations = load_conversations(
        settings.data_source, settings.split, _limit(settings), num_tokens=budget
    )
    examples = _tokenize(conversations, tokenizer, settings, config, settings.data_source)
    say(f"data: {settings.data_source}: {_describe(examples, settings)}")
    watched = _watching(settings, recipe, say)
    validation, samples = None, []
    pad_id = tokenizer.special["<|assistant_end|>"]
    if watched:
        source = settings.val_data or settings.data_source
        held_out = _tokenize(watched, tokenizer, settings, config, f"{source} ({VALIDATION})")
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
    )


def _tokenize(
    conversations: list[Conversation],
    tokenizer: Tokenizer,
    settings: Settings,
    config: GPTConfig,
    source: str,
) -> Examples:
    try:
        examples = tokenize_conversations(conversations, tokenizer, settings.max_seq_len)
    except NanochatError as error:
        raise NanochatError(f"{source}: {error}") from error
    longest = int(examples.lengths.max()) - 1  # the last token is only predicted
    if longest > config.reach:
        raise NanochatError(
            f"{source}: a conversation has {longest + 1:,} tokens, and this model reaches "
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


def _limit(settings: Settings) -> int | None:
    return None if settings.limit < 0 else settings.limit


def _describe(examples: Examples, settings: Settings) -> str:
    cut = f", {examples.truncated:,} cut to {settings.max_seq_len:,} tokens"
    skipped = f", {examples.skipped:,} skipped (nothing to predict)"
    return (
        f"{len(examples):,} conversations, {examples.num_supervised:,} supervised tokens"
        f"{cut if examples.truncated else ''}{skipped if examples.skipped else ''}"
    )


def _watching(settings: Settings, recipe: Recipe, say: Say) -> list[Conversation]:
    """Load conversations for validation and samples; empty where none are needed or found."""
    evaluated = settings.eval_every > 0 and settings.eval_batches > 0
    if not (evaluated or settings.visualize or settings.logged):
        return []
    # Twice the number needed, as some may have nothing to predict; a split can be very long.
    limit = 2 * max(COUNT * 10, settings.eval_batches * recipe.device_batch_size)
    if settings.val_data:
        return load_conversations(settings.val_data, VALIDATION, limit)
    try:
        return load_conversations(settings.data_source, VALIDATION, limit)
    except NanochatError as error:
        say(f"no validation ({error}); --val-data names other conversations, --eval-every 0 none")
        return []
