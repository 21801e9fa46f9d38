"""Models, rows and runs of benchmarks/finetune.py: random weights, random tokens, two loops."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from plain_loop import plain_finetune

from nanochat.data.examples import Examples
from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT
from nanochat.train.batches import Batches
from nanochat.train.finetune import FinetuneResult, finetune_side_by_side
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.recipe import Recipe
from nanochat.train.stepper import Stepper

SUPERVISED = 0.05
MEAN_SHARE = 400 / 1024  # of DocVQA's rows, by the longest
ROWS = ("docvqa", "full")


@dataclass(frozen=True)
class Case:
    """A model and the rows it is fed with."""

    config: GPTConfig
    rows: str
    row_tokens: int
    batch: int
    dtype: str = "bfloat16"
    supervised: float = SUPERVISED

    def recipe(self, steps: int, deterministic: bool = True) -> Recipe:
        # Rates so small that random weights hardly change.
        return Recipe(
            dtype=self.dtype,
            device_batch_size=self.batch,
            num_iterations=steps,
            learning_rate=1e-6,
            deterministic=deterministic,
        )


def make_examples(case: Case, count: int) -> Examples:
    """Make random tokens; the end of each row, at least one token, is supervised.

    Rows are of `row_tokens` tokens, or of lengths like those of DocVQA's: gamma with shape 4 and
    mean 400 of 1024, cut at `row_tokens`.
    """
    rng = np.random.default_rng(0)
    if case.rows == "full":
        lengths = np.full(count, case.row_tokens)
    else:
        drawn = rng.gamma(4.0, MEAN_SHARE * case.row_tokens / 4, count).round().astype(np.int64)
        lengths = drawn.clip(2, case.row_tokens)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(case.config.vocab_size, size=offsets[-1], dtype=np.int32)
    mask = np.zeros(len(ids), np.uint8)
    for end, length in zip(offsets[1:], lengths, strict=True):
        mask[end - max(1, round(case.supervised * (length - 1))) : end] = 1
    return Examples(ids, mask, offsets)


def make_model(config: GPTConfig, device: torch.device) -> GPT:
    with torch.device(device):
        model = GPT(config)
    generator = torch.Generator(device).manual_seed(0)
    model.init_weights(generator)
    with torch.no_grad():
        # Zeros multiply faster: they take less of the power that limits a card's clock.
        for weight in model.parameters():
            if not weight.any():
                weight.normal_(std=weight.size(1) ** -0.5, generator=generator)
    return model


def plain(model: GPT, examples: Examples, recipe: Recipe) -> Callable[[], None]:
    """Return a call that trains by the plain loop and then drops the gradients."""

    def run() -> None:
        finished(plain_finetune(model, examples, recipe, 0))
        model.zero_grad(set_to_none=True)

    return run


def product(
    model: GPT, batches: Batches, recipe: Recipe, kernels: Kernels = PLAIN, copies: int = 1
) -> Callable[[], None]:
    """Return a call that trains as a worker does: reusable parts are made once."""
    recipes = [recipe] * copies
    if copies > 1:
        model.stack(copies, recipe.trainable_param_groups)
    stepper = Stepper(model, recipes, kernels)

    def run() -> None:
        stepper.reset(recipes)
        finished(*finetune_side_by_side(stepper, batches, recipes))

    return run


def finished(*results: FinetuneResult) -> None:
    for result in results:
        if result.steps < result.planned_steps:
            raise RuntimeError(f"diverged at step {result.diverged_step}: its time says nothing")
