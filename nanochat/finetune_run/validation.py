"""Validation losses, and diagnostics of the first batch."""

from dataclasses import dataclass

import torch

from nanochat.model.gpt import GPT
from nanochat.train.batches import Batches
from nanochat.train.recipe import Recipe
from nanochat.train.stepper import batch_loss


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of the first batch before training.

    Attributes
    ----------
    initial_loss
        In nats per supervised token.
    supervised_share
        Targets that are to be predicted, over all that are no padding; in (0, 1].
    padded_share
        Positions that only fill a row up, over all; in [0, 1).
    """

    initial_loss: float
    supervised_share: float
    padded_share: float


def diagnose(model: GPT, batches: Batches, recipe: Recipe) -> Diagnostics:
    """Compute the diagnostics of the first batch; the model is not changed."""
    filled = batches.filled(0)
    return Diagnostics(
        initial_loss=mean_loss(model, batches, 1, recipe),
        supervised_share=batches.supervised(0) / filled,
        padded_share=1 - filled / batches[0][0].numel(),
    )


@torch.no_grad()
def mean_loss(model: GPT, batches: Batches, count: int, recipe: Recipe) -> float:
    """Return the mean loss of the first `count` batches, in nats; the model is not changed.

    Parameters
    ----------
    batches
        An epoch of them is the most that is used.
    count
        At least 1.
    recipe
        Its dtype.
    """
    device = model.cos.device
    count = min(count, batches.per_epoch)
    pairs = [batches[index] for index in range(count)]
    losses = [batch_loss(model, x.to(device), y.to(device), recipe) for x, y in pairs]
    return float(torch.stack(losses).mean())
