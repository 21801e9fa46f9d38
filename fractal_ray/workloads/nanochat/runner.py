"""The workload `nanochat` on one worker: one model, or copies of it that advance side by side."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Circumstances, Criterion, RunRecord
from fractal_ray.workloads.nanochat.baseline import order_sides
from fractal_ray.workloads.nanochat.shared import Shared
from fractal_ray.workloads.nanochat.stack_size import StackSize, most_copies
from fractal_ray.workloads.nanochat.validation import validation_batches
from fractal_ray.workloads.section import SweptAxis
from nanochat.errors import NanochatError
from nanochat.train.kernels import Kernels
from nanochat.train.recipe import Recipe

if TYPE_CHECKING:
    from nanochat.train.batches import Batches
    from nanochat.train.finetune import FinetuneResult

CACHED_DATA = 8
"""Number of sets of batches in the cache; a sweep has several if an axis changes the batches."""


class NanochatRunner:
    """The runner of fine-tunes: one stack of copies of a model, master weights, cached batches.

    Parameters
    ----------
    shared
    recipe
        The fixed recipe.
    axes
        The axes, whose parameters are fields of the recipe.
    criterion
        The rule that labels a loss curve.
    device
        "cpu" or "cuda".
    kernels
    points_per_trial
        Number of points that advance together; auto: the number that is fastest on this worker, if
        results do not depend on it.
    """

    def __init__(
        self,
        shared: Shared,
        recipe: Recipe,
        axes: tuple[SweptAxis, SweptAxis],
        criterion: Criterion,
        device: str,
        kernels: Kernels,
        points_per_trial: int | Literal["auto"],
    ) -> None:
        import torch

        from nanochat.model.gpt import GPT
        from nanochat.model.torch_settings import keep_freed_memory
        from nanochat.train.stepper import Stepper

        if device == "cuda" and not torch.cuda.is_available():
            raise NanochatError(
                "resources.gpu asks for a GPU and torch sees none on this worker;"
                " set resources.gpu: 0 to run on the CPU"
            )
        if device == "cpu":
            keep_freed_memory()
        # Some checkpoints pad the vocabulary with rows beyond its size.
        rows = shared.weights["lm_head.weight"].shape[0]
        self.model = GPT(shared.config, vocab_rows=rows).to(device)
        # Copies: the arrays may be the object store's own memory, which every worker shares.
        self._master: dict[str, torch.Tensor] = {
            key: torch.tensor(array, device=device) for key, array in shared.weights.items()
        }
        self.model.load_state_dict(self._master)
        self._shared, self._recipe = shared, recipe
        self._params = (axes[0].axis.param, axes[1].axis.param)
        # Whether all points have the same first batch, and so the same first loss.
        self._one_first_batch = not order_sides(recipe, axes)
        self._criterion, self._device, self._kernels = criterion, device, kernels
        most = self._most_together() if points_per_trial == "auto" else points_per_trial
        self._size = StackSize(points_per_trial, most)
        copies = self._size.capacity
        # On a CPU even one model is a stack: products then do not depend on the number of copies.
        if copies > 1 or (device == "cpu" and kernels.stack(recipe.dtype) and not kernels.static):
            self.model.stack(copies, recipe.trainable_param_groups)
        self._stepper = Stepper(self.model, [recipe] * copies, kernels)
        self._validation = validation_batches(
            shared.validation, shared.pad_id, recipe.device_batch_size, device
        )
        self._batches: dict[tuple[Any, ...], Batches] = {}
        self.device = torch.cuda.get_device_name() if device == "cuda" else "cpu"

    @property
    def side_by_side(self) -> int:
        """Return the number of points that advance together at present."""
        return self._size.now

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Fine-tune at each point, always from the master weights."""
        recipes = [
            self._recipe.with_values(dict(zip(self._params, (point.x, point.y), strict=True)))
            for point in points
        ]
        while recipes:
            keys = [recipe.stack_key() for recipe in recipes[: self._size.now]]
            together = next((i for i, key in enumerate(keys) if key != keys[0]), len(keys))
            for result in self.finetune(recipes[:together]):
                yield self._record(result, together)
            recipes = recipes[together:]

    def finetune(
        self, recipes: Sequence[Recipe], batches: "Batches | None" = None
    ) -> "list[FinetuneResult]":
        """Fine-tune from the master weights, side by side.

        Parameters
        ----------
        recipes
            Recipes of the points, at most `side_by_side`.
        batches
            Batches to use instead of the batches of the data.
        """
        import torch

        from nanochat.train.finetune import finetune_side_by_side

        stacked = list(recipes)
        if self._same_shapes:
            stacked += stacked[-1:] * (self._size.now - len(stacked))
        self._stepper.reset(stacked)
        self.restore()
        if batches is None:
            batches = self._batches_for(stacked[0])
        start = time.process_time()  # not wall time: other processes use the machine too
        try:
            results = finetune_side_by_side(
                self._stepper, batches, stacked, validation=self._validation
            )
        except torch.OutOfMemoryError as error:
            if len(stacked) == 1:
                raise
            raise torch.OutOfMemoryError(
                f"{len(stacked)} points side by side need more memory than the device has; lower"
                f" resources.points_per_trial ({error})"
            ) from error
        begun = sum(result.steps + (result.diverged_step is not None) for result in results)
        self._size.record(len(stacked), (time.process_time() - start) / begun)
        # The copies that only fill the stack take time too; it is charged to the points.
        wall = sum(result.seconds for result in results)
        results = results[: len(recipes)]
        more = wall / sum(result.seconds for result in results)
        return [replace(result, seconds=more * result.seconds) for result in results]

    def restore(self) -> None:
        """Copy the master weights into the model, in place."""
        import torch

        with torch.no_grad():
            for key, tensor in self.model.state_dict().items():
                tensor.copy_(self._master[key])

    @property
    def _same_shapes(self) -> bool:
        """Return True if a stack must be full.

        Fewer copies would use other kernels, which may round differently.
        """
        return self._kernels.static or (self._device == "cuda" and self._recipe.deterministic)

    def _most_together(self) -> int:
        """Return the largest number of points that advance together under `auto`."""
        recipe, kernels = self._recipe, self._kernels
        # On a GPU the spec has to set the number: the kernels of each number of copies may round in
        # their own way, and workers that share a card cannot foresee each other's use of memory.
        # Compiled code would be compiled again for each number.
        alone = not kernels.stack(recipe.dtype) or kernels.static or self._device == "cuda"
        # Shared blocks above a stacked embedding take the rows of all copies in one product.
        groups = recipe.trainable_param_groups
        if alone or ("embedding" in groups and "matrix" not in groups):
            return 1
        from nanochat.train.optim.groups import group_members

        members = group_members(self.model)
        trained = (p for group in groups for p in members[group])
        return most_copies(sum(param.numel() for param in trained))

    def _record(self, result: "FinetuneResult", together: int) -> RunRecord:
        if result.diverged_step == 0 and self._one_first_batch:
            # The driver has computed this loss (`NanochatWorkload.check_start`), and it was finite.
            raise RuntimeError(
                f"the loss of the first batch is {result.final_loss} before any update, and the"
                " axes do not change it: this device computes the model otherwise than the CPU of"
                " the driver"
            )
        return RunRecord.from_curve(
            result.losses,
            self._criterion,
            diverged_step=result.diverged_step,
            final_loss=result.final_loss,
            steps=result.steps,
            tokens_seen=result.tokens_seen,
            seconds=result.seconds,
            val_loss=result.val_loss,
            circumstances=Circumstances(
                deterministic=self._recipe.deterministic,
                side_by_side=together,
                kernels=str(self._kernels),
            ),
        )

    def _batches_for(self, recipe: Recipe) -> "Batches":
        """Return the batches of a recipe, from the cache unless an axis changes them."""
        from nanochat.train.batches import make_batches

        key = recipe.batch_key()
        if key not in self._batches:
            if len(self._batches) >= CACHED_DATA:
                self._batches.pop(next(iter(self._batches)))
            self._batches[key] = make_batches(
                self._shared.examples,
                recipe,
                self._shared.pad_id,
                self._device,
                self._kernels,
                self._shared.config.reach,
            )
        return self._batches[key]
