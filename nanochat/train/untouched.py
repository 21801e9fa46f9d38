"""Losses of the untouched model on the batches of a fine-tune: its curve without updates."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nanochat.model.gpt import GPT
from nanochat.train.batches import Batches
from nanochat.train.finetune import planned_steps
from nanochat.train.forward_loss import batch_losses
from nanochat.train.recipe import Recipe

BatchName = tuple[int, int | None, int]
"""`Recipe.batch_key` and the index of a batch."""


@dataclass(frozen=True, eq=False)
class Order:
    """The batches of a fine-tune in the order of its steps.

    Attributes
    ----------
    batches
        Batches of the recipe.
    accumulation
        Number of batches in a step.
    steps
        Number of steps.
    """

    batches: Batches
    accumulation: int
    steps: int

    @classmethod
    def of_recipe(cls, batches: Batches, recipe: Recipe) -> "Order":
        """Return the order of a recipe, whose `Recipe.batch_key` the batches have."""
        return cls(batches, recipe.accumulation, planned_steps(batches, recipe))

    def names(self) -> list[BatchName]:
        """Return the batch of each forward pass; batches that repeat have one name."""
        indices = range(self.steps * self.accumulation)
        # Without shuffling every epoch is the first one.
        period = self.batches.per_epoch if self.batches.shuffle_seed is None else len(indices)
        return [(*self.batches.key, index % period) for index in indices]


def losses_of_batches(
    model: GPT,
    orders: Iterable[Order],
    dtype: torch.dtype,
    known: Mapping[BatchName, float],
    on_batch: Callable[[int, int], None],
) -> dict[BatchName, float]:
    """Compute the loss of each batch of several orders once.

    Parameters
    ----------
    model
        On the device of the batches.
    dtype
        Type of the products.
    known
        Losses that need no computation.
    on_batch
        Called before each batch with the number of batches that are done, and of all. It may raise
        to end the work.
    """
    batches = {name: order.batches for order in orders for name in order.names()}
    losses: dict[BatchName, float] = {}
    for done, (name, source) in enumerate(batches.items()):
        on_batch(done, len(batches))
        if name in known:
            losses[name] = known[name]
        else:
            losses[name] = float(batch_losses(model, source.batch(name[-1]), dtype))
    return losses


def untouched_curve(order: Order, losses: Mapping[BatchName, float]) -> NDArray[np.float32]:
    """Return the loss of each step, the mean over its batches, as `finetune` records it.

    Parameters
    ----------
    losses
        Losses of all batches of the order (`losses_of_batches`).
    """
    names: Sequence[BatchName] = order.names()
    each = np.array([losses[name] for name in names]).reshape(order.steps, order.accumulation)
    return each.mean(axis=1).astype(np.float32)
