"""The workload `nanochat`: fine-tune a checkpoint at every point.

The checkpoint is read and the conversations are tokenised once, in the driver. Between points a
worker restores the master weights in place; it never reads a file or builds a model again.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal_ray.identity import Setting
from fractal_ray.outcome import Criterion, RunRecord
from fractal_ray.space import Point
from fractal_ray.spec import SweepSpec
from fractal_ray.spec_workloads import NanochatSpec
from fractal_ray.workloads.base import Footprint, Prepared
from fractal_ray.workloads.footprint import measure
from nanochat.errors import NanochatError
from nanochat.recipe import Recipe

if TYPE_CHECKING:
    from nanochat.data import Batches, Examples
    from nanochat.finetune import FinetuneResult
    from nanochat.gpt import GPTConfig

# Changes when the mathematics of a run changes, so that old rows are not mistaken for new ones.
NUMERICS = "nanochat-1"


def fingerprint_of(parts: Mapping[str, str]) -> str:
    """A workload's fingerprint, from those of its `model`, its `tokenizer` and its `data`."""
    named = [NUMERICS, *(parts[name] for name in ("model", "tokenizer", "data"))]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Shared:
    """What goes to the object store: plain arrays, read-only for every worker."""

    config: "GPTConfig"
    weights: dict[str, NDArray[np.float32]]
    examples: "Examples"
    pad_id: int


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
    """

    def __init__(
        self,
        spec: NanochatSpec,
        recipe: Recipe,
        x_param: str,
        y_param: str,
        criterion: Criterion,
        budget: int | None = None,
        largest_batch: int | None = None,
    ) -> None:
        self._spec = spec
        self.budget = budget
        self._largest_batch = largest_batch or recipe.device_batch_size
        self._recipe = recipe
        self._params = (x_param, y_param)
        self._criterion = criterion

    @classmethod
    def from_spec(cls, spec: SweepSpec) -> "NanochatWorkload":
        """The workload that a spec of kind `nanochat` asks for."""
        asked = spec.workload
        assert isinstance(asked, NanochatSpec), f"kind is {asked.kind}"
        recipe = Recipe.from_mapping(asked.recipe)
        largest = {axis.param: axis.max for axis in (spec.axes.x, spec.axes.y)}
        by_steps = recipe.num_iterations > 0 or "num_iterations" in largest
        return cls(
            asked,
            recipe,
            spec.axes.x.param,
            spec.axes.y.param,
            spec.label.criterion,
            None if by_steps else int(largest.get("num_tokens", recipe.num_tokens)),
            int(largest.get("device_batch_size", recipe.device_batch_size)),
        )

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Every field of the fixed recipe."""
        return {
            name: value if isinstance(value, bool | int | float | str) else ",".join(value)
            for name, value in self._recipe.to_dict().items()
        }

    def prepare(self) -> Prepared:
        """Read the checkpoint, tokenise the conversations."""
        from nanochat.data import load_conversations, tokenize_conversations
        from nanochat.sources import load_model

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
        return NanochatRunner(shared, self._recipe, self._params, self._criterion, device)

    def probe(self, shared: Shared, device: str) -> Footprint:
        """Two steps at the largest batch of any point, on the longest rows of the data."""
        return measure(lambda: self.two_largest_steps(shared, device))

    def two_largest_steps(self, shared: Shared, device: str) -> "FinetuneResult":
        """Two, because the optimizer's states of the first come after its peak."""
        from nanochat.data import make_batches
        from nanochat.finetune import finetune

        size = self._largest_batch
        recipe = self._recipe.with_values({"num_iterations": 2, "device_batch_size": size})
        rows = np.argsort(-shared.examples.lengths, kind="stable")[: 2 * size]
        runner = self.open(shared, device)
        runner.restore()
        longest = shared.examples.take(rows)
        return finetune(runner.model, make_batches(longest, recipe, shared.pad_id, device), recipe)


class NanochatRunner:
    """The workload on one worker: one model, one set of master weights, cached batches."""

    def __init__(
        self,
        shared: Shared,
        recipe: Recipe,
        params: tuple[str, str],
        criterion: Criterion,
        device: str,
    ) -> None:
        import torch

        from nanochat.gpt import GPT

        if device == "cuda" and not torch.cuda.is_available():
            raise NanochatError(
                "resources.gpu asks for a GPU and torch sees none on this worker;"
                " set resources.gpu: 0 to run on the CPU"
            )
        # Some checkpoints pad the vocabulary with rows beyond its size.
        rows = shared.weights["lm_head.weight"].shape[0]
        self.model = GPT(shared.config, vocab_rows=rows).to(device)
        # Copies: the arrays may be the object store's own memory, which every worker shares.
        self._master: dict[str, torch.Tensor] = {
            key: torch.tensor(array, device=device) for key, array in shared.weights.items()
        }
        self._weights = self.model.state_dict()
        self._shared, self._recipe, self._params = shared, recipe, params
        self._criterion, self._device = criterion, device
        self._batches: dict[tuple[Any, ...], Batches] = {}
        self.device = torch.cuda.get_device_name() if device == "cuda" else "cpu"

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Fine-tune at each point, always from the master weights."""
        from nanochat.finetune import finetune

        for point in points:
            recipe = self._recipe.with_values(
                dict(zip(self._params, (point.x, point.y), strict=True))
            )
            self.restore()
            result = finetune(self.model, self._batches_for(recipe), recipe)
            yield RunRecord.from_curve(
                result.losses,
                self._criterion,
                diverged_step=result.diverged_step,
                final_loss=result.final_loss,
                steps=result.steps,
                tokens_seen=result.tokens_seen,
                seconds=result.seconds,
            )

    def restore(self) -> None:
        """The master weights, in place."""
        import torch

        with torch.no_grad():
            for key, tensor in self._weights.items():
                tensor.copy_(self._master[key])

    def _batches_for(self, recipe: Recipe) -> "Batches":
        """Batches are the same for every point unless an axis changes them."""
        from nanochat.data import make_batches

        key = recipe.batch_key()
        if key not in self._batches:
            if len(self._batches) >= 8:
                self._batches.pop(next(iter(self._batches)))
            self._batches[key] = make_batches(
                self._shared.examples, recipe, self._shared.pad_id, self._device
            )
        return self._batches[key]
