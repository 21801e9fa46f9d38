"""Whole steps as CUDA graphs: recorded once for each shape of a batch, then replayed."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Batch = TypeVar("Batch", bound="DataclassInstance")
"""Dataclass whose fields are tensors."""

WARM_UP = 3
"""Steps of a shape that run as usual before it is recorded: kernels are chosen and compiled, and
optimizer states made, at the first uses."""

Capture = Callable[[Callable[[], None]], Callable[[], object]]


def capture_on_cuda(step: Callable[[], None]) -> Callable[[], object]:
    """Record a step without running it; returns the function that replays it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class RecordedSteps(Generic[Batch]):
    """Step on batches that is recorded once for each shape of a batch, then replayed.

    What a step reads and is not part of the batch must keep its place in memory: weights, optimizer
    states, and rates, which are tensors that are written between steps.

    Parameters
    ----------
    step
        A batch to the losses (copies,); gradients and update included.
    capture
        Records a function without arguments and returns what replays it.
    """

    def __init__(self, step: Callable[[Batch], Tensor], capture: Capture = capture_on_cuda) -> None:
        self._step, self.capture = step, capture
        self._uses: dict[tuple[torch.Size, ...], int] = {}
        self._recorded: dict[
            tuple[torch.Size, ...], tuple[Batch, list[Tensor], Callable[[], object]]
        ] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """Run the step on a batch and return the losses before its update."""
        shape = tuple(getattr(batch, field.name).shape for field in fields(batch))
        uses = self._uses[shape] = self._uses.get(shape, 0) + 1
        if uses <= WARM_UP:
            return self._step(batch)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(batch)
        place, losses, replay = self._recorded[shape]
        for field in fields(batch):
            getattr(place, field.name).copy_(getattr(batch, field.name), non_blocking=True)
        replay()
        return losses[0].clone()

    def _record(self, batch: Batch) -> tuple[Batch, list[Tensor], Callable[[], object]]:
        place = type(batch)(*(getattr(batch, field.name).clone() for field in fields(batch)))
        losses: list[Tensor] = []

        def step() -> None:
            losses[:] = [self._step(place)]

        return place, losses, self.capture(step)
