"""Loss and gradients of the output head, at supervised positions only and bounded in memory.

A fine-tune on DocVQA supervises about one token in twenty. nanochat 8f979a8 computes float32
logits of the whole vocabulary for every position, five tensors of them at a time: most of the
memory of a step. The mean over supervised positions needs no other logits, and the gradient of a
soft-capped cross-entropy is a closed formula, so each chunk of logits is made, used and dropped.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.model.gpt import SOFT_CAP

CELLS = {"cpu": 1 << 18, "cuda": 1 << 27}
"""Logits that are held at a time: about a CPU core's own cache; half a gigabyte on a GPU."""


@dataclass(frozen=True)
class HeadLoss:
    """Loss and gradients of the head for a step.

    Attributes
    ----------
    loss
        float32 tensor (K,).
        Mean cross-entropy in nats over the supervised positions, of each copy.
    hidden
        Tensor (K, N, d) or None.
        Gradient of the states, in their dtype.
    weight
        Tensor of the weight's shape or None.
        Its gradient, in its dtype.
    """

    loss: Tensor
    hidden: Tensor | None
    weight: Tensor | None


@torch.no_grad()
def head_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    count: Tensor,
    scale: Tensor,
    *,
    vocab: int,
    dtype: torch.dtype,
    wants: tuple[bool, bool],
    cells: int | None = None,
) -> HeadLoss:
    """Compute the soft-capped cross-entropy, and the gradients of `scale` times it.

    With l = h·Wᵀ, t = tanh(l / c), p = softmax(c·t): loss = log Σ exp(c·t) - c·t[target], and its
    derivative by l is (p - onehot) · (1 - t²). The exponentials need no maximum taken off: c·t is
    within ±15.

    Parameters
    ----------
    hidden
        Tensor (K or 1, N, d).
        Normed states at the supervised positions; one for all copies where nothing below the head
        is trained.
    weight
        float32 tensor (rows, d) or (K, rows, d).
        Weight of the head, one for all copies or one for each.
    targets
        int64 tensor (N,).
        Next-token ids; -1 for a position that only fills a shape and does not count.
    count
        float32 tensor ().
        Supervised positions.
    scale
        float32 tensor ().
        Factor of the gradients, for micro-batches and for float16.
    vocab
        Rows of the weight that are tokens.
    dtype
        Type of the products with the weight. All else is float32.
    wants
        Flags: gradient of the states needed, gradient of the weight needed.
    cells
        Logits at a time, of `CELLS` for the device by default.
    """
    stack = weight if weight.dim() == 3 else weight[None]
    copies, positions = max(len(hidden), len(stack)), hidden.size(1)
    states, rows = hidden.to(dtype), stack[:, :vocab].to(dtype)
    cells = cells or CELLS.get(hidden.device.type, CELLS["cuda"])
    length = max(1, min(positions, cells // vocab))
    # On a CPU copy by copy: products of several copies may sum in another order than one's.
    several = hidden.is_cuda and length == positions
    width = max(1, cells // (length * vocab)) if several else 1
    loss = torch.zeros(copies, device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if wants[0] else None
    grad_weight = torch.zeros_like(stack) if wants[1] else None
    for first in range(0, copies, width):
        some = slice(first, min(first + width, copies))
        head = rows[some] if len(rows) > 1 else rows
        for start in range(0, positions, length):
            part = slice(start, start + length)
            state = states[some if len(states) > 1 else slice(0, 1), part]
            state = state.expand(some.stop - first, -1, -1)
            head = head.expand(some.stop - first, -1, -1)
            each, grad = _chunk(state, head, targets[part], count, scale)
            loss[some] += each
            grad = grad.to(dtype)
            if grad_hidden is not None:
                grad_hidden[some, part] = grad @ head
            if grad_weight is not None:
                grad_weight[some if len(stack) > 1 else slice(0, 1), :vocab] += grad.mT @ state
            del grad  # before the next chunk is made
    if grad_weight is not None and weight.dim() == 2:
        grad_weight = grad_weight[0]
    return HeadLoss(loss / count, grad_hidden, grad_weight)


def _chunk(
    state: Tensor, head: Tensor, targets: Tensor, count: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses (k,) and gradient of the logits, float32 (k, n, V)."""
    # tanh(l / c) = 2σ(2l / c) - 1, and the fastest exponential is that of 2.
    half = (state @ head.mT).float().mul_(2 / SOFT_CAP).sigmoid_().sub_(0.5)  # t / 2
    counts = targets >= 0
    chosen = targets.clamp(min=0).expand(len(state), -1)[..., None]
    grad = (half * (2 * SOFT_CAP / math.log(2))).exp2_()
    total = grad.sum(-1, keepdim=True)
    losses = total.log() - 2 * SOFT_CAP * half.gather(-1, chosen)
    share = (counts * (scale / count))[:, None]
    grad.mul_(share / total)
    grad.scatter_add_(-1, chosen, (-share).expand_as(chosen))
    grad.addcmul_(grad, half.square_(), value=-4)  # times 1 - t²
    return torch.where(counts, losses[..., 0], 0.0).sum(-1), grad
