"""The trainer compiled by numba: one network after the other, all its steps inside the cache.

It computes the formulas of `train.py` in float64 on a CPU. Every loop runs over whole vectors of
examples, so that the compiler fills AVX-512 registers if the processor has them, and nothing leaves
the second-level cache. The bits of a network do not depend on the other networks in its tile.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fractal_ray.workloads.mlp.draw import Draw
from fractal_ray.workloads.mlp.kernels import IDENTITY, INPUTS, RELU, TANH, train
from fractal_ray.workloads.mlp.net import Net

Floats = NDArray[np.float64]

_VECTOR = 8
"""Numbers in a cache line; examples are padded to a multiple of it with zeros."""
_KINDS = {"tanh": TANH, "relu": RELU, "identity": IDENTITY}


class FusedTrainer:
    """The trainer of many networks in float64 on a CPU, with the interface of `train.Trainer`.

    Parameters
    ----------
    net, draw
        As for `Trainer`.
    threads
        Number of networks that are trained at a time.
    """

    def __init__(self, net: Net, draw: Draw, threads: int) -> None:
        self._net, self._threads = net, threads
        examples, width = draw.x.shape
        inputs, rows = _whole(width, INPUTS), _whole(examples, _VECTOR)
        # tanh(z) is a function of exp(2 z): the factor 2 goes into x, and out of the rates.
        twice = 2.0 if net.activation == "tanh" else 1.0
        self._rate_factor = 1 / twice
        self._theta0 = _aligned(_whole(width, 2), inputs)
        self._theta0[:width, :width] = draw.theta0.T
        self._theta1 = _aligned(len(self._theta0))
        self._theta1[:width] = draw.theta1
        self._x, self._y = _aligned(inputs, rows), _aligned(rows)
        self._x[:width, :examples] = draw.x.T * (net.input_factor(width) * twice)
        self._y[:examples] = draw.y
        # A copy: Ray's arrays are read-only, which is another type that numba compiles again.
        self._batches = np.array(np.empty((0, 0)) if draw.batches is None else draw.batches, int)
        self._sizes = width, examples
        self._per_step = net.offset_mode == "per_step"

    def losses(self, eta0: Floats, eta1: Floats, offset: Floats) -> Floats:
        """Train one network per entry, as `Trainer.losses` does."""
        curves = np.full((len(eta0), self._net.steps), math.nan)
        rates = np.stack([eta0 * self._rate_factor, eta1, offset], axis=1)
        with ThreadPoolExecutor(self._threads) as pool:
            # Neighbours take about equally long, so every thread gets networks of all regions.
            jobs = [(part, self._threads) for part in range(self._threads)]
            list(pool.map(lambda job: self._train(rates, curves, *job), jobs))
        return curves

    def _train(self, rates: Floats, curves: Floats, first: int, stride: int) -> None:
        units, inputs, rows = *self._theta0.shape, len(self._y)
        width, examples = self._sizes
        step_examples = self._batches.shape[1] or examples
        batch = _whole(step_examples, _VECTOR)
        train(
            rates,
            curves,
            (first, stride, width, examples, step_examples),
            (_KINDS[self._net.activation], self._net.output_factor(width), self._per_step),
            (self._theta0, self._theta1, self._y, self._batches),
            (self._x, _aligned(units, rows), _aligned(rows)),
            (_aligned(inputs, batch), _aligned(units, batch), _aligned(batch)),
            (_aligned(units, inputs), _aligned(units, inputs), _aligned(units), _aligned(units)),
        )


def _whole(count: int, parts: int) -> int:
    return -(-count // parts) * parts


def _aligned(*shape: int) -> Floats:
    """Return zeros that begin at a cache line; vectors across two lines halve the speed."""
    size = math.prod(shape)
    room = np.zeros(size + _VECTOR)
    start = -(room.ctypes.data // room.itemsize) % _VECTOR
    return room[start : start + size].reshape(shape)
