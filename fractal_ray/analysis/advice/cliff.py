"""Margins from the best to the cliff: brackets between unbroken and broken runs, no model.

A bracket runs from the last unbroken run before the first broken run to that broken run. Nodes
whose label is not known (too short, failed, not run) lie inside the bracket or are passed over;
they never count as broken. Only runs are ends of a bracket; labels that a refined lattice infers
for nodes without a run are used for the smallest distance over all directions.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.advice.results import Cliff, Margin, NearestCliff, Node
from fractal_ray.analysis.advice.surface import SIDES, Scale, Surface, step_of

_UNKNOWN: Final = -1


def find_cliff(surface: Surface, node: Node) -> Cliff:
    """Return the margins to the cliff from a node: along the axes and over all directions."""
    labels = np.where(surface.measured, surface.broken, _UNKNOWN)
    isolated = isolated_broken(surface)
    margins = tuple(_margin(surface, labels, isolated, node, side) for side in SIDES)
    iy, ix = node
    ny, nx = labels.shape
    at_rim = (ix == 0, ix == nx - 1, iy == 0, iy == ny - 1)
    return Cliff(
        margins=margins,
        nearest=_nearest(surface, labels, isolated, node),
        broken=int((labels == 0).sum()),
        unbroken=int((labels == 1).sum()),
        unknown=int((surface.measured & (labels == _UNKNOWN)).sum()),
        isolated=tuple(
            (float(surface.x[column]), float(surface.y[row]))
            for row, column in np.argwhere(isolated)
        ),
        best_at_rim=tuple(side for side, holds in zip(SIDES, at_rim, strict=True) if holds),
    )


def isolated_broken(surface: Surface) -> NDArray[np.bool_]:
    """Return True at broken runs all of whose neighbours with a label are unbroken.

    Neighbours are the eight nodes around; there must be at least three with a label.
    """
    labels = np.pad(surface.broken, 1, constant_values=_UNKNOWN)
    around = np.stack(
        [
            labels[1 + dy : labels.shape[0] - 1 + dy, 1 + dx : labels.shape[1] - 1 + dx]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if dy or dx
        ]
    )
    alone = ~(around == 0).any(axis=0) & ((around == 1).sum(axis=0) >= 3)
    return surface.measured & (surface.broken == 0) & alone


def margin_along(
    values: NDArray[np.float64],
    labels: NDArray[np.int8],
    isolated: NDArray[np.bool_],
    *,
    direction: str,
    scale: Scale,
) -> Margin:
    """Return the margin along a line of nodes that begins at the best.

    Parameters
    ----------
    values
        Real values of the nodes on the way out.
    labels
        1 unbroken, 0 broken, -1 unknown, or no run.
    isolated
        True at broken runs that are alone.
    """
    unbroken, broken = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    first = int(broken[0]) if broken.size else None
    before = unbroken if first is None else unbroken[unbroken < first]
    last = int(before[-1]) if before.size else None
    start, end = (last if last is not None else 0), (first if first is not None else len(labels))
    unknown = int((labels[start:end] == _UNKNOWN).sum())
    ragged = None
    if first is not None and unbroken.size and unbroken[-1] > first:
        behind = broken[broken > unbroken[-1]]
        ragged = float(values[behind[0]]) if behind.size else None
    return Margin(
        direction=direction,
        last_unbroken=None if last is None else float(values[last]),
        first_broken=None if first is None else float(values[first]),
        low=None if last is None else distance(values[0], values[last], scale),
        high=None if first is None else distance(values[0], values[first], scale),
        scale=scale,
        unknown=unknown,
        isolated=first is not None and bool(isolated[first]),
        solid=_solid(values, unbroken, broken[~isolated[broken]]),
        ragged_to=ragged,
        grid_end=float(values[-1]),
    )


def distance(start: float, end: float, scale: Scale) -> float:
    """Return the factor (at least 1) or the difference (at least 0) between two real values."""
    if scale == "linear":
        return abs(float(end) - float(start))
    factor = float(end) / float(start)
    return max(factor, 1 / factor)


def _solid(
    values: NDArray[np.float64], unbroken: NDArray[np.int64], broken: NDArray[np.int64]
) -> tuple[float, float] | None:
    """Return the bracket of the first broken run that is not isolated."""
    if not broken.size:
        return None
    before = unbroken[unbroken < broken[0]]
    return (float(values[before[-1]]), float(values[broken[0]])) if before.size else None


def _margin(
    surface: Surface,
    labels: NDArray[np.int8],
    isolated: NDArray[np.bool_],
    node: Node,
    side: str,
) -> Margin:
    rows, columns = step_of(side)
    iy, ix = node
    if columns:
        way = slice(ix, None) if columns > 0 else slice(ix, None, -1)
        values, line, alone = surface.x[way], labels[iy, way], isolated[iy, way]
        scale = surface.x_scale
    else:
        way = slice(iy, None) if rows > 0 else slice(iy, None, -1)
        values, line, alone = surface.y[way], labels[way, ix], isolated[way, ix]
        scale = surface.y_scale
    return margin_along(values, line, alone, direction=side, scale=scale)


def _nearest(
    surface: Surface, labels: NDArray[np.int8], isolated: NDArray[np.bool_], node: Node
) -> NearestCliff | None:
    """Return the smallest distance to the cliff over all directions.

    The cliff passes through cells of the lattice that have a broken and another corner: the least
    distance is that to the nearest such cell. It is at most the distance to the nearest broken run.
    """
    if not (labels == 0).any():
        return None
    both_log = surface.x_scale == surface.y_scale == "log"
    u, v = surface.u, surface.v
    if not both_log:
        u, v = u / max(np.ptp(u), 1e-300), v / max(np.ptp(v), 1e-300)
    iy, ix = node
    du, dv = u - u[ix], v - v[iy]
    reach = np.where(labels == 0, np.hypot(du[None, :], dv[:, None]), np.inf)
    row, column = (int(each) for each in np.unravel_index(int(reach.argmin()), reach.shape))
    high = float(reach[row, column])
    low = min(_nearest_mixed_cell(_possibly_broken(surface), du, dv), high)
    changes = []
    for values, scale, there, here in (
        (surface.x, surface.x_scale, column, ix),
        (surface.y, surface.y_scale, row, iy),
    ):
        end, start = float(values[there]), float(values[here])
        changes.append(end / start if scale == "log" else end - start)
    return NearestCliff(
        low=low,
        high=high,
        unit="decades" if both_log else "frames",
        x=float(surface.x[column]),
        y=float(surface.y[row]),
        x_change=changes[0],
        y_change=changes[1],
        isolated=bool(isolated[row, column]),
    )


def _possibly_broken(surface: Surface) -> NDArray[np.bool_]:
    """Return True at broken nodes and at unknown nodes that a chain of such nodes joins to them."""
    from scipy.ndimage import label  # takes a while to import

    maybe = surface.broken != 1
    parts: Any = label(maybe, structure=np.ones((3, 3)))
    numbers = np.asarray(parts[0])
    return maybe & np.isin(numbers, np.unique(numbers[surface.broken == 0]))


def _nearest_mixed_cell(
    maybe: NDArray[np.bool_],
    du: NDArray[np.float64],
    dv: NDArray[np.float64],
) -> float:
    """Return the distance from (0, 0) to the nearest cell with a possibly broken corner.

    The best itself is unbroken, so a cell that is broken at every corner lies behind mixed cells.
    """
    cells = maybe[:-1, :-1] | maybe[1:, :-1] | maybe[:-1, 1:] | maybe[1:, 1:]
    if not cells.any():
        return np.inf
    gap_u = np.maximum(np.maximum(du[:-1], -du[1:]), 0.0)
    gap_v = np.maximum(np.maximum(dv[:-1], -dv[1:]), 0.0)
    # A cell that only touches the best's row or column begins at its near side.
    away = np.hypot(gap_u[None, :], gap_v[:, None])
    return float(np.where(cells, away, np.inf).min())
