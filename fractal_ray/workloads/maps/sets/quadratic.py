"""The sets of ``z -> z**2 + c``: filled Julia sets (c fixed) and the Mandelbrot set (z0 = 0).

The iteration only adds and multiplies float64 numbers, so all machines give equal answers.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.workloads.maps.sets.base import TRAINED, KnownSet

_RABBIT: Final = complex(-0.12256116687665362, 0.7448617666197442)
"""Centre of the period-3 bulb: the root of c**3 + 2 c**2 + c + 1 in the upper half-plane."""

_LONGEST_CYCLE: Final = 64
"""Largest number of points of an attracting cycle that `_trap` finds."""


def basilica(steps: int = 2000) -> KnownSet:
    """Return the filled Julia set of ``z**2 - 1``; D = 1.2683. `steps` as in `julia`."""
    source = "McMullen, Am. J. Math. 120, 691 (1998)"
    return _julia("basilica", {"steps": steps}, -1 + 0j, steps, 1.2683, source)


def rabbit(steps: int = 2000) -> KnownSet:
    """Return Douady's rabbit, c = -0.1226 + 0.7449i; D = 1.3934. `steps` as in `julia`."""
    source = "McMullen, Am. J. Math. 120, 691 (1998)"
    return _julia("rabbit", {"steps": steps}, _RABBIT, steps, 1.3934, source)


def julia(c_re: float, c_im: float, steps: int = 2000) -> KnownSet:
    """Return the filled Julia set of ``z**2 + c``, ``z = x + iy``.

    Parameters
    ----------
    c_re, c_im
        The constant c.
    steps
        Number of steps, at least 1; a point that has not escaped after them counts as inside. With
        an attracting cycle (c inside the Mandelbrot set) nearly every point is decided earlier;
        without one `steps` sets the resolution of the border.

    Raises
    ------
    ValueError
        If `steps` is below 1.
    """
    return _julia(
        "julia",
        {"c_re": c_re, "c_im": c_im, "steps": steps},
        complex(c_re, c_im),
        steps,
        None,
        "no closed form; 1.2683 for c = -1, 1.3934 for the rabbit (McMullen 1998)",
    )


def mandelbrot(steps: int = 1000) -> KnownSet:
    """Return the Mandelbrot set, ``c = x + iy``; D = 2.

    Estimates from rasters are far below 2, because the border fills the plane only in the limit. Do
    not use this set to judge an estimator.

    Parameters
    ----------
    steps
        Number of steps, at least 1; a point that has not escaped after them counts as inside.

    Raises
    ------
    ValueError
        If `steps` is below 1.
    """
    _check_steps(steps)
    return KnownSet(
        name="mandelbrot",
        parameters={"steps": steps},
        rule=lambda x, y: _mandelbrot(x, y, steps),
        window=(-2.0, 0.5, -1.25, 1.25),
        dimension=2.0,
        source="Shishikura, Ann. Math. 147, 225 (1998)",
    )


def _julia(
    name: str,
    parameters: dict[str, float | int],
    c: complex,
    steps: int,
    dimension: float | None,
    source: str,
) -> KnownSet:
    _check_steps(steps)
    centre, radius = _trap(c)
    escape = max(2.0, abs(c))  # beyond this |z| only grows
    side = 0.5 + math.sqrt(0.25 + abs(c))  # no point of the set is further out
    return KnownSet(
        name=name,
        parameters=parameters,
        rule=lambda x, y: _iterate(x, y, c.real, c.imag, steps, escape**2, centre, radius**2),
        window=(-side, side, -side, side),
        dimension=dimension,
        source=source,
    )


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1; given {steps}")


def _trap(c: complex) -> tuple[complex, float]:
    """Return the centre and radius of a disc from which no orbit escapes.

    The disc lies around a point of the attracting cycle. Its radius is 0 if there is no such cycle
    of `_LONGEST_CYCLE` points or fewer. The critical orbit finds the cycle, if there is one
    (Fatou). A disc of radius r around w is mapped into a disc of radius ``2 |w| r + r**2`` around
    ``w**2 + c``; after one turn around the cycle it must have shrunk.
    """
    z = 0j
    for _ in range(10_000):
        z = z * z + c
        if abs(z) > max(2.0, abs(c)):
            return 0j, 0.0
    cycle = [z]
    while len(cycle) < _LONGEST_CYCLE and abs(cycle[-1] ** 2 + c - z) > 1e-12:
        cycle.append(cycle[-1] ** 2 + c)
    if abs(cycle[-1] ** 2 + c - z) > 1e-12:
        return 0j, 0.0
    discs = [(w, _radius(cycle[i:] + cycle[:i])) for i, w in enumerate(cycle)]
    return max(discs, key=lambda disc: disc[1])


def _radius(cycle: list[complex]) -> float:
    """Return the largest of 1, 0.9, 0.81, ... whose disc around ``cycle[0]`` shrinks, or 0."""
    radius = 1.0
    while radius > 1e-6:
        image = radius
        for w in cycle:
            image = 2 * abs(w) * image + image**2
        if image < 0.99 * radius:
            return radius
        radius *= 0.9
    return 0.0


def _mandelbrot(x: NDArray[np.float64], y: NDArray[np.float64], steps: int) -> NDArray[np.int64]:
    """Return the answers: of the two largest components by formula, of the rest by iteration."""
    shifted = (x - 0.25) ** 2 + y**2
    cardioid = shifted * (shifted + (x - 0.25)) < 0.25 * y**2
    left = np.flatnonzero(~cardioid & ((x + 1) ** 2 + y**2 >= 0.0625))
    answers = np.full(x.size, TRAINED, dtype=np.int64)
    zero = np.zeros(left.size)
    answers[left] = _iterate(zero, zero, x[left], y[left], steps, 4.0, 0j, 0.0)
    return answers


def _iterate(
    re: NDArray[np.float64],
    im: NDArray[np.float64],
    c_re: NDArray[np.float64] | float,
    c_im: NDArray[np.float64] | float,
    steps: int,
    escape: float,
    centre: complex,
    trap: float,
) -> NDArray[np.int64]:
    """Return the first step at which ``|z|**2 > escape``.

    The answer is `TRAINED` if there is no such step up to `steps`, or if the orbit enters the disc
    ``|z - centre|**2 < trap`` earlier.
    """
    answers = np.full(re.size, TRAINED, dtype=np.int64)
    index = np.arange(re.size)
    for step in range(steps + 1):
        re2, im2 = re * re, im * im
        out = re2 + im2 > escape
        answers[index[out]] = step
        left = ~out
        if trap:
            left &= (re - centre.real) ** 2 + (im - centre.imag) ** 2 >= trap
        if not left.all():
            index, re, im, re2, im2 = index[left], re[left], im[left], re2[left], im2[left]
            if isinstance(c_re, np.ndarray) and isinstance(c_im, np.ndarray):
                c_re, c_im = c_re[left], c_im[left]
            if not index.size:
                break
        im = 2 * (re * im) + c_im
        re = re2 - im2 + c_re
    return answers
