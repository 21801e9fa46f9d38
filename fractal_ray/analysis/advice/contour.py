"""The safe region: nodes around the best whose loss is within a percentage of the best loss.

The level is the fitted loss at the optimum plus the percentage of its absolute value. Losses are
positive, so this is `best x (1 + percent / 100)`. For a best loss near 0 a percentage says little:
the level lies at least one standard error above the best, and `below_noise` tells it.
The region is connected to the best and consists of candidates: nodes that trained and whose
neighbours trained. Crossings are those of the lines along the axes through the best node.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from fractal_ray.analysis.advice.basin import CHOICE, Basin, Domain, Regions, nearest, widened
from fractal_ray.analysis.advice.results import BestPoint, Crossing, Interval, SafeRegion
from fractal_ray.analysis.advice.smooth_fit import Array
from fractal_ray.analysis.advice.surface import SIDES, Scale, Surface, real_value, step_of

PERCENTAGES: Final = (1.0, 2.0, 5.0)
"""Percentages of the best loss for which regions are given."""
_PLACES: Final = 401
"""Number of places on a line at which a fit is evaluated."""


def safe_region(surface: Surface, best: BestPoint, percent: float) -> SafeRegion:
    """Return the region within `percent` of the best loss, with its ranges and crossings.

    Parameters
    ----------
    best
        Result of `find_best` for this surface.
    """
    basin: Basin = best.basin
    allowance, level = _level(best, percent)
    regions = Regions(surface.measured)
    good = basin.nodes & (np.nan_to_num(basin.smooth, nan=np.inf) <= level)
    good[best.node] = True
    mask = regions.around(good, best.node[0] * surface.x.size + best.node[1])
    touches = mask[:, 0].any(), mask[:, -1].any(), mask[0].any(), mask[-1].any()
    total = float(surface.weight.sum())
    return SafeRegion(
        percent=percent,
        level=level,
        below_noise=allowance < best.standard_error,
        runs=int(mask.sum()),
        share=float(surface.weight[mask].sum()) / total if total else 0.0,
        x_range=_range(surface.x[mask.any(axis=0)]),
        y_range=_range(surface.y[mask.any(axis=1)]),
        crossings=tuple(_crossing(_line(surface, best, side), regions, percent) for side in SIDES),
        rim=tuple(side for side, touch in zip(SIDES, touches, strict=True) if touch),
        mask=mask,
    )


def _level(best: BestPoint, percent: float) -> tuple[float, float]:
    """Return the allowance of a percentage in units of the loss, and the largest loss within it.

    Where the fitted optimum is so far below all nodes that the best node itself is not within the
    percentage of it, the smoothed loss of the best node takes its place.
    """
    own = float(best.smooth[best.node])
    levels = []
    for lowest in (best.expected.value if best.expected else own, own):
        allowance = abs(lowest) * percent / 100
        levels.append((allowance, lowest + max(allowance, best.standard_error)))
    return levels[0] if own <= levels[0][1] else levels[1]


def _range(values: Array) -> tuple[float, float]:
    return float(values.min()), float(values.max())


@dataclass(frozen=True)
class _Line:
    """The nodes with a run on a line from the best node to a side, the best node first.

    Parameters
    ----------
    iy, ix
        Rows and columns of the nodes.
    places
        Axis coordinates of the nodes along the line.
    """

    surface: Surface
    best: BestPoint
    side: str
    iy: np.ndarray
    ix: np.ndarray
    places: Array
    scale: Scale


def _line(surface: Surface, best: BestPoint, side: str) -> _Line:
    rows, columns = step_of(side)
    iy, ix = best.node
    count = {"-x": ix, "+x": surface.x.size - 1 - ix, "-y": iy, "+y": surface.y.size - 1 - iy}
    steps = np.arange(count[side] + 1)
    iy, ix = iy + rows * steps, ix + columns * steps
    runs = surface.measured[iy, ix]
    iy, ix = iy[runs], ix[runs]
    places = surface.u[ix] if columns else surface.v[iy]
    scale = surface.x_scale if columns else surface.y_scale
    return _Line(surface, best, side, iy, ix, places, scale)


def _crossing(line: _Line, regions: Regions, percent: float) -> Crossing:
    """Return the crossing of the level on a line: fitted, or else between two runs."""
    best, surface = line.best, line.surface
    basin: Basin = best.basin
    _, level = _level(best, percent)
    smooth = np.nan_to_num(basin.smooth[line.iy, line.ix], nan=np.inf)
    smooth[0] = min(smooth[0], level)
    beyond = np.flatnonzero(smooth > level)
    after = int(beyond[0]) if beyond.size else len(smooth)
    last = real_value(float(line.places[after - 1]), line.scale)
    crossings = [
        _fitted(line, domain, regions, percent)
        for domain in basin.domains
        if domain.nodes[best.node]
    ]
    fits = [crossing for crossing in widened(crossings, CHOICE) if crossing is not None]
    if fits:
        place = min(fits, key=lambda each: each.high - each.low)
        return Crossing(line.side, _real(place, line.scale), "level", last)
    ends = _end(surface, line, after)
    if ends != "level" or not np.isfinite(smooth[after]):
        return Crossing(line.side, None, ends, last)
    share = (level - smooth[after - 1]) / (smooth[after] - smooth[after - 1])
    start, end = line.places[after - 1], line.places[after]
    place = Interval(float(start + share * (end - start)), *sorted((float(start), float(end))))
    return Crossing(line.side, _real(place, line.scale), "level", last)


def _end(
    surface: Surface, line: _Line, after: int
) -> Literal["level", "cliff", "untrained", "grid"]:
    """Return the reason for which the runs within the level end before a place of a line."""
    if after == len(line.ix):
        return "grid"
    ahead = line.iy[after:], line.ix[after:]
    if np.isfinite(line.best.smooth[ahead][0]):
        return "level"
    # The run is no candidate: it did not train, or the next one did not.
    untrained = np.flatnonzero(~surface.trained[ahead])
    broken = untrained.size and surface.broken[ahead][untrained[0]] == 0
    return "cliff" if broken else "untrained"


def _fitted(line: _Line, domain: Domain, regions: Regions, percent: float) -> Interval | None:
    """Return the crossing by a fit with its interval; None if the fit does not show all of it.

    Places belong to the interval where the loss does not differ visibly from the level.
    """
    fit, best, surface = domain.fit, line.best, line.surface
    along_x = line.side[1] == "x"
    box = fit.centre + np.outer([-1.0, 1.0], fit.half)
    outward = 1.0 if line.side[0] == "+" else -1.0
    start = float(line.places[0])
    end = box[1 if outward > 0 else 0, 0 if along_x else 1]
    if outward * (end - start) <= 0:
        return None
    places = np.linspace(start, float(end), _PLACES)
    fixed = np.full(_PLACES, surface.v[best.node[0]] if along_x else surface.u[best.node[1]])
    u, v = (places, fixed) if along_x else (fixed, places)
    inside = regions.filled(domain.nodes)[nearest(surface.v, v), nearest(surface.u, u)]
    count = int(inside.argmin()) if not inside.all() else _PLACES
    rows = fit.rows(u[:count], v[:count])
    lowest = float(domain.location.row @ fit.mean)
    allowance = abs(lowest) * percent / 100
    raised = np.sign(lowest) * percent / 100 if allowance > best.standard_error else 0.0
    rows = rows - (1 + raised) * domain.location.row
    heights = rows @ fit.mean - (best.standard_error if raised == 0.0 else 0.0)
    scores = heights / np.maximum(fit.error(rows), 1e-300)
    limit = fit.quantile
    above = np.flatnonzero(scores > limit)
    if not above.size:
        return None
    outer = int(above[0])
    below = np.flatnonzero(scores[:outer] <= 0)
    if not below.size:
        return None
    middle = int(below[-1])
    low_side = np.flatnonzero(scores[:middle] < -limit)
    at = _between(places, scores, middle, 0.0)
    far = _between(places, scores, outer - 1, limit)
    near = _between(places, scores, int(low_side[-1]), -limit) if low_side.size else start
    return Interval(at, *sorted((near, far)))


def _between(places: Array, scores: Array, index: int, level: float) -> float:
    """Return the place between two neighbours at which the scores reach a level."""
    rise = scores[index + 1] - scores[index]
    share = (level - scores[index]) / rise if rise else 0.5
    return float(places[index] + min(max(share, 0.0), 1.0) * (places[index + 1] - places[index]))


def _real(interval: Interval, scale: Scale) -> Interval:
    value, low, high = (
        real_value(each, scale) for each in (interval.value, interval.low, interval.high)
    )
    return Interval(value, low, high)
