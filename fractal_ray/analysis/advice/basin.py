"""The good region around the best: candidates, nested smooth fits, and smoothed losses.

Candidates are nodes that trained and whose nearest measured neighbours along the axes all trained.
The first fit takes all candidates of the connected region; each further one takes the better 60 %
of the region before it. A question is answered by the fit whose interval is narrowest: large
regions have less noise, small regions need fewer terms, and a fit that misses the shape of its
region has a large residual, or residuals that resemble those of their neighbours. Both widen its
intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.advice.location import Inside, Location, locate
from fractal_ray.analysis.advice.results import Interval, Noise
from fractal_ray.analysis.advice.smooth_fit import Array, SmoothFit, fit_surface
from fractal_ray.analysis.advice.surface import State, Surface, neighbour_indices

Mask = NDArray[np.bool_]

LEAST: Final = 12
"""Least number of nodes of a fit whose intervals are trusted."""
_LEAST_PART: Final = 24
"""Least number of nodes of a part of a region that gets a fit of its own."""
_SIDE: Final = 4
"""Least number of columns, and of rows, of such a fit."""
_PARTS: Final = 2
"""Number of smaller parts with which the estimates of a region are compared."""
_INHERITED: Final = 0.5
"""Least ratio of the decay of a fit to that of the fit to the next larger region.

A region that is visibly no quadratic consists of parts that are none either, even where the noise
hides it there. Half the length makes the decay half as large.
"""
_CHOICE: Final = 1.15
"""Factor of the intervals of the optimum, because the narrowest of several is chosen."""
CHOICE: Final = 1.3
"""Factor of the intervals of losses and crossings, for the same reason."""
_QUANTILE: Final = 2.0
"""Number of standard errors of half a 95 % interval."""
_REACH: Final = 3.0
"""Largest ratio of a loss to the lowest for a node that counts in a fit."""
_SHARE: Final = 0.6
"""Share of the nodes of a region that the next smaller region keeps."""


@dataclass(frozen=True, eq=False)
class Domain:
    """A connected set of nodes with the smooth fit through them.

    `location` and `expected` are the optimum and its loss; their intervals are wide enough for the
    fits to smaller parts, as `widened` has it.
    """

    nodes: Mask
    fit: SmoothFit
    location: Location
    expected: Interval


@dataclass(frozen=True, eq=False)
class Basin:
    """A connected region of candidates with its fits, the largest first, and smoothed losses.

    Parameters
    ----------
    nodes
        The candidates of this region.
    chosen
        The fit with the narrowest interval of the optimum; None with too few nodes.
    lowest
        The fit with the narrowest interval of the loss at the optimum; None with too few nodes.
    smooth
        Smoothed loss of each node of the region, NaN elsewhere; the measured loss without a fit.
    """

    nodes: Mask
    domains: tuple[Domain, ...]
    chosen: Domain | None
    lowest: Domain | None
    smooth: Array


def candidates(surface: Surface) -> Mask:
    """Return True at nodes that trained and whose nearest measured neighbours all trained.

    Runs that failed or show nothing about training are passed over on the way to the nearest
    neighbour.
    """
    known = surface.measured & ~np.isin(surface.state, (State.UNKNOWN, State.FAILED))
    bad = (known & ~surface.trained).ravel()
    neighbours = neighbour_indices(known)
    beside_bad = (bad[np.maximum(neighbours, 0)] & (neighbours >= 0)).any(axis=0)
    return surface.trained & ~beside_bad


class Regions:
    """Connected sets of nodes of a lattice on which only some nodes are measured.

    Every node of the lattice belongs to the measured node that is nearest; nodes are connected
    along rows, columns and diagonals of the lattice.
    """

    def __init__(self, measured: Mask) -> None:
        """Assign each node of the lattice to a measured node."""
        from scipy.ndimage import distance_transform_edt  # takes a while to import

        self.whole = bool(measured.all())
        indices = distance_transform_edt(~measured, return_distances=False, return_indices=True)
        self._iy, self._ix = np.asarray(indices)

    def filled(self, nodes: Mask) -> Mask:
        """Return True at nodes of the lattice whose nearest measured node is in the set."""
        return nodes if self.whole else nodes[self._iy, self._ix]

    def labelled(self, nodes: Mask) -> NDArray[np.int64]:
        """Return the number of each node's connected set from 1; 0 outside the set."""
        from scipy.ndimage import label  # takes a while to import

        parts: Any = label(self.filled(nodes), structure=np.ones((3, 3)))
        numbers = np.asarray(parts[0])
        return np.where(nodes, numbers, 0).astype(np.int64)

    def around(self, nodes: Mask, node: int) -> Mask:
        """Return the connected part of a set that holds the node with this flat index."""
        numbers = self.labelled(nodes)
        return (numbers == numbers.flat[node]) & nodes


def fill_basin(surface: Surface, regions: Regions, nodes: Mask, noise: Noise | None) -> Basin:
    """Fit the losses of a connected region of candidates in nested parts of it."""
    domains: list[Domain] = []
    smooth = np.where(nodes, surface.loss, np.nan)
    part = _near_lowest(surface, regions, nodes)
    decay = 0.0
    while (domain := _domain(surface, regions, part, noise, decay)) is not None:
        domains.append(domain)
        decay = _INHERITED * domain.fit.decay
        part = _better_part(surface, regions, domain)
        if part is None:
            break
    if not domains:
        return Basin(nodes, (), None, None, smooth)
    whole = domains[0]
    domains = _with_agreement(_without_misfits(surface, domains))
    if not domains:
        return Basin(nodes, (), None, None, smooth)
    chosen = min(domains, key=lambda each: (_cut(surface, each, whole), each.location.area))
    lowest = min(domains, key=lambda each: each.expected.high - each.expected.low)
    for domain in domains[: max(domains.index(chosen), domains.index(lowest)) + 1]:
        smooth[domain.nodes] = fitted(surface, domain.fit, domain.nodes)
    return Basin(nodes, tuple(domains), chosen, lowest, smooth)


def fitted(surface: Surface, fit: SmoothFit, nodes: Mask) -> Array:
    """Return the fitted losses at nodes."""
    iy, ix = np.nonzero(nodes)
    return fit.value(surface.u[ix], surface.v[iy])


def _domain(
    surface: Surface, regions: Regions, nodes: Mask, noise: Noise | None, decay: float
) -> Domain | None:
    iy, ix = np.nonzero(nodes)
    if iy.size < LEAST or min(np.unique(ix).size, np.unique(iy).size) < _SIDE:
        return None
    loss = surface.loss[nodes]
    fit = fit_surface(surface.u[ix], surface.v[iy], loss, noise, decay)
    if fit is None:
        return None
    residuals = np.zeros(nodes.shape)
    residuals[nodes] = loss - fitted(surface, fit, nodes)
    fit = fit.inflated(_inflation(residuals, nodes))
    location = locate(fit, _inside(surface, regions, nodes))
    return Domain(nodes, fit, location, fit.interval(location.row))


def widened(estimates: Sequence[Interval | None], factor: float) -> list[Interval | None]:
    """Widen the intervals of estimates from nested fits, the largest first, until they agree.

    An estimate from a larger region may differ from that of a part by as much as the part has
    more noise; what the difference exceeds that by counts as an error of the larger fit.

    Parameters
    ----------
    estimates
        None where a fit gives no estimate.
    factor
        Factor of all intervals, because the narrowest of several is chosen.
    """
    result: list[Interval | None] = []
    for index, estimate in enumerate(estimates):
        if estimate is None:
            result.append(None)
            continue
        own = (estimate.high - estimate.low) / 2
        excess = 0.0
        for part in estimates[index + 1 : index + 1 + _PARTS]:
            if part is None:
                continue
            other = (part.high - part.low) / 2
            difference = _QUANTILE * (estimate.value - part.value)
            excess = max(excess, difference**2 - max(other**2 - own**2, 0.0))
        wider = factor * float(np.sqrt(1 + excess / own**2)) if own > 0 else 1.0
        result.append(
            Interval(
                estimate.value,
                estimate.value - wider * (estimate.value - estimate.low),
                estimate.value + wider * (estimate.high - estimate.value),
            )
        )
    return result


def _near_lowest(surface: Surface, regions: Regions, nodes: Mask) -> Mask:
    """Return the connected part of a region whose losses are at most three times the lowest.

    Losses that span powers of ten, as on the way to a small error, would decide a fit to all of
    them, and hide the differences next to the best. The loss of a node is here the median of its
    own and those of its neighbours, so that one lucky run sets no level. Losses around 0, of
    which some are negative, have no such ratio, and all nodes count.
    """
    neighbours = neighbour_indices(nodes)
    around = np.where(neighbours >= 0, surface.loss.ravel()[np.maximum(neighbours, 0)], np.nan)
    medians = np.where(nodes, surface.loss, np.nan)
    medians[nodes] = np.nanmedian(np.vstack([medians[nodes], around[:, nodes]]), axis=0)
    lowest = int(np.nanargmin(medians))
    near = np.nan_to_num(medians, nan=np.inf) <= _REACH * medians.flat[lowest]
    part = regions.around(near, lowest) if surface.loss[nodes].min() > 0 else nodes
    return part if part.sum() >= _LEAST_PART else nodes


def _without_misfits(surface: Surface, domains: list[Domain]) -> list[Domain]:
    """Leave out fits whose best loss contradicts their runs, or a smaller part of their region.

    The losses of a region may span several powers of ten, of which a fit reproduces the largest
    only.
    """
    return [
        domain
        for index, domain in enumerate(domains)
        if not _below_all_runs(domain, surface.loss[domain.nodes])
        and not any(
            _contradict(domain.expected, part.expected)
            for part in domains[index + 1 : index + 1 + _PARTS]
        )
    ]


def _below_all_runs(domain: Domain, losses: Array) -> bool:
    """Return True if the optimum is further below the lowest run than a quarter of them above."""
    lowest = losses.min()
    return bool(lowest - domain.expected.high > np.quantile(losses, 0.25) - lowest)


def _contradict(one: Interval, other: Interval) -> bool:
    """Return True if two estimates differ by more than their intervals allow together."""
    halves = np.hypot(one.high - one.low, other.high - other.low) / 2
    return abs(one.value - other.value) > float(halves)


def _with_agreement(domains: list[Domain]) -> list[Domain]:
    """Return the domains with intervals that allow for the estimates of smaller parts."""
    whole = [not any(domain.location.ends) for domain in domains]
    columns = [
        widened(
            [
                interval if good or index == 0 else None
                for index, (interval, good) in enumerate(zip(intervals, whole, strict=True))
            ],
            factor,
        )
        for intervals, factor in (
            ([domain.location.u for domain in domains], _CHOICE),
            ([domain.location.v for domain in domains], _CHOICE),
            ([domain.expected for domain in domains], CHOICE),
        )
    ]
    return [
        replace(
            domain,
            location=replace(domain.location, u=u or domain.location.u, v=v or domain.location.v),
            expected=expected or domain.expected,
        )
        for domain, u, v, expected in zip(domains, *columns, strict=True)
    ]


def _inflation(residuals: Array, nodes: Mask) -> float:
    """Return the factor of standard errors for residuals that resemble those of neighbours.

    Residuals with correlation r between neighbours along both axes carry the information of
    ((1 - r) / (1 + r))^2 as many independent ones. Only a visible correlation counts.
    """
    neighbours = neighbour_indices(nodes)[[1, 3]]
    pairs = nodes & (neighbours >= 0)
    count = int(pairs.sum())
    square = float((residuals[nodes] ** 2).mean())
    if not count or square == 0:
        return 1.0
    products = residuals.ravel()[np.maximum(neighbours, 0)] * residuals
    correlation = float(products[pairs].sum()) / count / square
    if correlation < 2 / np.sqrt(count):
        return 1.0
    correlation = min(correlation, 0.95)
    return (1 + correlation) / (1 - correlation)


def _inside(surface: Surface, regions: Regions, nodes: Mask) -> Inside:
    """Return a function that is True at places whose nearest node belongs to the set."""
    region = regions.filled(nodes)

    def inside(u: Array, v: Array) -> Mask:
        # A place midway between nodes belongs to both, so that a reflection changes nothing.
        ties = [
            region[np.ix_(nearest(surface.v, v + dv), nearest(surface.u, u + du))].T
            for du in _either_side(surface.u)
            for dv in _either_side(surface.v)
        ]
        return np.any(ties, axis=0)

    return inside


def _either_side(axis: Array) -> tuple[float, float]:
    """Return two steps that are far smaller than those of an axis, one to each side."""
    step = 1e-9 * float(np.diff(axis).min())
    return -step, step


def nearest(axis: Array, places: Array) -> NDArray[np.int64]:
    """Return the index of the nearest of rising coordinates for each place."""
    right = np.clip(np.searchsorted(axis, places), 1, max(axis.size - 1, 1))
    left = right - 1
    right = np.minimum(right, axis.size - 1)
    return np.where(places - axis[left] <= axis[right] - places, left, right)


def _better_part(surface: Surface, regions: Regions, domain: Domain) -> Mask | None:
    """Return the connected part of a domain around its best, with the better share of nodes."""
    values = np.full(domain.nodes.shape, np.inf)
    values[domain.nodes] = fitted(surface, domain.fit, domain.nodes)
    level = np.quantile(values[domain.nodes], _SHARE)
    part = regions.around(values <= level, int(values.argmin()))
    return part if _LEAST_PART <= part.sum() < domain.nodes.sum() else None


def _cut(surface: Surface, domain: Domain, whole: Domain) -> int:
    """Count the sides on which an interval ends with a part of the region instead of the region."""
    box = (domain.fit.centre[:, None] + domain.fit.half[:, None] * np.array([-1.0, 1.0])).ravel()
    edge = (whole.fit.centre[:, None] + whole.fit.half[:, None] * np.array([-1.0, 1.0])).ravel()
    steps = np.repeat([np.diff(surface.u).min(), np.diff(surface.v).min()], 2)
    moved = np.abs(box - edge) > 0.5 * steps
    return int((np.array(domain.location.ends) & moved).sum())
