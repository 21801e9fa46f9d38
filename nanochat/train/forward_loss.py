"""Losses of a model on batches, by a forward pass alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT
from nanochat.model.head_loss import head_loss
from nanochat.train.batches import Batch
from nanochat.train.stepper import autocast


def untouched_model(
    config: GPTConfig, weights: Mapping[str, NDArray[np.float32]], device: str = "cpu"
) -> GPT:
    """Build a model to evaluate; on the CPU it works on the arrays themselves.

    Parameters
    ----------
    weights
        Arrays of the model by nanochat's names.
    """
    # Some checkpoints pad the vocabulary with rows beyond its size.
    model = GPT(config, vocab_rows=len(weights["lm_head.weight"]))
    state = {key: torch.from_numpy(array) for key, array in weights.items()}
    model.load_state_dict(state, assign=True)
    return model.to(device)


@torch.no_grad()
def batch_losses(model: GPT, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Compute the mean loss of a batch, as a step of a fine-tune records it.

    Parameters
    ----------
    model
        Plain, or a stack of copies.
    batch
        On the device of the model.
    dtype
        Type of the products.

    Returns
    -------
    float32 tensor (copies,)
        In nats per supervised token.
    """
    device = model.lm_head.weight.device
    with autocast(device, dtype):
        states = model.states(batch.inputs, batch.positions)
    return head_loss(
        states,
        model.lm_head.weight,
        batch.targets,
        batch.count,
        torch.ones((), device=device),
        vocab=model.config.vocab_size,
        dtype=dtype,
        wants=(False, False),
    ).loss


@torch.no_grad()
def mean_losses(model: GPT, batches: Sequence[Batch], dtype: torch.dtype) -> Tensor:
    """Compute the mean loss of all supervised tokens of several batches.

    Parameters
    ----------
    model, dtype
        As in `batch_losses`.
    batches
        At least one, on the device of the model.

    Returns
    -------
    float64 tensor (copies,)
        In nats per supervised token.
    """
    total = torch.stack([batch_losses(model, b, dtype).double() * b.count for b in batches]).sum(0)
    return total / torch.stack([batch.count.double() for batch in batches]).sum()
