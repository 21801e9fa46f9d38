"""Memory of a step, counted without a card: the bytes of all tensors that live at once.

The whole fine-tune runs on tensors without contents (torch's FakeTensorMode), and every storage
that an operation makes is counted until it is freed. What kernels take inside, what the allocator
keeps and what a compiled step would save is not seen: this is a count, not a measurement.
"""

import weakref
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
from finetune_measure import header, row
from finetune_runs import Case, make_examples, plain, product
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT
from nanochat.model.head_loss import CELLS
from nanochat.sizing.memory import count_parameters
from nanochat.sizing.summary import GB
from nanochat.train.batches import make_batches


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations made and that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0  # a loss that is read: there are no numbers here
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen[key] = weakref.ref(storage, lambda _: self._freed(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _freed(self, key: int, size: int) -> None:
        del self._seen[key]
        self.live -= size


def memory_table(cases: Sequence[Case]) -> None:
    header("model", "batch", "loop", "weights GB", "optimizer GB", "the rest GB", "peak GB")
    for case in cases:
        for loop in ("plain", "product"):
            weights, peak = count(case, loop)
            states = state_bytes(case.config)
            parts = (weights, states, peak - weights - states, peak)
            batch = f"{case.batch} x {case.row_tokens}, {case.rows}"
            row([f"d{case.config.n_layer}", batch, loop, *(f"{part / GB:.1f}" for part in parts)])


def count(case: Case, loop: str) -> tuple[int, int]:
    """Measure the bytes of the weights, and of everything at the peak."""
    recipe = case.recipe(steps=2)  # the peak of the first comes before there are states
    examples = make_examples(case, 2 * case.batch)
    batches = make_batches(examples, recipe, 0)
    for index in range(2):
        batches.supervised(index)  # collated now: below there are no contents
    # The operations are those of a CPU, but the pieces in which the head works those of a card.
    with (
        patch.dict(CELLS, cpu=CELLS["cuda"]),
        FakeTensorMode(allow_non_fake_inputs=True),
        LiveBytes() as live,
    ):
        model = GPT(case.config)
        weights = live.live
        if loop == "plain":
            plain(model, examples, recipe)()
        else:
            product(model, batches, recipe)()
    return weights, live.peak


def state_bytes(config: GPTConfig) -> int:
    """Count the bytes of the float32 states: AdamW's for the head, Muon's for the blocks."""
    parts = count_parameters(config)
    return 8 * parts["lm_head"] + 4 * parts["blocks"]
