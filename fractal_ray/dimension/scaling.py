"""Fit of a dimension to measurements at a ladder of scales, which all estimators share.

Counts, shares and areas go as a power of the scale, ``measured ~ scale**slope``, and the dimension
is ``base - slope``: base 0 for boxes, 1 for flips along a line, 2 for shares of pairs and areas.

* **Weights.** The line is fitted to logarithms, each with the weight of its variance between
  bootstrap draws, but at most the weight of an error of `FLOOR`: self-similar sets deviate from the
  power law by that much, whatever the number of runs.
* **Interval.** Two errors are combined: the spread between draws of blocks, and the spread between
  scales. The second is the spread between fits whose ends are moved in and out or, if larger, the
  error of a mean of local slopes: all blocks of one frame see one border, and resampling blocks
  cannot show that border's own deviation from the power law. A bent line, at scales where the frame
  or the lattice has an effect, thus widens the interval too.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.intervals import half_width
from fractal_ray.dimension.result import Estimate

FLOOR: Final = 0.01
"""Least error of a logarithm to base 2."""

MIN_SCALES: Final = 3
"""Least number of scales: a line through fewer leaves no residual to judge it by."""

NO_BOUNDARY: Final = "no boundary was met"


def fit_scaling(
    method: str,
    unit: str,
    scales: NDArray[np.float64],
    measured: NDArray[np.float64],
    draws: NDArray[np.float64] | None,
    blocks: int,
    *,
    base: int,
    fit: NDArray[np.bool_],
    uncorrected: NDArray[np.float64] | None = None,
    notes: tuple[str, ...] = (),
) -> Estimate:
    """Fit a dimension to measurements at a ladder of scales.

    Parameters
    ----------
    method, unit
        As in `Estimate`.
    scales
        (k,) scales above 0, the coarsest first.
    measured
        (k,) measurements, at least 0.
    draws
        (r, k) measurements of other draws of the blocks; None: no interval.
    blocks
        Number of blocks that were drawn from: windows if there are several, or parts of one.
    base
        The dimension is `base` minus the slope.
    fit
        (k,) True for scales to fit; scales without a measurement above 0 are left out.
    uncorrected
        (k,) `measured` before a correction that depends on a model. The distance between its fit
        and the fit of `measured` is an additional error: the model may be wrong by that much.
    notes
        Warnings to add to those of the fit.
    """
    seen = measured > 0
    chosen = _run_of(fit & seen)
    log_scale = np.log2(scales)
    log_measured = np.log2(np.where(seen, measured, np.nan))
    warnings = list(notes)
    value, interval, ends = None, None, None
    if not seen.any():
        warnings.append(NO_BOUNDARY)
    elif chosen.size < MIN_SCALES:
        few = "1 scale is" if chosen.size == 1 else f"{chosen.size} scales are"
        warnings.append(f"{few} not enough for a dimension")
    else:
        logs = _log_draws(draws, measured)
        error = np.full(scales.size, FLOOR) if logs is None else np.hypot(logs.std(axis=0), FLOOR)
        line = _Line(log_scale, 1 / error**2, base)
        value = float(line.dimension(log_measured, chosen))
        ends = (float(scales[chosen[0]]), float(scales[chosen[-1]]))
        if logs is None or blocks < 2:
            warnings.append("nothing to resample: no interval is given")
        else:
            others = [line.dimension(log_measured, part) for part in _ranges(chosen, seen)]
            spread = float(np.sqrt(np.mean(np.square(np.array(others) - value))))
            slopes = np.diff(log_measured[chosen]) / np.diff(log_scale[chosen])
            wobble = float(slopes.std(ddof=1)) / np.sqrt(slopes.size)
            # Resampling few blocks understates their differences.
            drawn = float(line.dimension(logs, chosen).std()) * (blocks / (blocks - 1)) ** 0.5
            errors = [drawn, max(spread, wobble)]
            if uncorrected is not None:
                plain = line.dimension(np.log2(np.where(seen, uncorrected, np.nan)), chosen)
                errors.append(abs(float(plain) - value))
            half = half_width(errors, blocks)
            interval = (max(0.0, value - half), min(2.0, value + half))
        value = min(2.0, max(0.0, value))
    return Estimate(
        method=method,
        value=value,
        interval=interval,
        unit=unit,
        scales=tuple(scales.tolist()),
        measured=tuple(measured.tolist()),
        fit_scales=ends,
        local_slopes=tuple((base - np.diff(log_measured) / np.diff(log_scale)).tolist()),
        blocks=blocks,
        warnings=tuple(warnings),
    )


class _Line:
    """Weighted least-squares line over some of the scales."""

    def __init__(self, x: NDArray[np.float64], weight: NDArray[np.float64], base: int) -> None:
        self.x, self.weight, self.base = x, weight, base

    def dimension(self, y: NDArray[np.float64], some: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the dimensions that fit (..., k) logarithms."""
        x, weight = self.x[some], self.weight[some]
        x = x - np.average(x, weights=weight)
        # Taken from y, a mean lets equal values give a slope of exactly 0.
        y = y[..., some] - y[..., some].mean(axis=-1, keepdims=True)
        return self.base - (y * x * weight).sum(axis=-1) / (x * x * weight).sum()


def _run_of(fit: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the longest run of scales to fit, the coarser of two runs of equal length."""
    best, start = np.empty(0, dtype=np.int64), 0
    for end in [*np.flatnonzero(~fit).tolist(), fit.size]:
        if end - start > best.size:
            best = np.arange(start, end)
        start = end + 1
    return best


def _ranges(chosen: NDArray[np.int64], seen: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return ranges with either end of the chosen one moved by up to a quarter, at least by one."""
    first, last, most = int(chosen[0]), int(chosen[-1]), max(1, chosen.size // 4)
    ranges = []
    for low in range(max(0, first - most), first + most + 1):
        for high in range(last - most, min(seen.size - 1, last + most) + 1):
            part = np.arange(low, high + 1)
            if part.size >= MIN_SCALES and seen[part].all():
                ranges.append(part)
    return ranges


def _log_draws(
    draws: NDArray[np.float64] | None, measured: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the logarithms of draws.

    A draw without any of a scale's few events counts as an eighth of them: the scale then hardly
    weighs, and the logarithm stays finite.
    """
    if draws is None:
        return None
    least = np.where(measured > 0, measured / 8, 1.0)
    return np.log2(np.maximum(draws, least))
