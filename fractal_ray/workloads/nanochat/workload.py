"""The workload `nanochat`: fine-tune a checkpoint at every point.

The checkpoint is read and the conversations are tokenised once, in the driver. Between points a
worker restores the master weights in place; it never reads a file or builds a model again.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fractal_ray.errors import SweepError
from fractal_ray.plane.baseline import Baseline
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Criterion
from fractal_ray.workloads.base import Footprint, Prepared
from fractal_ray.workloads.nanochat.baseline import FirstBatch, measure_baseline
from fractal_ray.workloads.nanochat.footprint import busy_share, measure
from fractal_ray.workloads.nanochat.idle import batches_beyond
from fractal_ray.workloads.nanochat.settings import NanochatSettings
from fractal_ray.workloads.nanochat.shared import Shared
from fractal_ray.workloads.nanochat.steps import planned_steps, tokens_of_step
from fractal_ray.workloads.nanochat.validation import load_data
from fractal_ray.workloads.section import PlannedRuns
from fractal_ray.workloads.windows import WindowFit
from nanochat.errors import Note
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.recipe import Recipe

if TYPE_CHECKING:
    from fractal_ray.workloads.nanochat.runner import NanochatRunner
    from nanochat.train.finetune import FinetuneResult

NUMERICS = "nanochat-2"
"""Version of the mathematics of a run, so that old rows are not mistaken for new ones."""
STEPS_TIMED = 16
"""Number of steps that the probe for `resources.gpu: auto` times."""


def fingerprint_of(parts: Mapping[str, str]) -> str:
    """Return the fingerprint of a workload from those of its `model`, `tokenizer` and `data`."""
    named = [NUMERICS, *(parts[name] for name in ("model", "tokenizer", "data"))]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:32]


class NanochatWorkload:
    """A workload that fine-tunes one checkpoint on one data set.

    Parameters
    ----------
    spec
        Settings of the model, the conversations, and their maximal length.
    recipe
        The fixed recipe; the axes override two of its fields.
    planned
        The axes, whose parameters are fields of the recipe, and the first grid.
    criterion
        The rule that labels a loss curve.
    budget
        Largest `num_tokens` of all points, None if the recipe sets the number of steps. A folder of
        shards is read no further than it needs.
    largest_batch
        Largest `device_batch_size` of all points; None for that of the recipe.
    kernels
        Switches for the computation of steps.
    points_per_trial
        Number of points that advance together on a device.
    """

    def __init__(
        self,
        spec: NanochatSettings,
        recipe: Recipe,
        planned: PlannedRuns,
        criterion: Criterion,
        budget: int | None = None,
        largest_batch: int | None = None,
        kernels: Kernels = PLAIN,
        points_per_trial: int | Literal["auto"] = "auto",
    ) -> None:
        self._spec = spec
        self.budget = budget
        self._largest_batch = largest_batch or recipe.device_batch_size
        self._recipe = recipe
        self._planned, self._axes = planned, planned.axes
        self._first_batch: FirstBatch | None = None
        self._params = (planned.x.axis.param, planned.y.axis.param)
        self._criterion = criterion
        self._kernels = kernels
        self.points_per_trial: int | Literal["auto"] = points_per_trial

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Return every field of the fixed recipe, and the kernels unless they are `PLAIN`."""
        fields: dict[str, Setting] = {
            name: value if isinstance(value, bool | int | float | str) else ",".join(value)
            for name, value in self._recipe.to_dict().items()
        }
        # Other kernels round differently, so their runs have other bits.
        return {**fields, "kernels": str(self._kernels)} if self._kernels != PLAIN else fields

    def prepare(self) -> Prepared:
        """Read the checkpoint and tokenise the conversations."""
        checkpoint, tokenizer = self._spec.to_source().load()
        data = load_data(
            self._spec.data,
            tokenizer,
            self.budget,
            self._recipe.device_batch_size,
            checkpoint.config.reach,
        )
        # float32 for files of any dtype: numpy has no bfloat16, and upcasting loses nothing.
        weights = {key: value.float().numpy() for key, value in checkpoint.state.items()}
        pad_id = tokenizer.special["<|assistant_end|>"]
        fingerprint = fingerprint_of(
            {
                "model": checkpoint.fingerprint,
                "tokenizer": tokenizer.fingerprint,
                "data": data.training.fingerprint,
            }
        )
        return Prepared(
            fingerprint,
            Shared(checkpoint.config, weights, data.training, pad_id, data.validation),
            data_facts=data.facts,
        )

    def check_start(self, shared: Shared, *, new: bool) -> None:
        """Refuse weights whose loss on the first batch is not finite: all points start from them.

        Refuse also to begin a dataset with a batch of more rows than the data have, or with a label
        window of more than half of the steps; where a dataset was begun with it, warn.

        Raises
        ------
        NanochatError
            Names the model, the loss and the dtype.
        SweepError
            Names the axis or the setting, and the number of rows.
        """
        from nanochat.train.first_loss import check_first_loss, first_loss

        fit = self.window_fit(shared)
        lines = self._batches_beyond(len(shared.examples))
        # A number of steps that the spec gives was compared before the data were read.
        if self.budget is not None and (line := fit.refusal()):
            lines.append(line)
        for line in lines:
            if new:
                raise SweepError(f"{line}; nothing was run")
            warnings.warn(
                f"the dataset goes on, although a new one is refused: {line}", Note, stacklevel=1
            )
        if line := fit.note():
            warnings.warn(line, Note, stacklevel=1)
        start = time.monotonic()
        loss = first_loss(
            shared.config, shared.weights, shared.examples, self._recipe, shared.pad_id
        )
        check_first_loss(loss, self._spec.model, self._recipe.dtype)
        dtype = "float16" if self._recipe.dtype == "float16" else "float32"
        name = (*self._recipe.batch_key(), 0)
        self._first_batch = FirstBatch(name, loss, dtype, time.monotonic() - start)

    def baseline(self, shared: Shared, device: str, say: Callable[[str], None]) -> Baseline:
        """Compute the losses of the untouched model on the batches of all runs."""
        if device == "cuda":
            self._fix_workspace()
        return measure_baseline(shared, self._recipe, self._axes, device, say, self._first_batch)

    def parameters(self, shared: Shared) -> int:
        """Return the number of parameters of the model."""
        return sum(tensor.size for tensor in shared.weights.values())

    def window_fit(self, shared: Shared) -> WindowFit:
        """Compare the label window with the steps of the first grid."""
        steps = planned_steps(
            self._recipe, self._planned.grid_values(), lambda recipe: tokens_of_step(shared, recipe)
        )
        assert steps is not None
        return self._planned.window_fit(steps, self._spec.step_setting)

    def _batches_beyond(self, rows: int) -> list[str]:
        """Return a line for a batch above the number of rows, unless it is above `data.limit`.

        That one was refused or noted before the data were read.
        """
        largest, limit = self._largest_batch, self._spec.data.limit
        if limit is not None and largest > limit:
            return []
        sides = dict(zip(self._params, ("x", "y"), strict=True))
        origin = f"{self._spec.data.source} has {rows:,} rows"
        return batches_beyond(self._spec.recipe, sides, largest, rows, origin)

    def open(self, shared: Shared, device: str) -> "NanochatRunner":
        """Build the model on `device`, with a copy of the weights for this worker."""
        if device == "cuda":
            self._fix_workspace()
        from fractal_ray.workloads.nanochat.runner import NanochatRunner

        return NanochatRunner(
            shared,
            self._recipe,
            self._axes,
            self._criterion,
            device,
            self._kernels,
            self.points_per_trial,
        )

    def _fix_workspace(self) -> None:
        """Set what makes cuBLAS deterministic; CUDA reads it at its start."""
        if self._recipe.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def probe(self, shared: Shared, device: str) -> Footprint:
        """Measure the memory of the two largest steps, and the busy share of usual steps."""
        footprint = measure(lambda: self.two_largest_steps(shared, device))
        runner = self.open(shared, device)
        recipe = self._recipe.with_values({"num_iterations": STEPS_TIMED})
        busy = busy_share(lambda: runner.finetune([recipe] * runner.side_by_side))
        return replace(footprint, busy=busy)

    def two_largest_steps(self, shared: Shared, device: str) -> "FinetuneResult":
        """Run two steps with the largest batch, on the longest rows of the data.

        There are two steps because the first allocates optimizer states only after its peak.
        """
        from nanochat.train.batches import make_batches

        size = self._largest_batch
        recipe = self._recipe.with_values({"num_iterations": 2, "device_batch_size": size})
        rows = np.argsort(-shared.examples.lengths, kind="stable")[: 2 * size]
        longest = shared.examples.take(rows)
        batches = make_batches(
            longest, recipe, shared.pad_id, device, self._kernels, shared.config.reach
        )
        runner = self.open(shared, device)
        return runner.finetune([recipe] * runner.side_by_side, batches)[0]
