"""Range of dimensions that box counting gives for smooth borders, and the verdict that follows.

A box count of a smooth curve on a small lattice is not 1.000. Straight lines, circles and pairs of
circles are drawn as labels on a lattice of equal size and sent through `boxcount` with equal box
sizes. A measured dimension must lie outside their range before it says anything about roughness.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.box_counts import BoxCount, boxcount
from fractal_ray.plane.boundary import boundary_cells

NO_BOUNDARY: Final = "no boundary"
TOO_SMALL: Final = "too small to say"
SMOOTH: Final = "consistent with smooth"
ROUGH: Final = "rougher than smooth at these scales"

# Lines, circles, ellipses, waves and corners on 16 to 256 cells all read 0.78 or more; isolated
# flips, whose boxes stop merging as soon as each has one, read less.
_SCATTERED: Final = 0.75


def smooth_range(
    n_rows: int,
    n_cols: int,
    *,
    seed: int = 0,
    count: int = 32,
    sizes: tuple[int, ...] | None = None,
    n_boundary: int | None = None,
) -> tuple[float, float]:
    """Return the smallest and largest dimension of smooth curves (true D = 1) on this lattice.

    Parameters
    ----------
    n_rows, n_cols
        Shape of the mask of boundary *cells*, as in ``smooth_range(*cells.mixed.shape)``: one
        less than the points on each side.
    seed
        Seed of the curves' positions; equal arguments always give equal ranges.
    count
        Number of curves, at least 4: a quarter each of straight lines, circles, circles around a
        corner of large boxes and pairs of circles. A new curve of these kinds falls above the
        range with probability 1 / (count + 1).
    sizes
        Box sides to fit, as in `boxcount`; pass ``BoxCount.fit_sizes`` of the fit to be judged.
    n_boundary
        Boundary cells of the set to be judged. A small ring reads higher than a large ring, so the
        smallest circle has half as many cells; None: a radius of 1/4 of the short side.

    Returns
    -------
    ``(low, high)``; ``(nan, nan)`` where the lattice is too small for any dimension.

    Raises
    ------
    ValueError
        If `count` is below 4, or as `boxcount` does for `sizes`.
    """
    if count < 4:
        raise ValueError(f"count is {count}; a range needs at least 4 curves")
    side = min(n_rows, n_cols)
    # A circle of radius r crosses about 8 r cells.
    smallest = side / 4 if n_boundary is None else min(side / 4, max(2.0, n_boundary / 16))
    return _smooth_range(n_rows, n_cols, seed, count, sizes, smallest)


def verdict(box_count: BoxCount, smooth: tuple[float, float]) -> str:
    """Judge a box count in words.

    Parameters
    ----------
    box_count
        The box count.
    smooth
        `smooth_range` of its shape and sizes.

    Returns
    -------
    "no boundary"; "too small to say" (no dimension, a border inside two of the largest fitted
    boxes, or D below 0.75: scattered points rather than a curve); "rougher than smooth at these
    scales" (above the range); else "consistent with smooth". Sparse noise can pass for smooth, so
    the label-noise check and the local slopes belong beside this verdict.
    """
    if not box_count.n_boundary:
        return NO_BOUNDARY
    if (
        box_count.dimension is None
        or box_count.coarse_count < 3
        or box_count.dimension < _SCATTERED
    ):
        return TOO_SMALL
    if math.isnan(smooth[1]):
        return TOO_SMALL
    return ROUGH if box_count.dimension > smooth[1] else SMOOTH


@lru_cache(maxsize=64)
def _smooth_range(
    n_rows: int, n_cols: int, seed: int, count: int, sizes: tuple[int, ...] | None, smallest: float
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    dimensions = []
    for number in range(count):
        mask = _smooth_mask(rng, n_rows, n_cols, smallest, kind=number % 4)
        dimension = boxcount(mask, sizes=sizes).dimension
        if dimension is None:
            return math.nan, math.nan
        dimensions.append(dimension)
    return min(dimensions), max(dimensions)


def _smooth_mask(
    rng: np.random.Generator, n_rows: int, n_cols: int, smallest: float, kind: int
) -> NDArray[np.bool_]:
    """Return the mask, (n_rows, n_cols), of the cells that a random smooth curve crosses.

    The curve is a line (kind 0), a circle (1), a circle around a corner of large boxes (2) or two
    circles (3), which may merge. A curve that only clips a corner says nothing about the lattice,
    so lines and centres lie in the middle half of the frame. Shapes are drawn in units of one cell,
    so a circle stays a circle on any aspect ratio. Small rings, rings in the middle of four boxes
    and islands read higher than one long curve, because each loses equally few boxes at its turns
    at every size.
    """
    y = np.arange(n_rows + 1, dtype=np.float32)[:, None]
    x = np.arange(n_cols + 1, dtype=np.float32)[None, :]
    inside = np.zeros((n_rows + 1, n_cols + 1), dtype=np.bool_)
    side = min(n_rows, n_cols)
    circles = 2 if kind == 3 else 1
    for _ in range(circles):
        cy, cx = (rng.uniform(0.25, 0.75, 2) * (n_rows, n_cols)).astype(np.float32)
        if kind == 2:
            box = max(1, side // 4)
            cy, cx = np.float32(round(cy / box) * box), np.float32(round(cx / box) * box)
        if kind:
            least, most = smallest / circles, max(smallest, side / 2) / circles
            radius = least * (most / least) ** rng.uniform()
            inside |= (x - cx) ** 2 + (y - cy) ** 2 < np.float32(radius**2)
        else:
            angle = rng.uniform(0, math.pi)
            along, across = np.float32(math.cos(angle)), np.float32(math.sin(angle))
            inside |= (x - cx) * along + (y - cy) * across > 0
    return boundary_cells(inside.astype(np.int8)).mixed
