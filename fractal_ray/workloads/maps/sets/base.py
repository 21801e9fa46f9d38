"""What a known set is: a rule that answers for any point of the plane, with its dimension."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.identity import Setting

TRAINED: Final = -1
"""Answer of a point that is in the set."""

NOT_IMPROVED: Final = -2
"""Answer of a point that is neither in the set nor escapes; only `newton` gives it."""

# A block's arrays stay in the cache of one core (256 kB each).
_BLOCK: Final = 1 << 15

Rule = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.int64]]
"""(n,) x and y -> (n,) answers: `TRAINED`, `NOT_IMPROVED`, or the step >= 0 at which it escapes."""


@dataclass(frozen=True)
class KnownSet:
    """A set of the plane whose border has a known dimension.

    Parameters
    ----------
    name
        As a spec calls it.
    parameters
        Every parameter of the rule, defaults included.
    rule
        Answers for contiguous (n,) arrays. An answer depends on its own x and y alone, bit for
        bit, whatever else is in the arrays.
    window
        ``(x min, x max, y min, y max)``, a frame that shows the set.
    dimension
        Of the border, where it is known; else None.
    source
        Who says so.
    """

    name: str
    parameters: Mapping[str, Setting]
    rule: Rule
    window: tuple[float, float, float, float]
    dimension: float | None
    source: str

    def diverged_step(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Answers for points of the plane.

        Parameters
        ----------
        x, y
            float64 of equal shape.

        Returns
        -------
        int64 of the same shape: the step (from 0) at which a point escapes, `TRAINED` (-1) or
        `NOT_IMPROVED` (-2). A set without iterations says 0 for every point outside.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if x.shape != y.shape:
            raise ValueError(f"x {x.shape} and y {y.shape} must have one shape")
        # Contiguous, because numpy may compute a strided cosine by other instructions.
        flat_x = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
        flat_y = np.ascontiguousarray(y, dtype=np.float64).reshape(-1)
        answers = np.empty(flat_x.size, dtype=np.int64)
        # A point far away overflows, and that is its answer.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            for start in range(0, answers.size, _BLOCK):
                block = slice(start, start + _BLOCK)
                answers[block] = self.rule(flat_x[block], flat_y[block])
        return answers.reshape(x.shape)

    def trained(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points are in the set: bool, shaped like `x` and `y`."""
        return self.diverged_step(x, y) == TRAINED


def from_inside(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Answers of a set without iterations: what is outside escapes at step 0."""
    return np.where(inside, TRAINED, 0)
