"""The loss of the first batch, from the weights of a model before any update."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nanochat.data.examples import Examples
from nanochat.errors import NanochatError
from nanochat.model.config import GPTConfig
from nanochat.train.batches import Batches
from nanochat.train.forward_loss import batch_losses, untouched_model
from nanochat.train.recipe import Recipe


def first_loss(
    config: GPTConfig,
    weights: Mapping[str, NDArray[np.float32]],
    examples: Examples,
    recipe: Recipe,
    pad_id: int,
) -> float:
    """Compute the loss of the first batch of a fine-tune on the CPU, one conversation at a time.

    One conversation at a time needs little memory. bfloat16 has the range of float32, in which
    every CPU computes fast; so only float16 is computed as such.

    Parameters
    ----------
    weights
        Arrays of the model by nanochat's names; they are not copied.
    recipe
        Its batches and its dtype are used.
    pad_id
        As for `Batches`.

    Returns
    -------
    float
        In nats; not finite as soon as the loss of one conversation is not.
    """
    model = untouched_model(config, weights)
    size, seed = recipe.batch_key()
    rows = Batches(examples, 1, seed, pad_id)
    dtype = torch.float16 if recipe.dtype == "float16" else torch.float32
    total, tokens = 0.0, 0
    for index in range(min(size, len(examples))):
        loss = batch_losses(model, rows.batch(index), dtype).item()
        if not math.isfinite(loss):
            return loss
        total += loss * rows.supervised(index)
        tokens += rows.supervised(index)
    return total / tokens


def check_first_loss(loss: float, model: str, dtype: str) -> None:
    """Refuse a model whose first loss is not finite: no fine-tune of it can show anything.

    Parameters
    ----------
    loss
        Loss of the first batch before any update.
    model
        Source of the model, for the message.
    dtype
        `Recipe.dtype`, for the message.

    Raises
    ------
    NanochatError
        Names the loss, the model and the dtype.
    """
    if math.isfinite(loss):
        return
    other = "dtype bfloat16 or float32, or " if dtype == "float16" else ""
    raise NanochatError(
        f"model {model}: the loss of the first batch is {loss} in {dtype} before any update; the"
        f" weights are finite, but too large to compute with. Take {other}another checkpoint"
    )
