"""The basin of McDonald et al. 1985, whose border is the graph of a Weierstrass function.

``x -> stretch_x x mod 1``, ``y -> stretch_y y + cos 2 pi x``: every orbit goes to plus or minus
infinity in y, and the border between the two is ``y = -sum_j stretch_y**-j cos(2 pi
stretch_x**(j-1) x)`` over j = 1, 2, ...
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.workloads.maps.sets.base import TRAINED, KnownSet

_BITS: Final = 53
"""Number of bits of a float64; after as many doublings no bit of x is left."""


def weierstrass(stretch_x: int = 2, stretch_y: float = 1.5) -> KnownSet:
    """Return the basin of minus infinity; D = 2 - ln stretch_y / ln stretch_x.

    The default has D = 1.4150; ``stretch_y: 1.1764705882352942`` (1 / 0.85) has D = 1.7655. Labels
    are exact at every depth that float64 coordinates reach, in x down to 2**-53.

    Parameters
    ----------
    stretch_x
        Factor of x, at least 2. With 2 the orbit of x is exact.
    stretch_y
        Factor of y, above 1 and below `stretch_x`; otherwise the border is smooth.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """
    if stretch_x < 2:
        raise ValueError(f"stretch_x must be at least 2; given {stretch_x}")
    if not 1 < stretch_y < stretch_x:
        raise ValueError(
            f"stretch_y must lie between 1 and stretch_x = {stretch_x}; given {stretch_y:g}"
        )
    steps = math.ceil(_BITS / math.log2(stretch_x))
    return KnownSet(
        name="weierstrass",
        parameters={"stretch_x": stretch_x, "stretch_y": stretch_y},
        rule=lambda x, y: _escape(x, y, stretch_x, stretch_y, steps),
        window=(0.0, 1.0, -0.5, 0.5),
        dimension=2 - math.log(stretch_y) / math.log(stretch_x),
        source="McDonald, Grebogi, Ott, Yorke, Physica D 17, 125 (1985)",
    )


def _escape(
    x: NDArray[np.float64], y: NDArray[np.float64], stretch_x: int, stretch_y: float, steps: int
) -> NDArray[np.int64]:
    """Return the step after which y can only grow; `TRAINED` if y can only fall."""
    # Beyond this limit |y| grows by more than the cosine can reduce it.
    sure = 1 / (stretch_y - 1)
    answers = np.empty(x.size, dtype=np.int64)
    index = np.arange(x.size)
    x = x - np.floor(x)
    for step in range(steps + 1):
        # The last step decides all: float64 cannot resolve on which side of the border they lie.
        limit = sure if step < steps else 0.0
        up, down = y > limit, y <= -limit
        answers[index[up]] = step
        answers[index[down]] = TRAINED
        left = ~(up | down)
        index, x, y = index[left], x[left], y[left]
        if not index.size:
            break
        y = stretch_y * y + np.cos((2 * np.pi) * x)
        x = stretch_x * x
        x -= np.floor(x)
    return answers
