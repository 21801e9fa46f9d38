"""One fine-tune: supervised tokens in, a curve of losses out. Divergence is a result, not an error.

The loop follows fractal-llm's `finetune` command step for step.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from nanochat.batches import Batches
from nanochat.errors import NanochatError
from nanochat.gpt import GPT
from nanochat.isolation import isolated
from nanochat.optim import build_optimizers, lr_factor, set_lr_factor
from nanochat.recipe import Recipe


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What a fine-tune did.

    Attributes
    ----------
    losses : float32 array (steps,)
        Mean cross-entropy in nats before each step's update; all finite.
    diverged_step : int or None
        The step (from 0) whose loss was not finite, which ended the run; None if all were.
    final_loss : float
        Loss of the last step that was begun: not finite if the run diverged.
    steps : int
        Optimizer steps made.
    planned_steps : int
        Optimizer steps that would have been made without divergence, at least 1.
    tokens_seen : int
        Supervised tokens in the steps made.
    seconds : float
        Wall time.
    """

    losses: NDArray[np.float32]
    diverged_step: int | None
    final_loss: float
    steps: int
    planned_steps: int
    tokens_seen: int
    seconds: float


@dataclass(frozen=True)
class StepReport:
    """What is known when a step is over.

    Attributes
    ----------
    step : int
        From 0.
    planned_steps : int
    loss : float
        Mean cross-entropy in nats before the update; not finite if the run ends here.
    factor : float
        Share of the full learning rates that the update was made with; 0 where the loss was not
        finite, since then there was none.
    tokens_seen : int
        Supervised tokens so far.
    """

    step: int
    planned_steps: int
    loss: float
    factor: float
    tokens_seen: int


def planned_steps(batches: Batches, recipe: Recipe) -> int:
    """Steps the budget pays for, at least 1.

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
) -> FinetuneResult:
    """Train a model in place, from the first batch on, until the budget is spent or it diverges.

    Parameters
    ----------
    model : GPT
        Float32 weights, which are changed; where they lie is where the work is done. Its modes
        and ``requires_grad`` flags are put back, and its gradients dropped.
    batches : Batches
        Made for a recipe with the same `Recipe.batch_key`.
    recipe : Recipe
    on_step : callable, optional
        Called after each step. It may read the model, but must leave it as it is; its time is
        counted.

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
    if batches.key != recipe.batch_key():
        raise NanochatError(
            f"batches made for (device_batch_size, shuffle seed) {batches.key}, but the recipe "
            f"has {recipe.batch_key()}"
        )
    device = model.lm_head.weight.device
    start = time.perf_counter()
    total = planned_steps(batches, recipe)
    losses: list[float] = []
    tokens = 0
    final_loss = math.nan
    diverged_step = None
    with isolated(device, recipe.deterministic), _training(model, recipe):
        stepper = _Stepper(model, recipe, device)
        for step in range(total):
            first = step * recipe.accumulation
            chosen = range(first, first + recipe.accumulation)
            final_loss = stepper.accumulate([batches[index] for index in chosen])
            factor = 0.0
            if math.isfinite(final_loss):
                factor = lr_factor(step, total, recipe)
                losses.append(final_loss)
                stepper.update(factor)
                tokens += sum(batches.supervised(index) for index in chosen)
            else:
                diverged_step = step
            if on_step is not None:
                on_step(StepReport(step, total, final_loss, factor, tokens))
            if diverged_step is not None:
                break
    return FinetuneResult(
        losses=np.asarray(losses, np.float32),
        diverged_step=diverged_step,
        final_loss=final_loss,
        steps=len(losses),
        planned_steps=total,
        tokens_seen=tokens,
        seconds=time.perf_counter() - start,
    )


def batch_loss(model: GPT, inputs: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Mean cross-entropy of a batch on the model's device, in the recipe's arithmetic.

    Parameters
    ----------
    model : GPT
    inputs, targets : int64 tensor (B, T)
        On the device of the model.
    recipe : Recipe
        Only its dtype is used.

    Returns
    -------
    float32 tensor ()
        In nats.
    """
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype != torch.float32):
        return model(inputs, targets)


class _Stepper:
    """Gradients and updates in the recipe's arithmetic."""

    def __init__(self, model: GPT, recipe: Recipe, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.recipe = recipe
        self.optimizers: list[Optimizer] = build_optimizers(model, recipe)
        # float16 has so narrow a range that gradients are scaled into it.
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.dtype == "float16")

    def accumulate(self, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
        """Mean loss of the batches, whose gradient is left on the parameters."""
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for inputs, targets in micro_batches:
            loss = batch_loss(
                self.model, inputs.to(self.device), targets.to(self.device), self.recipe
            )
            total += loss.detach() / len(micro_batches)
            if self.optimizers:
                self.scaler.scale(loss / len(micro_batches)).backward()
        return total.item()

    def update(self, factor: float) -> None:
        """One step of every optimizer at `factor` times its rate."""
        set_lr_factor(self.optimizers, factor)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        if self.optimizers:
            self.scaler.update()


@contextmanager
def _training(model: GPT, recipe: Recipe) -> Iterator[None]:
    """Training mode inside; modes and ``requires_grad`` as before, and no gradients, after."""
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
