"""The sets of gradient descent on Liu's functions of one variable (arXiv 2406.13971).

x is the learning rate, y the starting point: the published sets are the line ``y = 1``. A run
diverges at the first step whose loss is above `bound`.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.hashing import uniform_at
from fractal_ray.plane.identity import Setting
from fractal_ray.workloads.maps.sets.base import TRAINED, KnownSet, Rule

_Function = Callable[
    [NDArray[np.float64], float, float], tuple[NDArray[np.float64], NDArray[np.float64]]
]
"""A function ``(position, eps, lam) -> (loss, gradient)``."""

_LINE: Final = "arXiv 2406.13971, on lines of one starting point, over 2**4 to 2**31 cells:"


def liu_multiplicative(
    eps: float = 0.2, lam: float = 0.1, bound: float = 1e8, steps: int = 1000
) -> KnownSet:
    """Return the set of ``f(z) = z**2 (1 + eps cos(2 pi z / lam))``; published D 0.8375 on a line.

    Parameters
    ----------
    eps
        Height of the ripple relative to the bowl ``z**2``; with 0 only the bowl is left, which
        trains below a learning rate of 1.
    lam
        Wavelength of the ripple, above 0.
    bound
        Loss above which a run has diverged, above 0. For small ripples the dimension depends on it.
    steps
        Steps of gradient descent, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """
    source = f"{_LINE} 0.8375 +- 0.0042 for the defaults"
    return _liu("liu_multiplicative", _multiplicative, eps, lam, bound, steps, source)


def liu_additive(
    eps: float = 0.2, lam: float = 0.1, bound: float = 1e8, steps: int = 1000
) -> KnownSet:
    """Return the set of ``f(z) = z**2 + eps cos(2 pi z / lam)``; published D 0.9956 on a line.

    The border is one point while the function is convex, ``eps / lam**2 <= 1 / (2 pi**2)``.
    Parameters and errors as for `liu_multiplicative`. Labels near the border differ between
    machines that round a cosine differently.
    """
    source = f"{_LINE} 0.9956 +- 0.0050 for the defaults"
    return _liu("liu_additive", _additive, eps, lam, bound, steps, source)


def liu_redrawn(
    eps: float = 0.2, lam: float = 0.1, bound: float = 1e8, steps: int = 1000, seed: int = 0
) -> KnownSet:
    """Return the set of `liu_multiplicative` with a new starting point for every run.

    It is a trap for estimators: it has no border. The starting point is y times a number in [-1, 1)
    that a hash of the point draws, so neighbours are independent and labels are noise. Figures S4
    and S5 of arXiv 2406.13971 draw starting points in this way, and find D = 1.0 on a line.

    Parameters
    ----------
    eps, lam, bound, steps
        As for `liu_multiplicative`.
    seed
        Seed of the starting points.
    """
    plain = _liu("liu_redrawn", _multiplicative, eps, lam, bound, steps, "")
    return KnownSet(
        name="liu_redrawn",
        parameters={**plain.parameters, "seed": seed},
        rule=lambda x, y: plain.rule(x, y * (2 * uniform_at(x, y, seed) - 1)),
        window=plain.window,
        dimension=2.0,
        source="label noise: independent starting points (arXiv 2406.13971, figures S4 and S5)",
    )


def _liu(
    name: str,
    function: _Function,
    eps: float,
    lam: float,
    bound: float,
    steps: int,
    source: str,
) -> KnownSet:
    if not (lam > 0 and bound > 0 and steps >= 1):
        raise ValueError(
            "lam and bound must be above 0 and steps at least 1; given"
            f" lam = {lam:g}, bound = {bound:g}, steps = {steps}"
        )
    parameters: dict[str, Setting] = {"eps": eps, "lam": lam, "bound": bound, "steps": steps}
    return KnownSet(
        name=name,
        parameters=parameters,
        rule=_descent(function, eps, lam, bound, steps),
        window=(0.0, 1.5, 0.5, 1.5),
        dimension=None,
        source=source,
    )


def _descent(function: _Function, eps: float, lam: float, bound: float, steps: int) -> Rule:
    def rule(rate: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.int64]:
        answers = np.full(rate.size, TRAINED, dtype=np.int64)
        index = np.arange(rate.size)
        position, before = start, np.full(rate.size, np.nan)
        for step in range(steps):
            loss, gradient = function(position, eps, lam)
            after = position - rate * gradient
            diverged = ~(loss <= bound)
            answers[index[diverged]] = step
            # A position that returns with equal bits after one or two steps never leaves again.
            left = ~(diverged | (after == position) | (after == before))
            index, rate = index[left], rate[left]
            position, before = after[left], position[left]
            if not index.size:
                break
        return answers

    return rule


def _multiplicative(
    position: NDArray[np.float64], eps: float, lam: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # The order of the factors changes the answers: descent is chaotic near the border, and this
    # order reproduces the published label flips exactly (tests/golden/dimension).
    angle = 2 * np.pi * position / lam
    square = position * position
    ripple = 1 + eps * np.cos(angle)
    gradient = 2 * position * ripple - 2 * np.pi * square * eps * np.sin(angle) / lam
    return square * ripple, gradient


def _additive(
    position: NDArray[np.float64], eps: float, lam: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angle = 2 * np.pi * position / lam
    loss = position * position + eps * np.cos(angle)
    return loss, 2 * position - 2 * np.pi * eps * np.sin(angle) / lam
