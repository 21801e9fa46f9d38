"""Parameter groups of a fine-tune and their optimizers: Muon and AdamW.

Muon trains the block matrices, AdamW the embedding and the head. Constants are those of nanochat
8f979a8.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from nanochat.model.gpt import GPT
from nanochat.train.optim.learning_rates import assign_rates
from nanochat.train.optim.muon import Muon
from nanochat.train.recipe import GROUPS, PARTS, Recipe

ADAM_BETAS = (0.8, 0.95)
ADAM_EPS = 1e-10


def group_members(model: GPT) -> dict[str, list[Parameter]]:
    """Return the parameters of each group of `GROUPS`, and of the `PARTS` of `matrix`."""
    matrix = dict(model.blocks.named_parameters())
    return {
        "embedding": list(model.wte.parameters()),
        "matrix": list(matrix.values()),
        "unembedding": list(model.lm_head.parameters()),
        "attention": [param for name, param in matrix.items() if ".attn." in name],
        "mlp": [param for name, param in matrix.items() if ".mlp." in name],
    }


def build_optimizers(model: GPT, *recipes: Recipe, recorded: bool = False) -> list[Optimizer]:
    """Build AdamW over [head, embedding] and Muon over the block matrices, for the trained groups.

    Parameters
    ----------
    model
        Parameters outside the trainable groups get ``requires_grad = False``. In a stack of copies
        all groups that are trained are stacked.
    *recipes
        One recipe, or one for each copy of a stack; they differ in their rates only.
    recorded
        If the steps will be recorded as CUDA graphs: rates are then tensors on the device, and
        steps are counted there.

    Returns
    -------
    list
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
    """List what AdamW updates in a stack: parameter, number of the copy, view of the copy."""
    members = group_members(model)
    return [
        (members[group["name"]][0], group["copy"], group["params"][0])
        for optimizer in optimizers
        if not isinstance(optimizer, Muon)
        for group in optimizer.param_groups
    ]
