"""The trainer of many small networks side by side, each with rates of its own.

The network of Sohl-Dickstein (arXiv 2402.06184), without biases: ``h = act(x W0 gain / sqrt(n))``,
``out = h W1 readout``, ``loss = mean((out - y)^2)``, plain gradient descent. All networks share
the examples, so that their hidden layers are one large product of matrices. They advance by a few
steps at a time, in tiles whose hidden layers stay in the cache; between these blocks networks whose
loss is no longer finite leave. The number of networks in a tile therefore changes. It changes only
the last bits of a network's numbers: a matrix product orders its sums by its shape.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_ray.workloads.mlp.draw import Draw
from fractal_ray.workloads.mlp.net import Net

_BLOCK = 10
"""Number of steps between two checks for divergence."""
_TILE_BYTES = {"cpu": 1 << 21, "cuda": 1 << 30}
"""Bytes of hidden layers and their gradients: about a core's second-level cache; part of a GPU."""
_SATURATED = 40.0
"""Value of 2 z from which on a unit counts as saturated.

2 sigmoid(2 z) - 1 is 1 in float64 from 2 z = 38 on.
"""


class Trainer:
    """The trainer of many networks, with their shared data on one device.

    Parameters
    ----------
    net
        Architecture of the networks.
    draw
        Initial weights, examples and the order of minibatches.
    dtype
        Type of all numbers.
    device
        "cpu" or "cuda".
    """

    def __init__(self, net: Net, draw: Draw, dtype: torch.dtype, device: str) -> None:
        self._net, self._dtype, self._device = net, dtype, device
        examples, width = draw.x.shape
        self._readout = net.output_factor(width)
        self._theta0, self._theta1 = self._tensor(draw.theta0), self._tensor(draw.theta1)
        self._x = self._tensor(
            np.ascontiguousarray(draw.x.T) * net.input_factor(width)
        )  # (inputs, examples)
        self._forward = 2 * self._x if net.activation == "tanh" else self._x
        self._y = self._tensor(draw.y)
        self._minus_one = self._tensor(np.array(-1.0))
        self._batches = None if draw.batches is None else self._tensor(draw.batches, torch.int64)
        self._seen = examples if draw.batches is None else draw.batches.shape[1]
        self._tile = max(1, _TILE_BYTES[device] // (2 * width * examples * self._y.itemsize))
        self._hidden = self._empty(self._tile, width, examples)
        self._back = self._empty(self._tile, width, self._seen)
        self._out = self._empty(self._tile, 1, examples)

    def _tensor(self, array: NDArray[np.generic], dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype or self._dtype, device=self._device)

    def _empty(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self._dtype, device=self._device)

    @torch.no_grad()
    def losses(
        self,
        eta0: NDArray[np.float64],
        eta1: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Train one network per entry.

        Parameters
        ----------
        eta0, eta1
            (networks,) rates of W0 and of W1.
        offset
            (networks,) offsets added to W0.

        Returns
        -------
        (networks, steps) loss over all examples before each step, float64. All losses after one
        that is not finite are NaN.
        """
        steps, state = self._net.steps, self._start(eta0, eta1, offset)
        curves = self._empty(steps, len(eta0)).fill_(math.nan)
        moving = torch.arange(len(eta0), device=self._device)
        settled = moving[:0]  # networks whose hidden layer stays unchanged
        for start in range(0, steps, _BLOCK):
            block = slice(start, min(start + _BLOCK, steps))
            for indices in _parts(settled, self._tile):
                curves[block, indices] = self._advance_output(state, indices, block)
            settles = torch.zeros(len(eta0), dtype=torch.bool, device=self._device)
            for indices in _parts(moving, self._tile):
                curves[block, indices], settles[indices] = self._advance(state, indices, block)
            finite = torch.isfinite(curves[block]).all(0)
            settled = torch.cat([settled[finite[settled]], moving[(finite & settles)[moving]]])
            moving = moving[(finite & ~settles)[moving]]
        losses = curves.T.cpu().numpy().astype(np.float64)
        ended = np.logical_or.accumulate(~np.isfinite(losses), axis=1)
        losses[:, 1:][ended[:, :-1]] = math.nan
        return losses

    def _start(
        self,
        eta0: NDArray[np.float64],
        eta1: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> "_State":
        count = len(eta0)
        w0 = self._theta0[:, None, :].repeat(1, count, 1)
        rates = (self._tensor(values)[:, None] for values in (eta0, eta1, offset))
        state = _State(w0, self._theta1.repeat(count, 1), *rates)
        if self._net.offset_mode == "init":
            state.w0 += state.offset
        return state

    def _advance(
        self, state: "_State", indices: torch.Tensor, block: slice
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Advance the networks `indices` by the steps `block`.

        Returns
        -------
        (steps, networks) losses, and (networks,) bool: True for networks whose hidden layer stays
        unchanged to the end.
        """
        w0, w1 = state.w0[:, indices], state.w1[indices]
        rate0, rate1, offset = state.rate0[indices], state.rate1[indices], state.offset[indices]
        drift = self._net.offset_mode == "per_step" and bool(offset.any())
        hidden, back = self._hidden[: len(indices)], self._back[: len(indices)]
        slope, losses = torch.empty_like(w0), self._empty(block.stop - block.start, len(indices))
        for row, step in enumerate(range(block.start, block.stop)):
            if drift:
                w0 += offset
            self._hide(w0, hidden)
            error, losses[row] = self._error(w1, hidden)
            error, h, x = self._minibatch(step, error, hidden)
            self._backward(error, h, back)
            torch.mm(x, back.view(-1, self._seen).T, out=slope.view(len(x), -1))
            w0.addcmul_(slope, w1 * rate0, value=-1)
            w1.addcmul_(torch.bmm(error, h.mT)[:, 0], rate1, value=-1)
        state.w0[:, indices], state.w1[indices] = w0, w1
        left = self._net.steps - block.stop if drift else 0
        return losses, self._saturated(w0, hidden, left * offset)

    def _advance_output(self, state: "_State", indices: torch.Tensor, block: slice) -> torch.Tensor:
        """Advance networks whose hidden layer stays unchanged; return (steps, networks) losses."""
        w1, rate1 = state.w1[indices], state.rate1[indices]
        hidden = self._hidden[: len(indices)]
        losses = self._empty(block.stop - block.start, len(indices))
        self._hide(state.w0[:, indices], hidden)
        for row, step in enumerate(range(block.start, block.stop)):
            error, losses[row] = self._error(w1, hidden)
            error, h, _ = self._minibatch(step, error, hidden)
            w1.addcmul_(torch.bmm(error, h.mT)[:, 0], rate1, value=-1)
        state.w1[indices] = w1
        return losses

    def _saturated(
        self, w0: torch.Tensor, hidden: torch.Tensor, drift: torch.Tensor
    ) -> torch.Tensor:
        """Find networks whose W0 never gets a gradient again.

        Returns
        -------
        (networks,) bool: True if every tanh unit is exactly 1 or -1 on every example, now and after
        `drift`. Between these two times z moves along a line.
        """
        if self._net.activation != "tanh":
            return torch.zeros(len(hidden), dtype=torch.bool, device=self._device)
        # The first example is nearly always enough to see that a network is not saturated.
        saturated = (hidden[:, :, 0].abs() == 1).all(1)
        if saturated.any():
            now = self._forward.T @ w0[:, saturated].flatten(1)
            end = self._forward.T @ (w0[:, saturated] + drift[saturated]).flatten(1)
            stays = (torch.minimum(now.abs(), end.abs()) > _SATURATED) & (now.sign() == end.sign())
            saturated[saturated.clone()] = stays.view(-1, *w0[0, saturated].shape).all(2).all(0)
        return saturated

    def _hide(self, w0: torch.Tensor, hidden: torch.Tensor) -> None:
        """Fill `hidden` with the hidden layers.

        tanh is computed as 2 sigmoid(2 z) - 1, which is seven times as fast and off by 2e-16 at
        most.
        """
        torch.mm(w0.view(len(w0), -1).T, self._forward, out=hidden.view(-1, hidden.shape[2]))
        if self._net.activation == "tanh":
            hidden.clamp_(-_SATURATED, _SATURATED)  # beyond 700, exp takes three times as long
            torch.sigmoid(hidden, out=hidden)
            torch.add(self._minus_one, hidden, alpha=2, out=hidden)
        elif self._net.activation == "relu":
            hidden.clamp_min_(0)

    def _error(self, w1: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (networks, 1, examples) out - y, and (networks,) losses."""
        error = self._out[: len(w1)]
        torch.bmm((w1 * self._readout)[:, None, :], hidden, out=error)
        error -= self._y
        return error, torch.bmm(error, error.mT)[:, 0, 0] / len(self._y)

    def _minibatch(
        self, step: int, error: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return d loss / d(h W1), hidden layers and inputs of the examples of a step."""
        error *= 2 / self._seen * self._readout
        if self._batches is None:
            return error, hidden, self._x
        batch = self._batches[step]
        return error[:, :, batch], hidden[:, :, batch], self._x[:, batch]

    def _backward(self, error: torch.Tensor, hidden: torch.Tensor, back: torch.Tensor) -> None:
        """Fill `back` (networks, units, examples) with ``error * act'``, without the gain."""
        if self._net.activation == "tanh":
            torch.ops.aten.tanh_backward.grad_input(error, hidden, grad_input=back)
        elif self._net.activation == "relu":
            torch.ops.aten.threshold_backward.grad_input(error, hidden, 0, grad_input=back)
        else:
            back.copy_(error.expand_as(back))


def _parts(indices: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    # split of an empty tensor would give one empty part
    return indices.split(size) if len(indices) else ()


@dataclass
class _State:
    """Weights and rates of the networks.

    w0 is (inputs, networks, units), w1 (networks, units), the others are (networks, 1).
    """

    w0: torch.Tensor
    w1: torch.Tensor
    rate0: torch.Tensor
    rate1: torch.Tensor
    offset: torch.Tensor
