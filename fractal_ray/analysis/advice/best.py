"""The best nodes of a frame: a set within the standard error, its optimum and its surroundings.

A single run with a low loss may be luck. The losses of candidates (`basin.py`) are smoothed, and
the best is the connected set of candidates whose smoothed loss lies within the standard error of
the smallest one.
"""

import numpy as np

from fractal_ray.analysis.advice.basin import (
    LEAST,
    Basin,
    Mask,
    Regions,
    candidates,
    fill_basin,
)
from fractal_ray.analysis.advice.results import (
    BestPoint,
    GoodRegion,
    Interval,
    Node,
    Noise,
    Refusal,
)
from fractal_ray.analysis.advice.surface import SIDES, Scale, State, Surface, real_value

SAME_LOSS = 0.02
"""Share of the best loss within which a separate region counts as good too."""


def find_best(
    surface: Surface, noise: Noise | None = None, node: Node | None = None
) -> BestPoint | Refusal:
    """Return the best of a surface: a set of nodes, the optimum, and intervals for both.

    Parameters
    ----------
    surface
        Losses and labels of a frame.
    noise
        Noise of one run from seeds (`seeds.noise_of_seeds`). Without it the noise is that of
        neighbours: the residual of the smooth fit. Runs that share a seed can share an error, which
        neighbours do not show.
    node
        Node that stands for the best, if it is one of the best region: the node at which seeds were
        run. None for the node with the smallest smoothed loss.
    """
    trained = surface.trained
    if not trained.any():
        return Refusal("nothing_trained", f"no run trained{_counts(surface)}")
    losses = surface.loss[trained]
    if losses.size > 1 and np.ptp(losses) <= 1e-12 * np.abs(losses).max():
        return Refusal(
            "equal_losses", f"all {losses.size} runs that trained have the loss {losses[0]:g}"
        )
    regions = Regions(surface.measured)
    inner = candidates(surface)
    nodes = inner if inner.any() else trained
    basins = _basins(surface, regions, nodes, noise)
    best = basins[0]
    place = int(np.nanargmin(best.smooth))
    if node is not None and best.nodes[node]:
        place = node[0] * surface.x.size + node[1]
    error = _standard_error(best)
    within = best.nodes & (best.smooth <= best.smooth.flat[place] + error)
    within = regions.around(within, place)
    others = _other_regions(surface, regions, basins, within, error)
    failed = _failures_beside(surface, within)
    iy, ix = divmod(place, surface.x.size)
    location = best.chosen.location if best.chosen else None
    rim = _rim(surface, best, within)
    flags = (
        ("rim", bool(rim)),
        ("two_regions", bool(others)),
        ("failures_beside", failed > 0),
        ("too_few_nodes", int(nodes.sum()) < LEAST or best.chosen is None),
        ("no_inner_node", not inner.any()),
    )
    return BestPoint(
        node=(iy, ix),
        x=float(surface.x[ix]),
        y=float(surface.y[iy]),
        loss=float(surface.loss[iy, ix]),
        x_optimum=_real(location.u, surface.x_scale) if location else None,
        y_optimum=_real(location.v, surface.y_scale) if location else None,
        expected=best.lowest.expected if best.lowest else None,
        noise=noise or _noise_of_neighbours(best),
        standard_error=error,
        runs=int(within.sum()),
        x_range=_range(surface.x[within.any(axis=0)]),
        y_range=_range(surface.y[within.any(axis=1)]),
        rim=rim,
        other_regions=others,
        failures_beside=failed,
        flags=tuple(name for name, holds in flags if holds),
        nodes=within,
        smooth=_together(basins),
        basin=best,
    )


def _counts(surface: Surface) -> str:
    """Return the states of the runs as text."""
    states = (State.TOO_SLOW, State.DEGRADED, State.DIVERGED, State.UNKNOWN, State.FAILED)
    texts = [
        f"{count} {state.name.lower().replace('_', ' ')}"
        for state in states
        if (count := int((surface.state == state).sum()))
    ]
    return f": {', '.join(texts)}" if texts else ", and none has ended"


def _basins(surface: Surface, regions: Regions, nodes: Mask, noise: Noise | None) -> list[Basin]:
    """Return the basins of all connected sets of nodes, the one with the best loss first.

    A set of fewer nodes than a fit needs has no smoothed loss; it is the best only if no other set
    has one.
    """
    numbers = regions.labelled(nodes)
    basins = [
        fill_basin(surface, regions, numbers == number, noise)
        for number in range(1, int(numbers.max()) + 1)
        if (numbers == number).any()
    ]
    return sorted(basins, key=lambda basin: (basin.chosen is None, float(np.nanmin(basin.smooth))))


def _standard_error(basin: Basin) -> float:
    if basin.lowest is None:
        return 0.0
    return float(basin.lowest.fit.error(basin.lowest.location.row[None])[0])


def _noise_of_neighbours(basin: Basin) -> Noise | None:
    if basin.lowest is None:
        return None
    return Noise(basin.lowest.fit.sd, basin.lowest.fit.freedom, "neighbours")


def _together(basins: list[Basin]) -> np.ndarray:
    """Return the smoothed losses of all basins on one lattice."""
    smooth = np.full(basins[0].nodes.shape, np.nan)
    for basin in basins:
        smooth[basin.nodes] = basin.smooth[basin.nodes]
    return smooth


def _other_regions(
    surface: Surface, regions: Regions, basins: list[Basin], within: Mask, error: float
) -> tuple[GoodRegion, ...]:
    """Return the separate regions as good as the best: within 2 % or two standard errors of it."""
    smooth = _together(basins)
    lowest = float(np.nanmin(smooth[within]))
    level = lowest + max(SAME_LOSS * abs(lowest), 2 * error)
    good = np.nan_to_num(smooth, nan=np.inf) <= level
    numbers = regions.labelled(good)
    best = set(np.unique(numbers[within]).tolist())
    others = []
    for number in range(1, int(numbers.max()) + 1):
        part = numbers == number
        if number in best or not part.any():
            continue
        iy, ix = divmod(int(np.where(part, smooth, np.inf).argmin()), surface.x.size)
        others.append(
            GoodRegion(
                float(surface.x[ix]), float(surface.y[iy]), float(smooth[iy, ix]), int(part.sum())
            )
        )
    return tuple(sorted(others, key=lambda region: (-region.runs, region.loss)))


def _failures_beside(surface: Surface, within: Mask) -> int:
    """Count the runs beside the set that failed or show nothing about training."""
    from scipy.ndimage import binary_dilation  # takes a while to import

    around = np.asarray(binary_dilation(within, structure=np.ones((3, 3))), dtype=bool)
    return int((around & np.isin(surface.state, (State.FAILED, State.UNKNOWN))).sum())


def _rim(surface: Surface, basin: Basin, within: Mask) -> tuple[str, ...]:
    """Return the sides of the frame on which the set, or the interval of the optimum, ends."""
    touches = [within[:, 0].any(), within[:, -1].any(), within[0].any(), within[-1].any()]
    if basin.chosen is not None:
        location = basin.chosen.location
        ends = location.u.low, location.u.high, location.v.low, location.v.high
        edges = surface.u[0], surface.u[-1], surface.v[0], surface.v[-1]
        lengths = (surface.u[-1] - surface.u[0],) * 2 + (surface.v[-1] - surface.v[0],) * 2
        for side in range(4):
            touches[side] |= abs(ends[side] - edges[side]) <= 1e-6 * lengths[side]
    return tuple(name for name, touch in zip(SIDES, touches, strict=True) if touch)


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _real(interval: Interval, scale: Scale) -> Interval:
    """Return an interval of axis coordinates as one of real values."""
    value, low, high = (
        real_value(each, scale) for each in (interval.value, interval.low, interval.high)
    )
    return Interval(value, low, high)
