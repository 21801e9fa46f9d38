"""Optimizers of a fine-tune: Muon for the block matrices, AdamW for embedding and head.

Muon: Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/. Coefficients and
constants are those of nanochat at 8f979a8.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from nanochat.model.gpt import GPT
from nanochat.train.recipe import GROUPS, PARTS, Recipe

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
    params : iterable of float32 parameters (rows, columns), or (K, rows, columns) in a stack
    lr : float, or one for each copy of a stack
        Times max(1, rows / columns)^1/2 for each matrix.
    momentum : float
        In [0, 1): buffer ← lerp(buffer, gradient, 1 - momentum).
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
        """Set the rate of a group, or those of the first copies, without waiting for the device."""
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
            if group["lr"] != group["lr_of_rates"]:  # set as torch's own schedulers set it
                self.set_lr(group, group["lr"])
            grads = [param.grad for param in params]
            buffers = [self._buffer(param) for param in params]
            for buffer, grad in zip(buffers, grads, strict=True):
                buffer.lerp_(grad, 1 - group["momentum"])
            updates = [
                torch.lerp(g, b, group["momentum"]) for g, b in zip(grads, buffers, strict=True)
            ]
            # As (matrices, rows, columns) whatever the copies are: sums of the same order.
            pushed = self.orthogonalize(torch.stack(updates).flatten(0, -3))
            pushed = pushed.view(len(params), *params[0].shape)
            rates = group["rates"][: len(params[0])] if params[0].dim() == 3 else group["rates"]
            for param, update in zip(params, pushed, strict=True):
                param.addcmul_(update, rates, value=-1)

    def _buffer(self, param: Tensor) -> Tensor:
        """As many copies of it as the parameter has now."""
        buffer = self.state[param]["momentum_buffer"]
        return buffer[: len(param)] if param.dim() == 3 else buffer


def effective_lrs(recipe: Recipe, width: int) -> dict[str, float]:
    """`Recipe.group_lrs` before `init_lr_frac` and schedule: what AdamW has follows the width."""
    scale = (width / REFERENCE_WIDTH) ** -0.5
    adamw = ("embedding", "unembedding")
    return {g: lr * scale if g in adamw else lr for g, lr in recipe.group_lrs().items()}


def group_members(model: GPT) -> dict[str, list[Parameter]]:
    """Parameters of each group of `GROUPS`, and of the `PARTS` of `matrix`."""
    matrix = dict(model.blocks.named_parameters())
    return {
        "embedding": list(model.wte.parameters()),
        "matrix": list(matrix.values()),
        "unembedding": list(model.lm_head.parameters()),
        "attention": [param for name, param in matrix.items() if ".attn." in name],
        "mlp": [param for name, param in matrix.items() if ".mlp." in name],
    }


def build_optimizers(model: GPT, *recipes: Recipe, recorded: bool = False) -> list[Optimizer]:
    """AdamW over [head, embedding] and Muon over the block matrices, for the trained groups.

    Parameters
    ----------
    model : GPT
        Parameters outside the trainable groups get ``requires_grad = False``. In a stack of copies
        all groups that are trained are stacked.
    *recipes : Recipe
        One, or one for each copy of a stack: equal but for their rates.
    recorded : bool
        Whether steps will be recorded: then rates are tensors on the device, and steps are counted
        there.

    Returns
    -------
    list of Optimizer
        Zero to two. In a stack AdamW has a group for each copy, whose gradient is to be handed to
        it; the matrices of Muon hold all copies.
    """
    trained = recipes[0].trainable_param_groups
    members = group_members(model)
    for group in GROUPS:
        for param in members[group]:
            param.requires_grad_(group in trained)
    adamw_groups = [
        {"params": [copy], "name": group, "copy": number}
        for group in ("unembedding", "embedding")
        if group in trained
        for param in members[group]
        for number, copy in enumerate([param] if param.dim() == 2 else param.detach())
    ]
    optimizers: list[Optimizer] = []
    if adamw_groups:
        device = model.lm_head.weight.device
        for group in adamw_groups if recorded else ():
            group["lr"] = torch.zeros((), device=device)
        capturable = recorded and device.type == "cuda"
        adamw = AdamW(
            adamw_groups, betas=ADAM_BETAS, eps=ADAM_EPS, fused=True, capturable=capturable
        )
        optimizers.append(adamw)
    if "matrix" in trained:
        muon = Muon(members["matrix"], lr=0.0)
        for group in muon.param_groups:  # by shape, and no shape is in both parts
            name = next(part for part in PARTS if group["params"][0] in set(members[part]))
            group["name"] = name
        optimizers.append(muon)
    assign_rates(optimizers, model.config.n_embd, *recipes)
    return optimizers


def adamw_copies(
    model: GPT, optimizers: Iterable[Optimizer]
) -> list[tuple[Parameter, int, Tensor]]:
    """In a stack, what AdamW updates: the parameter, the number of the copy, and its view."""
    members = group_members(model)
    return [
        (members[group["name"]][0], group["copy"], group["params"][0])
        for optimizer in optimizers
        if not isinstance(optimizer, Muon)
        for group in optimizer.param_groups
    ]


def assign_rates(optimizers: Iterable[Optimizer], width: int, *recipes: Recipe) -> None:
    """Give the optimizers of `build_optimizers` the rates and the decay of other recipes.

    Parameters
    ----------
    width : int
        Of the model.
    *recipes : Recipe
        One, or one for each of the first copies of a stack.
    """
    lrs = [effective_lrs(recipe, width) for recipe in recipes]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rates = [
                each.get(group["name"], each["matrix"]) * recipe.init_lr_frac
                for each, recipe in zip(lrs, recipes, strict=True)
            ]
            if isinstance(optimizer, Muon):
                group["initial_lr"] = rates
            elif group["copy"] < len(recipes):
                group["initial_lr"] = rates[group["copy"]]
                group["weight_decay"] = recipes[group["copy"]].weight_decay
    set_lr_factor(optimizers, *(1.0 for _ in recipes))


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


def set_lr_factor(optimizers: Iterable[Optimizer], *factors: float) -> None:
    """Set the rates to `factors` times those of `assign_rates`.

    Parameters
    ----------
    *factors : float
        One, or one for each of the copies that are still trained.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(optimizer, Muon):
                rates = [a * b for a, b in zip(group["initial_lr"], factors, strict=True)]
                stacked = group["params"][0].dim() == 3
                optimizer.set_lr(group, rates if stacked else rates[0])
            elif group["copy"] < len(factors):
                lr = group["initial_lr"] * factors[group["copy"]]
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(lr)
                else:
                    group["lr"] = lr


def reset_optimizers(optimizers: Iterable[Optimizer]) -> None:
    """Their states as before the first step, in place."""
    for optimizer in optimizers:
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()


def keep_copies(optimizers: Iterable[Optimizer], chosen: Sequence[int]) -> None:
    """In a stack, make these copies the first ones, with their states and rates.

    Parameters
    ----------
    chosen : sequence of int
        Ascending.
    """
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            for group in optimizer.param_groups:
                group["initial_lr"] = [group["initial_lr"][copy] for copy in chosen]
            for state in optimizer.state.values():
                buffer = state["momentum_buffer"]
                buffer[: len(chosen)] = buffer[list(chosen)]
        else:
            _move_groups(optimizer, chosen)


def _move_groups(adamw: Optimizer, chosen: Sequence[int]) -> None:
    groups = {(group["name"], group["copy"]): group for group in adamw.param_groups}
    for (name, copy), target in groups.items():
        if copy >= len(chosen) or chosen[copy] == copy:
            continue
        source = groups[name, chosen[copy]]
        target.update({key: source[key] for key in ("initial_lr", "weight_decay")})
        moved = adamw.state[source["params"][0]]
        for key, value in adamw.state[target["params"][0]].items():
            value.copy_(moved[key])
