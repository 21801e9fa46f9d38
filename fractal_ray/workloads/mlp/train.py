"""Many small networks trained side by side, each with rates of its own.

The network of Sohl-Dickstein (arXiv 2402.06184), without biases: ``h = act(x W0 gain / sqrt(n))``,
``out = h W1 readout``, ``loss = mean((out - y)^2)``, plain gradient descent. All networks share
the examples, so that their hidden layers are one large product of matrices. They advance by a few
steps at a time, in tiles whose hidden layers stay in the cache; between these blocks networks whose
loss is no longer finite leave. So what is in a tile depends on who else is there, and a network's
numbers do not, but for last bits: a matrix product orders its sums by its shape.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_ray.workloads.mlp.draw import Draw
from fractal_ray.workloads.mlp.net import Net

_BLOCK = 10
"""Steps between looks at who has diverged."""
_TILE_BYTES = {"cpu": 1 << 21, "cuda": 1 << 30}
"""Of hidden layers and their gradients: a core's second-level cache or two; part of a GPU."""
_SATURATED = 40.0
"""Of 2 z: from 38 on, 2 sigmoid(2 z) - 1 is 1 in float64."""


class Trainer:
    """The networks' shared data on one device.

    Parameters
    ----------
    net
        The kind of network.
    draw
        Initial weights, examples and the order of minibatches.
    dtype
        Arithmetic of everything.
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
            (networks,) what is added to W0.

        Returns
        -------
        (networks, steps) loss over all examples before each step, float64. All that follow one
        that is not finite are NaN.
        """
        steps, state = self._net.steps, self._start(eta0, eta1, offset)
        curves = self._empty(steps, len(eta0)).fill_(math.nan)
        moving = torch.arange(len(eta0), device=self._device)
        settled = moving[:0]  # networks whose hidden layer stays as it is
        for start in range(0, steps, _BLOCK):
            block = slice(start, min(start + _BLOCK, steps))
            for who in _parts(settled, self._tile):
                curves[block, who] = self._advance_output(state, who, block)
            settles = torch.zeros(len(eta0), dtype=torch.bool, device=self._device)
            for who in _parts(moving, self._tile):
                curves[block, who], settles[who] = self._advance(state, who, block)
            finite = torch.isfinite(curves[block]).all(0)
            settled = torch.cat([settled[finite[settled]], moving[(finite & settles)[moving]]])
            moving = moving[(finite & ~settles)[moving]]
        found = curves.T.cpu().numpy().astype(np.float64)
        ended = np.logical_or.accumulate(~np.isfinite(found), axis=1)
        found[:, 1:][ended[:, :-1]] = math.nan
        return found

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
        self, state: "_State", who: torch.Tensor, block: slice
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The steps `block` of the networks `who`: (steps, networks) losses, and (networks,) whose
        hidden layer will stay as it is to the end."""
        w0, w1 = state.w0[:, who], state.w1[who]
        rate0, rate1, offset = state.rate0[who], state.rate1[who], state.offset[who]
        drift = self._net.offset_mode == "per_step" and bool(offset.any())
        hidden, back = self._hidden[: len(who)], self._back[: len(who)]
        slope, losses = torch.empty_like(w0), self._empty(block.stop - block.start, len(who))
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
        state.w0[:, who], state.w1[who] = w0, w1
        left = self._net.steps - block.stop if drift else 0
        return losses, self._saturated(w0, hidden, left * offset)

    def _advance_output(self, state: "_State", who: torch.Tensor, block: slice) -> torch.Tensor:
        """`_advance` of networks whose hidden layer stays as it is."""
        w1, rate1 = state.w1[who], state.rate1[who]
        hidden = self._hidden[: len(who)]
        losses = self._empty(block.stop - block.start, len(who))
        self._hide(state.w0[:, who], hidden)
        for row, step in enumerate(range(block.start, block.stop)):
            error, losses[row] = self._error(w1, hidden)
            error, h, _ = self._minibatch(step, error, hidden)
            w1.addcmul_(torch.bmm(error, h.mT)[:, 0], rate1, value=-1)
        state.w1[who] = w1
        return losses

    def _saturated(
        self, w0: torch.Tensor, hidden: torch.Tensor, drift: torch.Tensor
    ) -> torch.Tensor:
        """Which networks have every unit of tanh at exactly 1 or -1 on every example, now and after
        `drift`: their W0 gets no gradient ever again. Between, z moves along a line."""
        if self._net.activation != "tanh":
            return torch.zeros(len(hidden), dtype=torch.bool, device=self._device)
        found = (hidden[:, :, 0].abs() == 1).all(1)  # nearly always enough to see that it is not
        if found.any():
            now = self._forward.T @ w0[:, found].flatten(1)
            end = self._forward.T @ (w0[:, found] + drift[found]).flatten(1)
            stays = (torch.minimum(now.abs(), end.abs()) > _SATURATED) & (now.sign() == end.sign())
            found[found.clone()] = stays.view(-1, *w0[0, found].shape).all(2).all(0)
        return found

    def _hide(self, w0: torch.Tensor, hidden: torch.Tensor) -> None:
        """Hidden layers. tanh as 2 sigmoid(2 z) - 1, off by 2e-16 at most: seven times as fast."""
        torch.mm(w0.view(len(w0), -1).T, self._forward, out=hidden.view(-1, hidden.shape[2]))
        if self._net.activation == "tanh":
            hidden.clamp_(-_SATURATED, _SATURATED)  # beyond 700, exp takes three times as long
            torch.sigmoid(hidden, out=hidden)
            torch.add(self._minus_one, hidden, alpha=2, out=hidden)
        elif self._net.activation == "relu":
            hidden.clamp_min_(0)

    def _error(self, w1: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(networks, 1, examples) out - y, and (networks,) losses."""
        error = self._out[: len(w1)]
        torch.bmm((w1 * self._readout)[:, None, :], hidden, out=error)
        error -= self._y
        return error, torch.bmm(error, error.mT)[:, 0, 0] / len(self._y)

    def _minibatch(
        self, step: int, error: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the examples that a step learns from: d loss / d(h W1), hidden layers, inputs."""
        error *= 2 / self._seen * self._readout
        if self._batches is None:
            return error, hidden, self._x
        batch = self._batches[step]
        return error[:, :, batch], hidden[:, :, batch], self._x[:, batch]

    def _backward(self, error: torch.Tensor, hidden: torch.Tensor, back: torch.Tensor) -> None:
        """``back = error * act'``, (networks, units, examples), without the gain."""
        if self._net.activation == "tanh":
            torch.ops.aten.tanh_backward.grad_input(error, hidden, grad_input=back)
        elif self._net.activation == "relu":
            torch.ops.aten.threshold_backward.grad_input(error, hidden, 0, grad_input=back)
        else:
            back.copy_(error.expand_as(back))


def _parts(who: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    return who.split(size) if len(who) else ()  # split gives one empty part of nothing


@dataclass
class _State:
    """w0 is (inputs, networks, units), w1 (networks, units), the rest (networks, 1)."""

    w0: torch.Tensor
    w1: torch.Tensor
    rate0: torch.Tensor
    rate1: torch.Tensor
    offset: torch.Tensor
