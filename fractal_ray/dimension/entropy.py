"""Basin entropy, boundary basin entropy, and the test for a rough border that two labels allow.

The entropy of a box is ``-sum p ln p`` over the shares p of its labels. Basin entropy is the mean
over all boxes, boundary basin entropy the mean over those with two labels and more (Daza,
Wagemakers, Georgeot, Guéry-Odelin, Sanjuán, Sci. Rep. 6, 31416 (2016)). Both in nats.

**Two tests.** Daza's test calls a border fractal if boundary basin entropy is above ln 2. A box of
two labels never has more than ln 2, so the test cannot fire with two labels and is not offered for
them. Puy's test (Puy, Daza, Wagemakers, Sanjuán, Commun. Nonlinear Sci. Numer. Simul. 95, 105588
(2021)) compares with the entropy of discs over a smooth border: 0.4395093 in the plane, and up to
``0.224 r**-1.006`` more for discs of r lattice steps. It is two-sided, and demands 1.96 standard
errors here. The published code (Attractors.jl) demands one, which alone would call a sixth of
smooth borders rough.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SMOOTH: Final = 0.4395093
"""Boundary basin entropy of discs over a smooth border in the plane, in nats (Puy 2021)."""


@dataclass(frozen=True)
class BasinEntropy:
    """Entropies of square boxes.

    Parameters
    ----------
    box
        Side of a box in nodes.
    boxes, mixed
        Number of boxes with known nodes only, and number of these with two labels or more.
    labels
        Number of different labels.
    basin
        Mean over all boxes, in nats; None without boxes.
    boundary
        Mean over mixed boxes, in nats; None without any.
    above_ln2
        True if `boundary` is above ln 2; None if two labels or fewer make that impossible.
    """

    box: int
    boxes: int
    mixed: int
    labels: int
    basin: float | None
    boundary: float | None
    above_ln2: bool | None


@dataclass(frozen=True)
class DiscTest:
    """Result of Puy's test.

    Parameters
    ----------
    radius
        Radius of the discs, in lattice steps.
    discs
        Number of mixed discs that were drawn.
    boundary
        Mean entropy of the mixed discs in nats; None without any.
    stderr
        Standard error of `boundary`, as if discs did not overlap.
    low, high
        Range of `boundary` for a smooth border.
    rough
        True if `boundary` lies outside this range; None without discs.
    """

    radius: int
    discs: int
    boundary: float | None
    stderr: float | None
    low: float
    high: float
    rough: bool | None


def basin_entropy(labels: NDArray[np.int8], *, box: int = 5) -> BasinEntropy:
    """Return the entropies of the boxes that tile a raster, from its first row and column on.

    Parameters
    ----------
    labels
        (ny, nx) int8, one number from 0 on for each label (yes and no, or three outcomes), -1 for
        nodes that are not known. Boxes with an unknown node, and nodes after the last whole box of
        a row or column, are left out.
    box
        Side of a box in nodes, at least 2.

    Raises
    ------
    ValueError
        If `box` is below 2 or larger than the raster.
    """
    if not 2 <= box <= min(labels.shape):
        raise ValueError(f"box must be 2 to {min(labels.shape)} nodes; given {box}")
    rows, columns = (size // box for size in labels.shape)
    tiled = labels[: rows * box, : columns * box].reshape(rows, box, columns, box)
    known = (tiled >= 0).all(axis=(1, 3))
    kinds = [kind for kind in np.unique(labels).tolist() if kind >= 0]
    shares = np.array([(tiled == kind).mean(axis=(1, 3))[known] for kind in kinds])
    entropy = _entropy(shares)
    mixed = entropy[entropy > 0]
    boundary = float(mixed.mean()) if mixed.size else None
    return BasinEntropy(
        box=box,
        boxes=entropy.size,
        mixed=mixed.size,
        labels=len(kinds),
        basin=float(entropy.mean()) if entropy.size else None,
        boundary=boundary,
        above_ln2=boundary > math.log(2) if boundary is not None and len(kinds) > 2 else None,
    )


def disc_test(
    labels: NDArray[np.int8], *, radius: int = 20, discs: int = 1000, seed: int = 0
) -> DiscTest:
    """Compare the entropy of discs with their entropy over a smooth border.

    Parameters
    ----------
    labels
        Labels as in `basin_entropy`; discs with a node that is not known are left out.
    radius
        Radius of the discs in lattice steps, at least 1; Attractors.jl has 20. If the pieces or
        bends of a smooth border are no larger than the radius, the border reads rough.
    discs
        Number of mixed discs to draw; at most fifty times this number are tried.
    seed
        Seed of the places of the discs.

    Raises
    ------
    ValueError
        If a disc does not fit into the raster.
    """
    if radius < 1 or 2 * radius + 1 > min(labels.shape):
        raise ValueError(f"a disc of radius {radius} does not fit {labels.shape} nodes")
    offsets = np.argwhere(np.hypot(*np.indices((2 * radius + 1,) * 2) - radius) <= radius)
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, np.array(labels.shape) - 2 * radius, size=(50 * discs, 2))
    kinds = [kind for kind in np.unique(labels).tolist() if kind >= 0]
    entropies: list[float] = []
    for row, column in corners:
        inside = labels[offsets[:, 0] + row, offsets[:, 1] + column]
        first = inside[0]
        if (inside >= 0).all() and (inside != first).any():
            shares = np.array([[(inside == kind).mean()] for kind in kinds])
            entropies.append(float(_entropy(shares)[0]))
            if len(entropies) == discs:
                break
    bias = 0.224 * radius**-1.006
    if len(entropies) < 2:
        return DiscTest(radius, len(entropies), None, None, SMOOTH, SMOOTH + bias, None)
    mean, stderr = float(np.mean(entropies)), float(np.std(entropies) / math.sqrt(len(entropies)))
    low, high = SMOOTH - 1.96 * stderr, SMOOTH + bias + 1.96 * stderr
    return DiscTest(radius, len(entropies), mean, stderr, low, high, not low <= mean <= high)


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy, in nats, of (labels, boxes) shares."""
    if not shares.size:
        return np.zeros(0)
    return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=0)
