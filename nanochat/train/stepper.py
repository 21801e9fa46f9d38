"""The steps of a fine-tune: gradients and updates, of one model or of copies side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from nanochat.errors import NanochatError
from nanochat.model.cuda_graphs import RecordedSteps
from nanochat.model.gpt import GPT
from nanochat.model.head_loss import head_loss
from nanochat.train.batches import Batch
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.optim.groups import adamw_copies, build_optimizers
from nanochat.train.optim.learning_rates import assign_rates, set_lr_factor
from nanochat.train.optim.muon import Muon
from nanochat.train.optim.states import keep_copies, reset_optimizers
from nanochat.train.recipe import Recipe


class Stepper:
    """Trainer of a model in place, reused for many fine-tunes without new allocations.

    Parameters
    ----------
    model
        Plain, or a stack of copies (`GPT.stack`) of every group that the recipes train.
    recipes
        One recipe, or one for each copy, with equal `Recipe.stack_key`.

    Attributes
    ----------
    copies
        Copies that are trained now: all of them, or the first ones.
    """

    def __init__(self, model: GPT, recipes: Sequence[Recipe], kernels: Kernels = PLAIN) -> None:
        self.model, self.kernels = model, kernels
        if kernels.cuda_graphs and not model.lm_head.weight.is_cuda:
            raise NanochatError(
                "kernels: cuda_graphs records steps of a GPU, and the model is on the CPU; leave it"
                " out"
            )
        self.recipe = recipes[0]
        self._check(recipes)
        self.device = model.lm_head.weight.device
        recorded = kernels.cuda_graphs
        self.optimizers: list[Optimizer] = build_optimizers(model, *recipes, recorded=recorded)
        self._recorded = RecordedSteps(self._whole_step) if recorded else None
        self._decays = [recipe.weight_decay for recipe in recipes]
        self.copies = len(recipes)
        # Views of all copies: the parameter holds only those that are still trained.
        self._whole = {p: p.detach() for p in model.parameters() if p.requires_grad}
        self.stacked = any(param.dim() == 3 for param in self._whole)
        # AdamW takes each copy by itself, with its part of the gradient.
        self._views = adamw_copies(model, self.optimizers) if self.stacked else []
        self._states: Callable[..., Tensor] = model.states
        if kernels.compile:
            from nanochat.model.compile import compiled

            self._states = compiled(model.states)
            for optimizer in self.optimizers:
                if isinstance(optimizer, Muon):
                    optimizer.orthogonalize = compiled(optimizer.orthogonalize)
        self._scaler = self._new_scaler()

    def reset(self, recipes: Sequence[Recipe]) -> None:
        """Start a fine-tune with other rates: optimizer states are reset, weights are not.

        Parameters
        ----------
        recipes
            At most as many as there are copies; the first copies take them.
        """
        self._check(recipes)
        self._narrow(len(recipes))
        reset_optimizers(self.optimizers)
        if self._recorded is not None:  # the recorded step holds the decay as a constant
            decays = [recipe.weight_decay for recipe in recipes]
            if decays != self._decays:
                self._recorded = RecordedSteps(self._whole_step, self._recorded.capture)
            self._decays = decays
        assign_rates(self.optimizers, self.model.config.n_embd, *recipes)
        for param in self.model.parameters():
            param.requires_grad_(param in self._whole)
        self._scaler = self._new_scaler()

    def accumulate(self, batches: Sequence[Batch]) -> Tensor:
        """Return the mean loss of the batches and leave its gradient on the parameters.

        Returns
        -------
        float32 tensor (copies,)
            In nats, on the device.
        """
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros(self.copies, device=self.device)
        for batch in batches:
            total += self._one(batch.to(self.device), len(batches)) / len(batches)
        return total

    def update(self, *factors: float) -> None:
        """Step every optimizer, each copy at its factor times its rates."""
        set_lr_factor(self.optimizers, *factors)
        self._update()

    def step(self, batches: Sequence[Batch], *factors: float) -> Tensor:
        """Accumulate and update without reading the loss; recorded steps are replayed.

        Returns
        -------
        float32 tensor (copies,)
            Mean loss before the update.
        """
        set_lr_factor(self.optimizers, *factors)
        if self._recorded is not None and len(batches) == 1:
            return self._recorded(batches[0].to(self.device))
        return self._whole_step(*batches)

    def _whole_step(self, *batches: Batch) -> Tensor:
        loss = self.accumulate(batches)
        self._update()
        return loss

    def _update(self) -> None:
        for param, copy, view in self._views:
            if copy < self.copies:
                assert param.grad is not None
                view.grad = param.grad[copy]
        try:
            for optimizer in self.optimizers:
                self._scaler.step(optimizer)
        finally:
            for _, _, view in self._views:
                view.grad = None
        if self.optimizers:
            self._scaler.update()

    def keep(self, chosen: Sequence[int]) -> None:
        """Keep these copies only, in ascending order."""
        index = torch.tensor(chosen, device=self.device)
        for whole in self._whole.values():
            whole[: len(chosen)] = whole[index]
        keep_copies(self.optimizers, chosen)
        self._narrow(len(chosen))

    def _check(self, recipes: Sequence[Recipe]) -> None:
        """Raise for recipes that this stepper cannot compute."""
        alike = {(each.dtype, each.trainable_param_groups) for each in [self.recipe, *recipes]}
        if len(alike) > 1:
            raise NanochatError(f"a stepper has one dtype and one set of groups, not {alike}")
        if len(recipes) > 1 and not self.kernels.stack(self.recipe.dtype):
            raise NanochatError(
                "with dtype float16 (one loss scale for all) or kernels full_logits, fine-tunes"
                " cannot advance side by side"
            )

    def _new_scaler(self) -> torch.amp.GradScaler:
        # float16 has a narrow range: gradients are scaled into it.
        return torch.amp.GradScaler(self.device.type, enabled=self.recipe.dtype == "float16")

    def _narrow(self, copies: int) -> None:
        if self.stacked:
            for param, whole in self._whole.items():
                param.grad = None
                param.data = whole[:copies]
        self.copies = copies

    def _one(self, batch: Batch, parts: int) -> Tensor:
        """Return the loss of a batch and add the gradient of a share of it to the parameters."""
        if self.kernels.full_logits:
            return self._as_the_source(batch, parts)
        dtype = getattr(torch, self.recipe.dtype)
        with autocast(self.device, dtype):
            states = self._states(batch.inputs, batch.positions)
        head = self.model.lm_head.weight
        output = head_loss(
            states.detach(),
            head.detach(),
            batch.targets,
            batch.count,
            self._scaler.scale(torch.full((), 1 / parts, device=self.device)),
            vocab=self.model.config.vocab_size,
            dtype=dtype,
            wants=(states.requires_grad, head.requires_grad),
        )
        if output.hidden is not None:
            states.backward(output.hidden)
        if output.weight is not None:
            head.grad = output.weight if head.grad is None else head.grad.add_(output.weight)
        return output.loss

    def _as_the_source(self, batch: Batch, parts: int) -> Tensor:
        loss = batch_loss(self.model, batch.inputs, batch.labels, self.recipe)
        if loss.requires_grad:
            self._scaler.scale(loss / parts).backward()
        return loss.detach()


def batch_loss(model: GPT, inputs: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Return the mean cross-entropy of a batch, in the recipe's arithmetic.

    Parameters
    ----------
    inputs, targets
        int64 tensor (B, T).
        On the device of the model.
    recipe
        Only its dtype is used.

    Returns
    -------
    float32 tensor ()
        In nats.
    """
    with autocast(inputs.device, getattr(torch, recipe.dtype)):
        return model(inputs, targets)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Compute products in `dtype` inside a block; no change for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
