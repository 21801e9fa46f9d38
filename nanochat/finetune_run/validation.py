"""Losses that a fine-tune does not train on, and what its batches are made of."""

from dataclasses import dataclass

import torch

from nanochat.model.gpt import GPT
from nanochat.train.batches import Batches
from nanochat.train.recipe import Recipe
from nanochat.train.stepper import batch_loss


@dataclass(frozen=True)
class Diagnostics:
    """The first batch before training (features T9).

    Attributes
    ----------
    initial_loss : float
        In nats per supervised token.
    supervised_share : float
        Targets that are to be predicted, over all that are no padding; in (0, 1].
    padded_share : float
        Positions that only fill a row up, over all; in [0, 1).
    """

    initial_loss: float
    supervised_share: float
    padded_share: float


def diagnose(model: GPT, batches: Batches, recipe: Recipe) -> Diagnostics:
    """What there is to know of a fine-tune before its first step. The model is left as it is."""
    filled = batches.filled(0)
    return Diagnostics(
        initial_loss=mean_loss(model, batches, 1, recipe),
        supervised_share=batches.supervised(0) / filled,
        padded_share=1 - filled / batches[0][0].numel(),
    )


@torch.no_grad()
def mean_loss(model: GPT, batches: Batches, count: int, recipe: Recipe) -> float:
    """Mean of the losses of the first `count` batches, in nats. The model is left as it is.

    Parameters
    ----------
    model : GPT
    batches : Batches
        An epoch of them is the most that is used.
    count : int
        At least 1.
    recipe : Recipe
        Its dtype.
    """
    device = model.cos.device
    count = min(count, batches.per_epoch)
    pairs = [batches[index] for index in range(count)]
    losses = [batch_loss(model, x.to(device), y.to(device), recipe) for x, y in pairs]
    return float(torch.stack(losses).mean())
