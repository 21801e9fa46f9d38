"""Pointwise parts of a block with explicit backward passes: faster, with bits equal to autograd's
(nearly, in float16).

Autograd keeps every intermediate of these and walks back through a dozen small kernels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _SquaredReLU(torch.autograd.Function):
    """Squared ReLU that keeps only the root for its backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        root = F.relu(x)
        ctx.save_for_backward(root)
        return root.square()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return (root * 2).mul_(grads[0])


class _Rotate(torch.autograd.Function):
    """Rotation that keeps only the tables for its backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return (_swapped(x) * sin).add_(x * cos).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        (grad,) = grads
        return (grad * cos).sub_(_swapped(grad) * sin).to(grad.dtype), None, None


def squared_relu(x: Tensor) -> Tensor:
    """Return max(x, 0)²."""
    return _SquaredReLU.apply(x)  # pyright: ignore[reportReturnType]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of each head by minus the position's angle.

    With the halves swapped, x · (cos, cos) + swapped · (sin, -sin).

    Parameters
    ----------
    x
        Tensor (B, T, heads, hd).
    cos, sin
        Tensor (T, heads, hd).
        (cos, cos) and (sin, -sin) of the positions. Of as many heads as x has: then a whole text
        is one row to the kernels.
    """
    return _Rotate.apply(x, cos, sin)  # pyright: ignore[reportReturnType]


def _swapped(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([second, first], dim=-1)
