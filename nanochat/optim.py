"""Optimizers of a fine-tune: Muon for the block matrices, AdamW for embedding and head.

Muon: Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/. Coefficients and
constants are those of nanochat at 8f979a8.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from nanochat.gpt import GPT
from nanochat.recipe import GROUPS, PARTS, Recipe

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_BETAS = (0.8, 0.95)
ADAM_EPS = 1e-10
REFERENCE_WIDTH = 768  # width at which the AdamW rates were tuned


def orthogonalize(update: Tensor) -> Tensor:
    """Push the singular values of matrices towards 1 (to about 0.7 to 1.2) in bfloat16.

    Parameters
    ----------
    update : tensor (..., rows, columns)

    Returns
    -------
    bfloat16 tensor (..., rows, columns)
        Nearly U Vᵀ where U S Vᵀ is the singular value decomposition of `update`.
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
    """Nesterov momentum, then orthogonalization of the update; for matrices only.

    Parameters
    ----------
    params : iterable of float32 parameters of two dimensions
    lr : float
        Times max(1, rows / columns)^1/2 for each matrix.
    momentum : float
        In [0, 1): buffer ← lerp(buffer, gradient, 1 - momentum).
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for param in params:
            by_shape.setdefault(param.shape, []).append(param)
        # One group per shape: its matrices are orthogonalized together, in one batch of products.
        super().__init__(
            [{"params": group} for group in by_shape.values()], {"lr": lr, "momentum": momentum}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            updates = [self._nesterov(param, param.grad, group["momentum"]) for param in params]
            rows, columns = params[0].shape
            lr = group["lr"] * max(1.0, rows / columns) ** 0.5
            for param, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
                param.add_(update, alpha=-lr)

    def _nesterov(self, param: Tensor, grad: Tensor, momentum: float) -> Tensor:
        state = self.state[param]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(param)
        buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        return torch.lerp(grad, buffer, momentum)


def effective_lrs(recipe: Recipe, width: int) -> dict[str, float]:
    """`Recipe.group_lrs` before `init_lr_frac` and schedule: what AdamW has follows the width."""
    scale = (width / REFERENCE_WIDTH) ** -0.5
    adamw = ("embedding", "unembedding")
    return {g: lr * scale if g in adamw else lr for g, lr in recipe.group_lrs().items()}


def group_members(model: GPT) -> dict[str, list[Parameter]]:
    """Parameters of each group of `nanochat.recipe.GROUPS`, and of the `PARTS` of `matrix`."""
    matrix = dict(model.blocks.named_parameters())
    return {
        "embedding": list(model.wte.parameters()),
        "matrix": list(matrix.values()),
        "unembedding": list(model.lm_head.parameters()),
        "attention": [param for name, param in matrix.items() if ".attn." in name],
        "mlp": [param for name, param in matrix.items() if ".mlp." in name],
    }


def build_optimizers(model: GPT, recipe: Recipe) -> list[Optimizer]:
    """AdamW over [head, embedding] and Muon over the block matrices, for the trained groups.

    A Muon for each of `PARTS` where these have rates of their own.

    Parameters
    ----------
    model : GPT
        Parameters outside the recipe's trainable groups get ``requires_grad = False``.
    recipe : Recipe
        Learning rates, weight decay and trainable groups.

    Returns
    -------
    list of Optimizer
        Zero to three; every group holds its rate at factor 1 as ``initial_lr``.
    """
    lrs = effective_lrs(recipe, model.config.n_embd)
    members = group_members(model)
    for group in GROUPS:
        for param in members[group]:
            param.requires_grad_(group in recipe.trainable_param_groups)
    adamw_groups = [
        {"params": members[group], "lr": lrs[group]}
        for group in ("unembedding", "embedding")
        if group in recipe.trainable_param_groups
    ]
    optimizers: list[Optimizer] = []
    if adamw_groups:
        decay = recipe.weight_decay
        optimizers.append(
            AdamW(adamw_groups, betas=ADAM_BETAS, eps=ADAM_EPS, weight_decay=decay, fused=True)
        )
    if "matrix" in recipe.trainable_param_groups:
        parts = [part for part in PARTS if part in lrs] or ["matrix"]
        optimizers += [Muon(members[part], lr=lrs[part]) for part in parts]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"] = group["lr"] * recipe.init_lr_frac
    return optimizers


def lr_factor(step: int, total_steps: int, recipe: Recipe) -> float:
    """Share of the full rate at a step: linear warm-up, then half a cosine.

    Parameters
    ----------
    step : int
        0 to `total_steps` - 1.
    total_steps : int
        At least 1.

    Returns
    -------
    float
        In (0, 1] during warm-up of max(1, ⌊total · warmup_frac⌋) steps, then falling from 1
        towards ``final_lr_frac``.
    """
    warmup = max(1, int(total_steps * recipe.warmup_frac))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    end = recipe.final_lr_frac
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))


def set_lr_factor(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every group's rate to `factor` times its ``initial_lr``."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
