"""Estimators of published work, by name, for comparison with published dimensions.

None of them is recommended, and none has an interval. Each repeats the published code, flaws
included, and its docstring lists the flaws.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fractal_ray.errors import SweepError, nearest
from fractal_ray.plane.boundary import boundary_cells


@dataclass(frozen=True)
class Published:
    """Result of a published estimator.

    Parameters
    ----------
    name
        One of `ESTIMATORS`.
    dimension
        The dimension; NaN if the estimator has no answer.
    sizes, counts
        Sides of the boxes in pixels, and the numbers of boxes.
    slopes
        Local slopes if the publication has them, else empty.
    boundary_pixels
        Number of pixels that the estimator counts as border.
    """

    name: str
    dimension: float
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    slopes: tuple[float, ...]
    boundary_pixels: int


def estimate(name: str, yes: NDArray[np.bool_]) -> Published:
    """Apply a published estimator to labels.

    Parameters
    ----------
    name
        One of `ESTIMATORS`.
    yes
        (ny, nx) bool labels, at least 2 x 2. No published estimator accepts unknown labels.

    Raises
    ------
    SweepError
        If the name is unknown.
    """
    if name not in ESTIMATORS:
        raise SweepError(
            f"unknown estimator {name!r}{nearest(name, ESTIMATORS)}; allowed:"
            f" {', '.join(ESTIMATORS)}"
        )
    return ESTIMATORS[name](yes)


def sohl_dickstein(yes: NDArray[np.bool_]) -> Published:
    """Estimate as the notebook of Sohl-Dickstein 2024 (arXiv 2402.06184) does.

    It applies `porespy_boxcount` to the cells in which labels change. The notebook takes the median
    of the local slopes of many frames; this function takes the median of one frame.
    """
    return porespy_boxcount(boundary_cells(yes.astype(np.int8)).mixed)


def porespy_boxcount(mask: NDArray[np.bool_]) -> Published:
    """Estimate as porespy 3.2's `metrics.boxcount` does, by the median of its slopes.

    The numbers equal porespy's. It has ten sizes from 10 pixels (not 1) to the short side, counts
    ragged boxes at the far ends and leaves out full boxes: a dense border loses boxes, and four of
    ten slopes are of boxes larger than an eighth of the image.
    """
    sizes = np.unique(np.logspace(1, np.log10(min(mask.shape)), 10).astype(int))
    counts = []
    for size in sizes.tolist():
        sides = [np.minimum(size, side - np.arange(0, side, size)) for side in mask.shape]
        filled, area = _box_sums(mask, size), np.outer(*sides)
        counts.append(int(np.count_nonzero((filled > 0) & (filled < area))))
    slopes = np.full(sizes.size, np.nan)
    if sizes.size > 1 and min(counts) > 0:
        slopes = -np.gradient(np.log(counts), np.log(sizes))
    return Published(
        "sohl-dickstein-2024",
        float(np.median(slopes)),
        tuple(sizes.tolist()),
        tuple(counts),
        tuple(slopes.tolist()),
        int(mask.sum()),
    )


def fractal_llm(yes: NDArray[np.bool_], *, plus_one: bool = True) -> Published:
    """Estimate as morganmcg1/fractal-llm does: dilation XOR erosion, and a plain fit.

    Boxes have sides 2 .. 64 below the image's side. The border is two pixels thick and goes round
    the frame (erosion takes points outside for no), so straight lines read 1.14 to 1.25 at 64 x 64,
    and an all-trainable map 1.15.

    Parameters
    ----------
    yes
        (ny, nx) bool labels.
    plus_one
        True for ``log(count + 1)``, as in its fine-tunes and grids; False for ``log(count)`` of
        counts above 0, as in its figures.
    """
    from scipy.ndimage import binary_dilation, binary_erosion  # takes a while to import

    border = np.asarray(binary_dilation(yes), bool) ^ np.asarray(binary_erosion(yes), bool)
    sizes = np.array([size for size in (2, 4, 8, 16, 32, 64) if size < min(yes.shape)])
    counts = np.array([np.count_nonzero(_box_sums(border, size)) for size in sizes])
    used = np.ones(sizes.size, dtype=np.bool_) if plus_one else counts > 0
    dimension = _plain_slope(sizes[used], counts[used] + plus_one)
    return _published("fractal-llm", dimension, sizes, counts, border)


def attractors_jl(yes: NDArray[np.integer | np.bool_], *, sizes: range | None = None) -> Published:
    """Estimate as Attractors.jl's `basins_fractal_dimension` does.

    Its `uncertainty_exponent` is 2 minus this dimension. Whole boxes of every whole size from 3 to
    1/20 of the long side are counted if their labels differ, with a plain fit: the many coarse
    sizes weigh most, and boxes of a few pixels miss the border between them. Written from a
    description of the code and compared with the ranges of its own tests, not with its output.

    Parameters
    ----------
    yes
        (ny, nx) labels, of any number of kinds.
    sizes
        Box sizes; None for the default of Attractors.jl.
    """
    candidates = range(3, max(yes.shape) // 20 + 1) if sizes is None else sizes
    side = np.array([size for size in candidates if size <= min(yes.shape)], dtype=np.int64)
    labels = yes.astype(np.int64)
    counts = np.array([_mixed_boxes(labels, size) for size in side.tolist()], dtype=np.int64)
    some = counts > 0
    dimension = _plain_slope(side[some], counts[some])
    border = sliding_window_view(labels, (2, 2))
    mixed = border.max(axis=(2, 3)) != border.min(axis=(2, 3))
    return _published("attractors.jl", dimension, side, counts, mixed)


def torkamandi(yes: NDArray[np.bool_]) -> Published:
    """Estimate as Torkamandi (arXiv 2501.04286) does: Sobel edges, and a plain fit.

    The image is cut to 2^k pixels, and boxes have sides 2^k .. 4. Edges are two pixels thick, and
    the largest box is the whole image. Written from a description of the code, without published
    counts to compare with.
    """
    from scipy.ndimage import sobel  # takes a while to import

    image = yes.astype(np.float64)
    edges = np.hypot(np.asarray(sobel(image, axis=0)), np.asarray(sobel(image, axis=1))) > 0
    whole = 1 << min(yes.shape).bit_length() - 1
    edges = edges[:whole, :whole]
    sizes = np.array([whole >> k for k in range(max(0, whole.bit_length() - 2))])
    counts = np.array([np.count_nonzero(_box_sums(edges, size)) for size in sizes])
    some = counts > 0
    dimension = _plain_slope(sizes[some], counts[some])
    return _published("torkamandi-2025", dimension, sizes, counts, edges)


ESTIMATORS: Final[Mapping[str, Callable[[NDArray[np.bool_]], Published]]] = {
    "sohl-dickstein-2024": sohl_dickstein,
    "fractal-llm": fractal_llm,
    "attractors.jl": attractors_jl,
    "torkamandi-2025": torkamandi,
}
"""Published estimators by the names that `estimate` takes."""


def _published(
    name: str, dimension: float, sizes: NDArray, counts: NDArray, border: NDArray[np.bool_]
) -> Published:
    return Published(
        name, dimension, tuple(sizes.tolist()), tuple(counts.tolist()), (), int(border.sum())
    )


def _plain_slope(sizes: NDArray, counts: NDArray) -> float:
    if sizes.size < 2:
        return float("nan")
    return -float(np.polyfit(np.log(sizes), np.log(counts), 1)[0])


def _box_sums(mask: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Count the set pixels of each box; boxes at the far ends may be smaller."""
    rows, columns = (np.arange(0, side, size) for side in mask.shape)
    return np.add.reduceat(np.add.reduceat(mask, rows, axis=0, dtype=np.int64), columns, axis=1)


def _mixed_boxes(labels: NDArray[np.int64], size: int) -> int:
    rows, columns = (side // size for side in labels.shape)
    boxes = labels[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return int(np.count_nonzero(boxes.max(axis=(1, 3)) != boxes.min(axis=(1, 3))))
