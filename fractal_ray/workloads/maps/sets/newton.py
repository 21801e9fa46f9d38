"""The basins of Newton's method on ``z**3 - 1``: three basins with one common border."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.workloads.maps.sets.base import NOT_IMPROVED, TRAINED, KnownSet

# Within this distance r of a root w Newton's method moves closer at every step, because
# |N(z) - w| <= r**2 (3 + 2 r) / (3 (1 - r)**2) < r for all r < 0.34.
_TRAP: Final = 0.3


def newton(steps: int = 200) -> KnownSet:
    """Return the basins of the roots of ``z**3 = 1`` under Newton's method; D = 1.444.

    The starting point is ``z = x + iy``. This is the only known set with all three outcomes: the
    root 1 is `trained`, ``(-1 + i sqrt 3) / 2`` is `not_improved`, ``(-1 - i sqrt 3) / 2`` is
    `diverged`. Every border point touches all three basins, so the borders of `trainable` and of
    `stable` have equal dimensions, but different cells.

    Parameters
    ----------
    steps
        Number of steps, at least 1; a point that is near no root after them is `diverged`. Only
        points of the border itself need more than about 100.

    Raises
    ------
    ValueError
        If `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1; given {steps}")
    return KnownSet(
        name="newton",
        parameters={"steps": steps},
        rule=lambda x, y: _basins(x, y, steps),
        window=(-2.0, 2.0, -2.0, 2.0),
        dimension=1.444,
        source="no closed form: sum over preimages, 1.4449 to 1.4444 as they go deeper (the 1.42 of"
        " Attractors.jl is a box count)",
    )


def _basins(re: NDArray[np.float64], im: NDArray[np.float64], steps: int) -> NDArray[np.int64]:
    answers = np.full(re.size, steps, dtype=np.int64)
    index = np.arange(re.size)
    for step in range(steps):
        left = np.ones(index.size, dtype=np.bool_)
        for root_im, answer in (
            (0.0, TRAINED),
            (math.sqrt(0.75), NOT_IMPROVED),
            (-math.sqrt(0.75), step),
        ):
            root_re = 1.0 if root_im == 0 else -0.5
            near = (re - root_re) ** 2 + (im - root_im) ** 2 < _TRAP**2
            answers[index[near]] = answer
            left &= ~near
        if not left.all():
            index, re, im = index[left], re[left], im[left]
            if not index.size:
                break
        re, im = _newton_step(re, im)
    return answers


def _newton_step(
    re: NDArray[np.float64], im: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``z - (z**3 - 1) / (3 z**2) = (2 z + 1 / z**2) / 3``; not a number for z = 0."""
    square_re, square_im = re * re - im * im, 2 * (re * im)
    size = square_re * square_re + square_im * square_im
    return (2 * re + square_re / size) / 3, (2 * im - square_im / size) / 3
