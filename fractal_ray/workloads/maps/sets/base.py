"""The known set: a rule that answers for any point of the plane, with its dimension."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.identity import Setting

TRAINED: Final = -1
"""Answer for a point that is in the set."""

NOT_IMPROVED: Final = -2
"""Answer for a point that is not in the set and does not escape; only `newton` gives it."""

_BLOCK: Final = 1 << 15
"""Number of points per block; its arrays (256 kB each) stay in the cache of one core."""

Rule = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.int64]]
"""Function from (n,) x and y to (n,) answers.

An answer is `TRAINED`, `NOT_IMPROVED`, or the step >= 0 at which the point escapes.
"""


@dataclass(frozen=True)
class KnownSet:
    """A set of the plane whose border has a known dimension.

    Parameters
    ----------
    name
        Name of the set in specs.
    parameters
        Every parameter of the rule, defaults included.
    rule
        Function that answers for contiguous (n,) arrays. An answer depends only on the bits of its
        own x and y, not on the other points in the arrays.
    window
        ``(x min, x max, y min, y max)``, a frame that shows the set.
    dimension
        Dimension of the border; None if it is not known.
    source
        Reference for the dimension.
    """

    name: str
    parameters: Mapping[str, Setting]
    rule: Rule
    window: tuple[float, float, float, float]
    dimension: float | None
    source: str

    def diverged_step(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the answers for points of the plane.

        Parameters
        ----------
        x, y
            float64 of equal shape.

        Returns
        -------
        int64 of the shape of `x`: the step (from 0) at which a point escapes, `TRAINED` (-1) or
        `NOT_IMPROVED` (-2). A set without iterations answers 0 for every point outside.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if x.shape != y.shape:
            raise ValueError(f"x {x.shape} and y {y.shape} must have one shape")
        # Contiguous, because numpy may compute the cosine of strided arrays differently.
        flat_x = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
        flat_y = np.ascontiguousarray(y, dtype=np.float64).reshape(-1)
        answers = np.empty(flat_x.size, dtype=np.int64)
        # A point far away overflows to inf or nan, which counts as an escape.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            for start in range(0, answers.size, _BLOCK):
                block = slice(start, start + _BLOCK)
                answers[block] = self.rule(flat_x[block], flat_y[block])
        return answers.reshape(x.shape)

    def trained(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return True for points in the set, in an array of the shape of `x`."""
        return self.diverged_step(x, y) == TRAINED


def from_inside(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the answers of a set without iterations: points outside escape at step 0."""
    return np.where(inside, TRAINED, 0)
