"""The workload `nanochat`: fine-tune a checkpoint at every point.

The checkpoint is read and the conversations are tokenised once, in the driver. Between points a
worker restores the master weights in place; it never reads a file or builds a model again.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Criterion
from fractal_ray.workloads.base import Footprint, Prepared
from fractal_ray.workloads.nanochat.footprint import busy_share, measure
from fractal_ray.workloads.nanochat.settings import NanochatSettings
from fractal_ray.workloads.nanochat.shared import Shared
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.recipe import Recipe

if TYPE_CHECKING:
    from fractal_ray.workloads.nanochat.runner import NanochatRunner
    from nanochat.train.finetune import FinetuneResult

# Changes when the mathematics of a run changes, so that old rows are not mistaken for new ones.
NUMERICS = "nanochat-2"
STEPS_TIMED = 16
"""Of the probe for `resources.gpu: auto`."""


def fingerprint_of(parts: Mapping[str, str]) -> str:
    """A workload's fingerprint, from those of its `model`, its `tokenizer` and its `data`."""
    named = [NUMERICS, *(parts[name] for name in ("model", "tokenizer", "data"))]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:32]


class NanochatWorkload:
    """Fine-tunes one checkpoint on one data set.

    Parameters
    ----------
    spec
        The model, the conversations, and how long these may be.
    recipe
        The fixed recipe; the axes override two of its fields.
    x_param, y_param
        Fields that the axes sweep.
    criterion
        The rule that labels a loss curve.
    budget
        Largest `num_tokens` of any point, None where the number of steps is given: how far a
        folder of shards is read.
    largest_batch
        Largest `device_batch_size` of any point; None for the recipe's.
    kernels
        How steps are computed.
    points_per_trial
        Points that advance together on a device.
    """

    def __init__(
        self,
        spec: NanochatSettings,
        recipe: Recipe,
        x_param: str,
        y_param: str,
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
        self._params = (x_param, y_param)
        self._criterion = criterion
        self._kernels = kernels
        self.points_per_trial: int | Literal["auto"] = points_per_trial

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Every field of the fixed recipe, and other kernels than the plain ones."""
        fields: dict[str, Setting] = {
            name: value if isinstance(value, bool | int | float | str) else ",".join(value)
            for name, value in self._recipe.to_dict().items()
        }
        # They round differently: other bits, other runs.
        return {**fields, "kernels": str(self._kernels)} if self._kernels != PLAIN else fields

    def prepare(self) -> Prepared:
        """Read the checkpoint, tokenise the conversations."""
        from nanochat.data.conversations import load_conversations
        from nanochat.data.examples import tokenize_conversations
        from nanochat.sources.load import load_model

        spec, data = self._spec, self._spec.data
        checkpoint, tokenizer = load_model(
            spec.model,
            step=spec.model_step,
            tag=spec.model_tag,
            stage=spec.source_stage,
            tokenizer=spec.tokenizer_artifact,
        )
        conversations = load_conversations(data.source, data.split, data.limit, self.budget)
        examples = tokenize_conversations(conversations, tokenizer, data.max_seq_len)
        # float32 whatever the file holds: bfloat16 has no numpy type, and upcasting loses nothing.
        weights = {key: value.float().numpy() for key, value in checkpoint.state.items()}
        pad_id = tokenizer.special["<|assistant_end|>"]
        fingerprint = fingerprint_of(
            {
                "model": checkpoint.fingerprint,
                "tokenizer": tokenizer.fingerprint,
                "data": examples.fingerprint,
            }
        )
        return Prepared(fingerprint, Shared(checkpoint.config, weights, examples, pad_id))

    def open(self, shared: Shared, device: str) -> "NanochatRunner":
        """Build the model on `device`, with weights of this worker's own."""
        if device == "cuda" and self._recipe.deterministic:
            # Read when CUDA starts; cuBLAS is deterministic only with a fixed workspace.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        from fractal_ray.workloads.nanochat.runner import NanochatRunner

        return NanochatRunner(
            shared,
            self._recipe,
            self._params,
            self._criterion,
            device,
            self._kernels,
            self.points_per_trial,
        )

    def probe(self, shared: Shared, device: str) -> Footprint:
        """Memory of the two largest steps of any point, and how busy the first ones keep a card."""
        footprint = measure(lambda: self.two_largest_steps(shared, device))
        runner = self.open(shared, device)
        recipe = self._recipe.with_values({"num_iterations": STEPS_TIMED})
        busy = busy_share(lambda: runner.finetune([recipe] * runner.side_by_side))
        return replace(footprint, busy=busy)

    def two_largest_steps(self, shared: Shared, device: str) -> "FinetuneResult":
        """At the largest batch, on the longest rows of the data.

        Two, because the optimizer's states of the first come after its peak.
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
