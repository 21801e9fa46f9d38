"""Muon, the optimizer of the block matrices.

Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/. Coefficients and constants
are those of nanochat 8f979a8.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(update: Tensor) -> Tensor:
    """Push the singular values of matrices towards 1 (to about 0.7 to 1.2) in bfloat16.

    Parameters
    ----------
    update
        Tensor (..., rows, columns).

    Returns
    -------
    Tensor
        bfloat16 (..., rows, columns): nearly U Vᵀ, where U S Vᵀ is the singular value decomposition
        of `update`.
    """
    a, b, c = NEWTON_SCHULZ
    x = update.bfloat16()
    tall = x.size(-2) > x.size(-1)
    if tall:  # the Gram matrix below is then the smaller one
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(Optimizer):
    """Optimizer for matrices: Nesterov momentum, then orthogonalization of the update.

    Parameters
    ----------
    params
        float32 parameters (rows, columns), or (K, rows, columns) in a stack of K copies.
    lr
        Rate, or one for each copy of a stack; multiplied by max(1, rows / columns)^1/2 for each
        matrix.
    momentum
        Number in [0, 1): buffer ← lerp(buffer, gradient, 1 - momentum).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Sequence[float], momentum: float = 0.95
    ) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for param in params:
            by_shape.setdefault(param.shape, []).append(param)
        # One group per shape: its matrices are orthogonalized together, in one batch of products.
        super().__init__(
            [{"params": group} for group in by_shape.values()], {"lr": lr, "momentum": momentum}
        )
        self.orthogonalize = orthogonalize
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["momentum_buffer"] = torch.zeros_like(param)
            param = group["params"][0]
            group["rates"] = torch.zeros((*param.shape[:-2], 1, 1), device=param.device)
            self.set_lr(group, lr)

    @staticmethod
    def set_lr(group: dict[str, Any], lr: float | Sequence[float]) -> None:
        """Set the rate of a group, or of its first copies, without waiting for the device."""
        rows, columns = group["params"][0].shape[-2:]
        scale = max(1.0, rows / columns) ** 0.5
        group["lr"] = group["lr_of_rates"] = lr
        if isinstance(lr, float | int):
            group["rates"].fill_(lr * scale)
            return
        rates = torch.tensor([value * scale for value in lr])[:, None, None]
        if group["rates"].is_cuda:
            rates = rates.pin_memory()
        group["rates"][: len(rates)].copy_(rates, non_blocking=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            if group["lr"] != group["lr_of_rates"]:  # changed directly, as torch's schedulers do
                self.set_lr(group, group["lr"])
            grads = [param.grad for param in params]
            buffers = [self._buffer(param) for param in params]
            for buffer, grad in zip(buffers, grads, strict=True):
                buffer.lerp_(grad, 1 - group["momentum"])
            updates = [
                torch.lerp(g, b, group["momentum"]) for g, b in zip(grads, buffers, strict=True)
            ]
            # As (matrices, rows, columns) with any number of copies: sums then have one order.
            pushed = self.orthogonalize(torch.stack(updates).flatten(0, -3))
            pushed = pushed.view(len(params), *params[0].shape)
            rates = group["rates"][: len(params[0])] if params[0].dim() == 3 else group["rates"]
            for param, update in zip(params, pushed, strict=True):
                param.addcmul_(update, rates, value=-1)

    def _buffer(self, param: Tensor) -> Tensor:
        """Return the momentum of the copies that the parameter still has."""
        buffer = self.state[param]["momentum_buffer"]
        return buffer[: len(param)] if param.dim() == 3 else buffer
