"""The optimum of a fitted surface and the 95 % interval of its location along each axis.

The interval along an axis holds all places where the slope of the profile (the loss minimised over
the other axis) does not differ from 0 by more than its standard error allows. For a sharp optimum
this is the delta method; for a flat one the interval widens until the slope is visible, as in
Fieller's theorem (Suppl. J. R. Stat. Soc. 7, 1 (1940)).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.advice.results import Interval
from fractal_ray.analysis.advice.smooth_fit import Array, SmoothFit

PLACES: Final = 161
"""Number of places along each side of the box of a fit at which it is evaluated."""

Inside = Callable[[Array, Array], NDArray[np.bool_]]
"""Function that returns True at the places (nu, nv) of a grid that lie among the fitted nodes."""


@dataclass(frozen=True)
class Location:
    """The optimum of a fit in axis coordinates.

    Parameters
    ----------
    u, v
        Coordinates with their intervals.
    row
        Polynomials at the optimum.
    ends
        For -x, +x, -y, +y: True where the interval ends at the last fitted node instead of at a
        visible slope.
    """

    u: Interval
    v: Interval
    row: Array
    ends: tuple[bool, bool, bool, bool]

    @property
    def area(self) -> float:
        """Return the product of the widths of both intervals."""
        return (self.u.high - self.u.low) * (self.v.high - self.v.low)


def locate(fit: SmoothFit, inside: Inside) -> Location:
    """Return the smallest loss of a fit among its nodes, and the intervals of its place."""
    places = [
        np.linspace(centre - half, centre + half, PLACES)
        for centre, half in zip(fit.centre, fit.half, strict=True)
    ]
    u, v = places
    allowed = inside(u, v)
    loss = np.where(allowed, fit.grid(u, v), np.inf)
    column, row = np.unravel_index(int(loss.argmin()), loss.shape)
    at = _polished(fit, u, v, int(column), int(row), allowed)
    slopes = {orders: fit.grid(u, v, *orders) for orders in ((0, 1), (0, 2), (1, 0), (2, 0))}
    low_u, high_u, *ends_u = _interval(
        fit, u, v, at[0], loss, slopes[0, 1], slopes[0, 2], swapped=False
    )
    low_v, high_v, *ends_v = _interval(
        fit, v, u, at[1], loss.T, slopes[1, 0].T, slopes[2, 0].T, swapped=True
    )
    return Location(
        u=Interval(at[0], low_u, high_u),
        v=Interval(at[1], low_v, high_v),
        row=fit.rows(np.array([at[0]]), np.array([at[1]]))[0],
        ends=(ends_u[0], ends_u[1], ends_v[0], ends_v[1]),
    )


def _polished(
    fit: SmoothFit, u: Array, v: Array, column: int, row: int, allowed: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the minimum near a place of the grid by Newton's method, within one step of it."""
    start = np.array([u[column], v[row]])
    around = allowed[max(column - 1, 0) : column + 2, max(row - 1, 0) : row + 2]
    if around.size < 9 or not around.all():
        return float(start[0]), float(start[1])
    step = np.array([u[1] - u[0], v[1] - v[0]])
    at = start.copy()
    for _ in range(4):
        place = np.array([at[0]]), np.array([at[1]])
        slope = np.array([fit.value(*place, 1, 0)[0], fit.value(*place, 0, 1)[0]])
        uu, uv, vv = (fit.value(*place, *order)[0] for order in ((2, 0), (1, 1), (0, 2)))
        curvature = uu * vv - uv**2
        if curvature <= 0 or uu <= 0:
            return float(start[0]), float(start[1])
        move = np.array([vv * slope[0] - uv * slope[1], uu * slope[1] - uv * slope[0]]) / curvature
        at = np.clip(at - move, start - step, start + step)
    return float(at[0]), float(at[1])


def _interval(
    fit: SmoothFit,
    along: Array,
    across: Array,
    at: float,
    loss: Array,
    slope: Array,
    curvature: Array,
    *,
    swapped: bool,
) -> tuple[float, float, bool, bool]:
    """Return the interval of the optimum along one axis, and True for an end without a slope.

    Parameters
    ----------
    along, across
        Places along this axis and along the other.
    at
        The optimum along this axis.
    loss, slope, curvature
        (along, across): the loss, infinite outside the nodes, and its derivatives across.
    swapped
        True if this axis is y.
    """
    columns = np.flatnonzero(np.isfinite(loss).any(axis=1))
    lowest = loss[columns].argmin(axis=1)
    place = across[lowest]
    inner = (lowest > 0) & (lowest < across.size - 1)
    bends = curvature[columns, lowest]
    beside = np.isfinite(loss[columns, np.maximum(lowest - 1, 0)]) & np.isfinite(
        loss[columns, np.minimum(lowest + 1, across.size - 1)]
    )
    inner &= beside & (bends > 0)
    step = across[1] - across[0]
    move = np.where(inner, slope[columns, lowest] / np.where(inner, bends, 1.0), 0.0)
    place = place - np.clip(move, -step, step)
    u, v = (place, along[columns]) if swapped else (along[columns], place)
    first, other = ((0, 1), (1, 0)) if swapped else ((1, 0), (0, 1))
    twice = (other[0] * 2, other[1] * 2)
    rows = fit.rows(u, v, *first)
    bend = fit.value(u, v, *twice)
    ratio = np.where(inner & (bend > 0), fit.value(u, v, 1, 1) / np.where(bend > 0, bend, 1.0), 0.0)
    profile = rows @ fit.mean
    error = fit.error(rows - ratio[:, None] * fit.rows(u, v, *other))
    scores = profile / np.maximum(error, 1e-300)
    middle = int(np.abs(along[columns] - at).argmin())
    places = along[columns]
    high, high_end = _walk(places[middle:], scores[middle:], at, fit.quantile)
    low, low_end = _walk(-places[middle::-1], -scores[middle::-1], -at, fit.quantile)
    return -low, high, low_end, high_end


def _walk(places: Array, scores: Array, at: float, limit: float) -> tuple[float, bool]:
    """Return where scores pass a limit on the way out, and True if they never do."""
    beyond = np.flatnonzero((scores > limit) & (places > at))
    # A gap in the columns ends the walk as the last node does.
    gaps = np.flatnonzero(np.diff(places) > 1.5 * np.diff(places).min()) if places.size > 2 else []
    last = int(gaps[0]) if len(gaps) else places.size - 1
    if not beyond.size or beyond[0] > last:
        return max(float(places[last]), at), True
    index = int(beyond[0])
    before = index - 1
    if before < 0 or places[before] <= at:
        share = limit / scores[index]
        return at + share * (float(places[index]) - at), False
    share = (limit - scores[before]) / (scores[index] - scores[before])
    share = min(max(share, 0.0), 1.0)
    return float(places[before] + share * (places[index] - places[before])), False
