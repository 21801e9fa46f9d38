"""Transfer of losses from the device, and the loss curves made of them."""

import math
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

LAG = 4
"""Steps that are begun before the loss of one is looked at, on a device that works beside us."""


class LossReader:
    """Reader of losses that never makes the device wait.

    Parameters
    ----------
    lag
        Steps that may be unread; 0 reads each at once.
    """

    def __init__(self, lag: int, device: torch.device) -> None:
        self.lag = lag
        self._beside = device.type == "cuda"
        self._unread: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def read(self, losses: Tensor) -> Iterator[list[float]]:
        """Take the losses of a step and return those of earlier steps that have arrived, in order.

        Parameters
        ----------
        losses
            float32 tensor (copies,).
        """
        event = None
        if self._beside and self.lag:
            losses = losses.to("cpu", non_blocking=True)  # into pinned memory
            event = torch.cuda.Event()
            event.record()
        self._unread.append((losses, event))
        yield from self._due(self.lag)

    def rest(self) -> Iterator[list[float]]:
        """Return all unread losses, in order."""
        yield from self._due(0)

    def _due(self, left: int) -> Iterator[list[float]]:
        while len(self._unread) > left:
            losses, event = self._unread.popleft()
            if event is not None:
                event.synchronize()
            yield losses.tolist()


class Curves:
    """Loss curves of copies that are trained together, each up to its end.

    Attributes
    ----------
    losses
        Finite ones.
    diverged
        Step of the first loss that was not finite.
    final
        The last loss that counts; NaN before the first.
    """

    def __init__(self, copies: int) -> None:
        self.losses: list[list[float]] = [[] for _ in range(copies)]
        self.diverged: list[int | None] = [None] * copies
        self.final = [math.nan] * copies

    def add(self, copies: Sequence[int], losses: Sequence[float]) -> None:
        """Add the losses of one step of these copies; losses after a divergence are dropped."""
        for copy, loss in zip(copies, losses, strict=True):
            if self.diverged[copy] is not None:
                continue
            self.final[copy] = loss
            if math.isfinite(loss):
                self.losses[copy].append(loss)
            else:
                self.diverged[copy] = len(self.losses[copy])

    def begun(self, copy: int) -> int:
        """Return the number of steps that were begun, at least 1."""
        return len(self.losses[copy]) + (self.diverged[copy] is not None)
