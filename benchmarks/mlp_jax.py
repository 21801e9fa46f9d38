"""The networks of arXiv 2402.06184 in JAX, straight from the paper's formulas: the baseline.

One network is a `lax.scan` over gradient steps, many are its `vmap`. XLA is told to use one thread
before it starts, so this module has to be imported before any other that imports jax.
"""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fractal_ray.workloads.mlp.draw import Draw

os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

Floats = NDArray[np.float64]


def jax_measure(draw: Draw, steps: int, batch: int) -> Callable[[Floats, Floats], Floats]:
    """Compile ``measure(eta0, eta1)`` of tanh networks: full batch, `batch` networks to a vmap.

    Raises
    ------
    ImportError
        Without jax (`pip install '.[bench]'`).
    """
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    x, y = jnp.asarray(draw.x), jnp.asarray(draw.y)
    width = draw.theta1.size

    def loss(theta, x, y):
        hidden = jnp.tanh(jnp.sqrt(2.0) * (x @ theta[0]) / jnp.sqrt(width))
        return jnp.mean((hidden @ theta[1] / width - y) ** 2)

    def train(eta0, eta1):
        def step(theta, _):
            value, slope = jax.value_and_grad(loss)(theta, x, y)
            return (theta[0] - eta0 * slope[0], theta[1] - eta1 * slope[1]), value

        start = (jnp.asarray(draw.theta0), jnp.asarray(draw.theta1))
        return jax.lax.scan(step, start, None, length=steps)[1]

    def measure(eta0, eta1):
        v = train(eta0, eta1)
        v = jnp.where(jnp.isfinite(v), v, 1e6) / v[0]
        v = jnp.minimum(v, 1e6)
        return jnp.where(jnp.mean(v[-20:]) < 1, -jnp.sum(v), jnp.sum(1 / v))

    compiled = jax.jit(jax.vmap(measure))
    compiled(np.ones(batch), np.ones(batch)).block_until_ready()

    def run(eta0: Floats, eta1: Floats) -> Floats:
        pad = -len(eta0) % batch  # every call has the shape that was compiled
        both = [np.pad(rates, (0, pad), mode="edge").reshape(-1, batch) for rates in (eta0, eta1)]
        found = [np.asarray(compiled(*part)) for part in zip(*both, strict=True)]
        return np.concatenate(found)[: len(eta0)]

    return run
