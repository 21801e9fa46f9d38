"""Sensitivity of the loss to each axis, as LR sensitivity of Wortsman et al. 2023 (2309.14322).

It is the mean of min(loss, untouched loss) over the range of an axis, minus the best loss. The
other axis is held at the best node, as for a user who takes the advice for it: the profile is that
row or column of runs. A run that broke counts as untouched. Runs that failed, or show nothing, are
left out. The mean is the integral by trapezoids in axis coordinates over the length of the range,
so runs near a refined border do not count more than others.
"""

import numpy as np

from fractal_ray.analysis.advice.results import BestPoint, Interval, Sensitivity
from fractal_ray.analysis.advice.smooth_fit import Array, t_quantile
from fractal_ray.analysis.advice.surface import State, Surface


def sensitivities(surface: Surface, best: BestPoint) -> tuple[Sensitivity, Sensitivity]:
    """Return the sensitivity to x and to y, each along the line through the best node."""
    iy, ix = best.node
    untouched = surface.untouched
    if untouched is None:
        reason = "the loss of the untouched model is not known"
        return (
            Sensitivity(surface.x_name, None, float(np.ptp(surface.u)), 0, 0, 0, reason),
            Sensitivity(surface.y_name, None, float(np.ptp(surface.v)), 0, 0, 0, reason),
        )
    everywhere = np.broadcast_to(np.asarray(untouched, dtype=np.float64), surface.loss.shape)
    row, column = (iy, slice(None)), (slice(None), ix)
    return (
        _sensitivity(surface, best, surface.x_name, surface.u, row, everywhere[row]),
        _sensitivity(surface, best, surface.y_name, surface.v, column, everywhere[column]),
    )


def _sensitivity(
    surface: Surface,
    best: BestPoint,
    name: str,
    places: Array,
    line: tuple[int | slice, int | slice],
    untouched: Array,
) -> Sensitivity:
    measured, state = surface.measured[line], surface.state[line]
    silent = (state == State.UNKNOWN) | ((state == State.FAILED) & ~measured)
    worse = np.isin(state, (State.DEGRADED, State.DIVERGED)) | ~np.isfinite(surface.loss[line])
    runs = measured & ~silent & np.isfinite(untouched)
    skipped = int(silent.sum())
    if runs.sum() < 3:
        reason = f"only {int(runs.sum())} runs lie on the line through the best"
        return Sensitivity(name, None, 0.0, int(runs.sum()), 0, skipped, reason)
    at, base = places[runs], untouched[runs]
    loss = np.where(worse[runs], base, np.minimum(surface.loss[line][runs], base))
    clipped = loss >= base
    span = float(at[-1] - at[0])
    weights = np.zeros(at.size)
    gaps = np.diff(at) / span
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    lowest = best.expected.value if best.expected else best.loss
    value = float(weights @ loss) - lowest
    noise = best.noise.sd if best.noise else 0.0
    variance = noise**2 * float((weights[~clipped] ** 2).sum()) + best.standard_error**2
    # Between a run that counts as untouched and one that does not, the place of the step is open.
    steps = (clipped[1:] != clipped[:-1]) * gaps * np.abs(np.diff(loss))
    variance += float((steps**2).sum()) / 12
    half = t_quantile(best.noise.freedom if best.noise else np.inf) * float(np.sqrt(variance))
    return Sensitivity(
        axis=name,
        value=Interval(value, value - half, value + half),
        span=span,
        runs=int(runs.sum()),
        clipped=int(clipped.sum()),
        skipped=skipped,
    )
