"""Analytic loss surfaces with known optimum, and least-squares fits of their true form."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import stdtrit

from fractal_ray.analysis.advice.surface import Scale, State, Surface

Array = NDArray[np.float64]
Form = Callable[[Array, Array, Array], Array]
"""Loss at axis coordinates (u, v) for parameters; the first three are the optimum and its loss."""


def bowl(u: Array, v: Array, p: Array) -> Array:
    """Return a quadratic with a cross term."""
    s, t = u - p[0], v - p[1]
    return p[2] + p[3] * s**2 + p[4] * t**2 + p[5] * s * t


def skewed_valley(u: Array, v: Array, p: Array) -> Array:
    """Return a tilted valley: slow on the low side, steep on the high side, as losses of rates."""
    s, t = (u - p[0]) + p[5] * (v - p[1]), v - p[1]
    k = p[6]
    return p[2] + p[3] * (np.exp(k * s) - 1 - k * s) / k**2 + p[4] * t**2


def basin(u: Array, v: Array, p: Array) -> Array:
    """Return a smooth well that flattens far away from its optimum."""
    s, t = u - p[0], v - p[1]
    return p[2] + p[3] * (1 - np.exp(-(p[4] * s**2 + p[5] * t**2)))


@dataclass(frozen=True)
class Known:
    """A surface with known answers: form, parameters, frame, and a cliff on the upper right."""

    form: Form
    parameters: Array
    u: tuple[float, float]
    v: tuple[float, float]
    scales: tuple[Scale, Scale] = ("log", "log")
    cliff: Callable[[Array, Array], NDArray[np.bool_]] | None = None

    def loss(self, u: Array, v: Array) -> Array:
        """Return the loss without noise."""
        return self.form(u, v, self.parameters)

    def surface(
        self, nx: int, ny: int, noise: float, seed: int, measured: NDArray[np.bool_] | None = None
    ) -> Surface:
        """Return a sampled surface with normal noise."""
        u, v = np.linspace(*self.u, nx), np.linspace(*self.v, ny)
        uu, vv = np.meshgrid(u, v)
        rng = np.random.default_rng(seed)
        loss = self.loss(uu, vv) + noise * rng.standard_normal(uu.shape)
        broken = np.ones(uu.shape, dtype=np.int8)
        state = np.full(uu.shape, State.TRAINED, dtype=np.int8)
        if self.cliff is not None:
            over = self.cliff(uu, vv)
            broken[over], state[over] = 0, State.DEGRADED
            loss = np.where(over, loss + 5, loss)
        measured = np.ones(uu.shape, dtype=bool) if measured is None else measured
        x, y = (
            10.0**values if scale == "log" else values
            for values, scale in zip((u, v), self.scales, strict=True)
        )
        return Surface(
            loss=np.where(measured, loss, np.nan),
            state=np.where(measured, state, State.NOT_RUN).astype(np.int8),
            broken=broken,
            measured=measured,
            x=x,
            y=y,
            x_scale=self.scales[0],
            y_scale=self.scales[1],
            untouched=float(self.parameters[2]) + 3.0,
        )


def true_fit_widths(known: Known, surface: Surface) -> tuple[Array, Array]:
    """Return estimates and 95 % widths of all parameters: least squares of the true form.

    All runs that trained are its rows.
    """
    iy, ix = np.nonzero(surface.trained)
    u, v, loss = surface.u[ix], surface.v[iy], surface.loss[iy, ix]
    start = known.parameters
    done = least_squares(
        lambda p: known.form(u, v, p) - loss, start, x_scale=np.maximum(np.abs(start), 0.1)
    )
    freedom = loss.size - start.size
    variance = 2 * done.cost / freedom
    covariance = np.linalg.inv(done.jac.T @ done.jac) * variance
    return done.x, 2 * stdtrit(freedom, 0.975) * np.sqrt(np.diag(covariance))


def refined_nodes(
    size: int, keep: Callable[[Array, Array], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Return a lattice of step 4 that has step 1 near a line, as a refinement leaves it."""
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    coarse = (column % 4 == 0) & (row % 4 == 0)
    middle = (column % 2 == 0) & (row % 2 == 0) & keep(column / (size - 1), row / (size - 1) + 0.05)
    return coarse | middle | keep(column / (size - 1), row / (size - 1))


def changed(surface: Surface, **arrays: Any) -> Surface:
    """Return the surface with other arrays, and weights of its own."""
    return replace(surface, weight=np.empty(0), **arrays)
