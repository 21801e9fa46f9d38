"""One fine-tune: supervised tokens in, a curve of losses out. Divergence is a result, not an error.

The loop follows fractal-llm's `finetune` command step for step.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nanochat.errors import NanochatError
from nanochat.model.gpt import GPT
from nanochat.model.torch_settings import isolated
from nanochat.train.batches import Batch, Batches
from nanochat.train.forward_loss import mean_losses
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.loss_curves import LAG, Curves, LossReader
from nanochat.train.optim.learning_rates import lr_factor
from nanochat.train.recipe import Recipe
from nanochat.train.stepper import Stepper


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """Result of a fine-tune.

    Attributes
    ----------
    losses
        float32 array (steps,).
        Mean cross-entropy in nats before each step's update; all finite.
    diverged_step
        The step (from 0) whose loss was not finite, which ended the run; None if all were.
    final_loss
        Loss of the last step that was begun: not finite if the run diverged.
    steps
        Optimizer steps made.
    planned_steps
        Optimizer steps that would have been made without divergence, at least 1.
    tokens_seen
        Supervised tokens in the steps made.
    seconds
        Wall time, that of the validation included.
    val_loss
        Mean loss of the validation batches in nats per supervised token, from the weights after the
        last update; inf where it is not finite, NaN without validation or after a divergence.
    """

    losses: NDArray[np.float32]
    diverged_step: int | None
    final_loss: float
    steps: int
    planned_steps: int
    tokens_seen: int
    seconds: float
    val_loss: float = math.nan


@dataclass(frozen=True)
class StepReport:
    """Report on a finished step.

    Attributes
    ----------
    step
        From 0.
    loss
        Mean cross-entropy in nats before the update; not finite if the run ends here.
    factor
        Share of the full learning rates that the update was made with; 0 where the loss was not
        finite, since then there was none.
    tokens_seen
        Supervised tokens so far.
    """

    step: int
    planned_steps: int
    loss: float
    factor: float
    tokens_seen: int


def planned_steps(batches: Batches, recipe: Recipe) -> int:
    """Return the number of steps that the budget allows, at least 1.

    The first batch stands for all of them: ⌈num_tokens / (its supervised tokens ·
    accumulation)⌉, unless ``num_iterations`` gives the number.
    """
    if recipe.num_iterations > 0:
        return recipe.num_iterations
    return max(1, -(-recipe.num_tokens // (batches.first_supervised * recipe.accumulation)))


def finetune(
    model: GPT,
    batches: Batches,
    recipe: Recipe,
    on_step: Callable[[StepReport], None] | None = None,
    kernels: Kernels = PLAIN,
) -> FinetuneResult:
    """Train a model in place, from the first batch on, until the budget is spent or it diverges.

    Parameters
    ----------
    model
        Float32 weights, which are changed; where they lie is where the work is done. Its modes
        and ``requires_grad`` flags are put back, and its gradients dropped.
    batches
        Batches of a recipe with an equal `Recipe.batch_key`.
    on_step
        Called after each step. It may read the model, but must leave it as it is; its time is
        counted.
    kernels
        Kernels that the batches were made for, too.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    NanochatError
        Where batches and recipe do not belong together.
    Exception
        Whatever else goes wrong, out of memory for one, as it came.
    """
    with _training(model, recipe):
        stepper = Stepper(model, [recipe], kernels)
        return finetune_side_by_side(stepper, batches, [recipe], on_step, lag=0)[0]


def finetune_side_by_side(
    stepper: Stepper,
    batches: Batches,
    recipes: Sequence[Recipe],
    on_step: Callable[[StepReport], None] | None = None,
    lag: int | None = None,
    validation: Sequence[Batch] = (),
) -> list[FinetuneResult]:
    """Train the copies of a stack together, each as it would be trained alone.

    A copy whose loss is not finite has ended, as if it had stopped there; its weights are of no
    use. Where they are few the others go on without it.

    Parameters
    ----------
    stepper
        Reset for these recipes, or new.
    recipes
        One recipe for each copy, with equal `Recipe.stack_key`.
    on_step
        For one recipe: as in `finetune`, with `lag` 0.
    lag
        Steps that are begun before the loss of one is looked at: 0 on a CPU, where it is there at
        once; `LAG` on other devices by default, which then never wait for it. What is recorded does
        not depend on it; weights after a divergence do.
    validation
        Batches on the device of the stepper, whose loss is computed after the last step.

    Returns
    -------
    list of FinetuneResult
        In the order of the recipes; ``seconds`` shares the wall time out by steps.

    Raises
    ------
    NanochatError
        Where batches and recipes do not belong together.
    """
    recipe = recipes[0]
    if len({each.stack_key() for each in recipes}) > 1:
        raise NanochatError("recipes that differ in more than rates cannot advance together")
    if batches.key != recipe.batch_key() or batches.static != stepper.kernels.static:
        raise NanochatError(
            f"batches made for (device_batch_size, shuffle seed) {batches.key}, but the recipe "
            f"has {recipe.batch_key()}; or made for other kernels"
        )
    start = time.perf_counter()
    total = planned_steps(batches, recipe)
    curves = Curves(len(recipes))
    val_losses = [math.nan] * len(recipes)
    lag = (0 if stepper.device.type == "cpu" else LAG) if lag is None else lag
    with isolated(stepper.device, recipe.deterministic), _training(stepper.model, recipe):
        reader = LossReader(lag, stepper.device)
        tokens, copies = _steps(stepper, batches, recipes, total, curves, reader, on_step)
        trained = [copy for copy in copies if curves.diverged[copy] is None]
        if validation and trained:
            means = mean_losses(stepper.model, validation, getattr(torch, recipe.dtype)).tolist()
            # With nothing trained the model is no stack, and all copies are one.
            for place, copy in enumerate(copies):
                mean = means[place if len(means) > 1 else 0]
                val_losses[copy] = mean if math.isfinite(mean) else math.inf
    seconds = time.perf_counter() - start
    begun = sum(curves.begun(copy) for copy in range(len(recipes)))
    return [
        FinetuneResult(
            losses=np.asarray(curves.losses[copy], np.float32),
            diverged_step=curves.diverged[copy],
            final_loss=curves.final[copy],
            steps=len(curves.losses[copy]),
            planned_steps=total,
            tokens_seen=sum(tokens[: len(curves.losses[copy])]),
            seconds=seconds * curves.begun(copy) / begun,
            val_loss=math.nan if curves.diverged[copy] is not None else val_losses[copy],
        )
        for copy in range(len(recipes))
    ]


def _steps(
    stepper: Stepper,
    batches: Batches,
    recipes: Sequence[Recipe],
    total: int,
    curves: Curves,
    reader: LossReader,
    on_step: Callable[[StepReport], None] | None,
) -> tuple[list[int], list[int]]:
    """Run steps until the budget is spent or all copies have diverged.

    Returns
    -------
    tokens : list of int
        Supervised tokens of each step.
    copies : list of int
        Copies that the stepper holds at the end, in the order of their places.
    """
    copies = list(range(len(recipes)))  # copies that are still trained
    parts = recipes[0].accumulation
    tokens: list[int] = []
    seen = 0
    for step in range(total):
        chosen = range(step * parts, (step + 1) * parts)
        some = [batches.batch(index) for index in chosen]
        tokens.append(sum(batches.supervised(index) for index in chosen))
        factors = [lr_factor(step, total, recipes[copy]) for copy in copies]
        losses = stepper.step(some, *factors) if reader.lag else stepper.accumulate(some)
        for read in reader.read(losses):
            curves.add(copies, read)
        alive = [place for place, copy in enumerate(copies) if curves.diverged[copy] is None]
        if alive and not reader.lag:
            stepper.update(*factors)
        if on_step is not None:
            factor = factors[0] if alive else 0.0
            seen += tokens[-1] if alive else 0
            on_step(StepReport(step, total, curves.final[0], factor, seen))
        if not alive:
            return tokens, copies
        if not stepper.kernels.static and not reader.lag and len(alive) <= len(copies) // 2:
            stepper.keep(alive)
            copies = [copies[place] for place in alive]
    for read in reader.rest():
        curves.add(copies, read)
    return tokens, copies


@contextmanager
def _training(model: GPT, recipe: Recipe) -> Iterator[None]:
    """Set training mode for a block; restore modes and ``requires_grad``, and drop gradients."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(param, param.requires_grad) for param in model.parameters()]
    try:
        model.train()
        model.gradient_checkpointing = recipe.gradient_checkpointing
        with torch.enable_grad():
            yield
    finally:
        model.gradient_checkpointing = False
        for module, mode in modes:
            module.training = mode
        for param, flag in flags:
            param.requires_grad_(flag)
            param.grad = None
