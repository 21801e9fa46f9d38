"""Learning rates of the optimizers: assignment to groups, warm-up and cosine."""

import math
from collections.abc import Iterable

from torch import Tensor
from torch.optim import Optimizer

from nanochat.train.optim.muon import Muon
from nanochat.train.recipe import Recipe


def assign_rates(optimizers: Iterable[Optimizer], width: int, *recipes: Recipe) -> None:
    """Set the rates and the weight decay of the optimizers of `build_optimizers`.

    Parameters
    ----------
    width
        Width of the model.
    *recipes
        One recipe, or one for each of the first copies of a stack.
    """
    lrs = [recipe.effective_lrs(width) for recipe in recipes]
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
    """Return the share of the full rate at a step: linear warm-up, then half a cosine.

    Parameters
    ----------
    step
        0 to `total_steps` - 1.
    total_steps
        At least 1.

    Returns
    -------
    float
        Number in (0, 1] during warm-up of max(1, ⌊total · warmup_frac⌋) steps, then falling from 1
        towards ``final_lr_frac``.
    """
    warmup = recipe.warmup_steps(total_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    end = recipe.final_lr_frac
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))


def set_lr_factor(optimizers: Iterable[Optimizer], *factors: float) -> None:
    """Set the rates to `factors` times those of `assign_rates`.

    Parameters
    ----------
    *factors
        One factor, or one for each of the copies that are still trained.
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
