"""A straight line through brackets: maximum likelihood for interval-censored normal values.

Each value lies in a bracket; values scatter around the line a + b t with a normal error of unknown
size. The likelihood of a line is the product of the probabilities of its brackets. Without scatter
all lines that pass through all brackets fit equally well, so the interval of each number is the
range of that number over them. With scatter the intervals are those of the profile likelihood, with
the threshold of Student's t for few brackets. Regression on the middles of the brackets would not
cover: where the line is parallel to the lattice, all middles are wrong by one amount.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.advice.results import Interval

Array = NDArray[np.float64]

_SIDE: Final = 51
"""Number of intercepts, and of slopes, in the table of likelihoods."""
_SCATTERS: Final = 10.0 ** np.linspace(-3, 1.2, 22)
"""Sizes of the scatter in the table, in units of the first guess."""
_TABLES: Final = 8
"""Largest number of times that the table is moved or made finer."""
_TINY: Final = 1e-300
"""Least probability of a bracket."""


@dataclass(frozen=True)
class CensoredLine:
    """A line a + b t through brackets, and the region of lines that the data allow.

    Parameters
    ----------
    a, b
        The line of largest likelihood: the middle of the lines that fit equally well.
    scatter
        Standard deviation of the values around the line.
    allowed
        (n, 2) pairs of a and b at the border of the 95 % region and within it.
    freedom
        Number of brackets less 2.
    """

    a: float
    b: float
    scatter: float
    allowed: Array
    freedom: int

    def at(self, t: float) -> Interval:
        """Return the line at t with its interval."""
        values = self.allowed @ np.array([1.0, t])
        return Interval(self.a + self.b * t, float(values.min()), float(values.max()))

    @property
    def slope(self) -> Interval:
        """Return the slope with its interval."""
        return Interval(self.b, float(self.allowed[:, 1].min()), float(self.allowed[:, 1].max()))


def fit_line(t: Array, low: Array, high: Array) -> CensoredLine:
    """Fit a line to n >= 3 brackets low <= value <= high at t.

    Returns
    -------
    CensoredLine
        Its intervals hold for one number at a time.
    """
    origin = float(t.mean())
    t = t - origin
    middle, width = (low + high) / 2, high - low
    spread = float((t**2).sum())
    slope = float(t @ middle) / spread
    start = float(middle.mean())
    freedom = len(t) - 2
    residual = middle - start - slope * t
    guess = float(np.sqrt((residual @ residual) / freedom + (width**2).mean() / 12))
    guess = max(guess, 1e-12 * max(1.0, float(np.abs(middle).max())))
    from scipy.special import stdtrit  # takes a while to import

    quantile = float(stdtrit(freedom, 0.975))
    threshold = len(t) / 2 * np.log1p(quantile**2 / freedom)
    reach = quantile * guess * 1.5
    a = start + np.linspace(-reach, reach, _SIDE) / np.sqrt(len(t))
    b = slope + np.linspace(-reach, reach, _SIDE) / np.sqrt(spread)
    table, scatters = _profile(a, b, t, low, high, guess)
    for _ in range(_TABLES):
        inside = table >= table.max() - threshold
        (a, a_done), (b, b_done) = (
            _adjusted(a, inside.any(axis=1)),
            _adjusted(b, inside.any(axis=0)),
        )
        if a_done and b_done:
            break
        table, scatters = _profile(a, b, t, low, high, guess)
    # Lines with the largest likelihood: without scatter, those through all brackets.
    top = table >= table.max() - 1e-3
    best_a, best_b = np.nonzero(top)
    mean_a, mean_b = float(a[best_a].mean()), float(b[best_b].mean())
    rows, columns = _cells_with_border(a, b, table - (table.max() - threshold))
    allowed = np.column_stack([rows - columns * origin, columns])
    near = np.abs(a - mean_a).argmin(), np.abs(b - mean_b).argmin()
    scatter = float(scatters[near])
    return CensoredLine(
        a=mean_a - mean_b * origin,
        b=mean_b,
        scatter=0.0 if scatter <= 1.5 * _SCATTERS[0] * guess else scatter,
        allowed=allowed,
        freedom=freedom,
    )


def outside(line: Array, low: Array, high: Array) -> Array:
    """Return the distance of each value of a line to its bracket; 0 within it."""
    return np.maximum(np.maximum(low - line, line - high), 0.0)


def _profile(
    a: Array, b: Array, t: Array, low: Array, high: Array, guess: float
) -> tuple[Array, Array]:
    """Return the log likelihood of each line at its best scatter, and that scatter."""
    from scipy.special import ndtr  # takes a while to import

    line = a[:, None, None] + b[None, :, None] * t
    upper, lower = high - line, low - line
    # By symmetry, take the side on which both probabilities are small: no cancellation.
    flip = lower > 0
    upper, lower = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    best = np.full(line.shape[:2], -np.inf)
    scatters = np.zeros(line.shape[:2])
    for scatter in _SCATTERS * guess:
        share = ndtr(upper / scatter) - ndtr(lower / scatter)
        total = np.log(np.maximum(share, _TINY)).sum(axis=2)
        better = total > best
        best = np.where(better, total, best)
        scatters = np.where(better, scatter, scatters)
    return best, scatters


def _adjusted(values: Array, inside: NDArray[np.bool_]) -> tuple[Array, bool]:
    """Return the next side of a table, and True if it need not change.

    The allowed part must end within the range and fill at least 35 % of it.
    """
    low, high = np.flatnonzero(inside)[[0, -1]]
    step = float(values[1] - values[0])
    if low == 0 or high == len(values) - 1:
        margin = step * (len(values) - 1) / 2
        return np.linspace(values[0] - margin, values[-1] + margin, len(values)), False
    if high - low < 0.35 * len(values):
        margin = max(0.3 * (high - low), 2) * step
        return np.linspace(values[low] - margin, values[high] + margin, len(values)), False
    return values, True


def _cells_with_border(a: Array, b: Array, height: Array) -> tuple[Array, Array]:
    """Return the places (a, b) of a table with height >= 0, and where edges of it cross 0."""
    rows, columns = np.nonzero(height >= 0)
    places = [(a[rows], b[columns])]
    for axis in (0, 1):
        size = height.shape[axis]
        first, second = np.arange(size - 1), np.arange(1, size)
        one, two = height.take(first, axis), height.take(second, axis)
        crossing = (one >= 0) != (two >= 0)
        i, j = np.nonzero(crossing)
        start, end = one[i, j], np.maximum(two[i, j], -1e6)
        start = np.maximum(start, -1e6)
        share = start / (start - end)
        if axis == 0:
            places.append((a[i] + share * (a[i + 1] - a[i]), b[j]))
        else:
            places.append((a[i], b[j] + share * (b[j + 1] - b[j])))
    return (
        np.concatenate([place[0] for place in places]),
        np.concatenate([place[1] for place in places]),
    )
