"""Small map of a running sweep as a picture."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.figures.style import MISSING_COLOR
from fractal_ray.plane.boundary import OUTCOME_CODES, UNKNOWN
from fractal_ray.plane.palette import OUTCOME_COLORS

_WIDTH: Final = 480
"""Approximate width of a map in pixels."""
_COLORS: Final = {
    UNKNOWN: MISSING_COLOR,
    **{code: OUTCOME_COLORS[outcome] for outcome, code in OUTCOME_CODES.items()},
}


def map_picture(rows: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Paint the bins of a map, y upwards.

    Parameters
    ----------
    rows
        Codes of outcomes, lowest y first, -1 for unknown bins (`Progress.map`).

    Returns
    -------
    (height, width, 3) uint8, a square of pixels for each bin.
    """
    codes = np.array(rows, dtype=np.int64)[::-1]
    palette = np.zeros((max(_COLORS) + 2, 3), dtype=np.uint8)
    for code, color in _COLORS.items():
        palette[code + 1] = [*bytes.fromhex(color[1:])]
    side = max(1, _WIDTH // codes.shape[1])
    return np.repeat(np.repeat(palette[codes + 1], side, axis=0), side, axis=1)
