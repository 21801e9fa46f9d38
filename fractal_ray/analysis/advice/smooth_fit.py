"""A smooth surface through noisy losses: a quadratic with a correction as large as the data need.

The loss is a quadratic in the axis coordinates, plus Legendre polynomials up to degree 8 whose
coefficients have a normal prior with mean 0. Noise and prior variance are not chosen: the fit
averages over a table of prior variances, each with its marginal likelihood (Bayesian model
averaging). Where the data show a plain quadratic, the result is close to its least-squares fit;
where they show more, the intervals widen accordingly. Intervals of such fits cover as confidence
intervals do (Wahba, J. R. Stat. Soc. B 45, 133 (1983); Nychka, J. Am. Stat. Assoc. 83, 1134
(1988)).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from fractal_ray.analysis.advice.results import Interval, Noise

Array = NDArray[np.float64]

DEGREE: Final = 8
"""Largest total degree of the polynomials."""
_FREE: Final = 2
"""Largest total degree without a prior."""
_DECAYS: Final = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 0.7)
"""Ratios of the prior standard deviations of one degree to those of the degree below."""
_TOPS: Final = (4, 8)
"""Largest total degrees of the correction."""
_PLAIN: Final = 0.003
"""Largest decay with which higher degrees than the smallest of `_TOPS` are too small to matter."""
_LOOSER: Final = 30.0
"""Factor of the prior variance in the directions that the data show: less shrinkage, less bias."""
_LOOSENESS: Final = float(np.log(2.0))
"""Standard deviation of the logarithm of the prior's scale around decay x quadratic terms."""
_VARIANCES: Final = 10.0 ** np.arange(-8.0, 13.0, 0.5)
"""Prior variances of the coefficients of degree 3, in units of the noise variance."""
_ROUNDING: Final = 1e-13
"""Relative rounding error of losses, below which no noise is resolved."""


@dataclass(frozen=True)
class SmoothFit:
    """A fitted surface: coefficients with their covariance, in axis coordinates.

    Parameters
    ----------
    centre, half
        The box of the fitted nodes; polynomials are functions of (coordinate - centre) / half.
    degrees
        (k, 2) degrees of each polynomial in u and v.
    mean, covariance
        (k,) and (k, k) of the coefficients.
    sd, freedom
        Noise of one run, and its degrees of freedom.
    decay
        Ratio of the terms of one degree to those of the degree below that the losses show.
    """

    centre: Array
    half: Array
    degrees: NDArray[np.int64]
    mean: Array
    covariance: Array
    sd: float
    freedom: float
    decay: float

    @property
    def quantile(self) -> float:
        """Return Student's t that makes 95 % intervals of standard errors."""
        return t_quantile(self.freedom)

    def rows(self, u: Array, v: Array, du: int = 0, dv: int = 0) -> Array:
        """Return the (n, k) values of a derivative of the polynomials at n places."""
        return design(
            (u - self.centre[0]) / self.half[0],
            (v - self.centre[1]) / self.half[1],
            self.degrees,
            du,
            dv,
        ) / (self.half[0] ** du * self.half[1] ** dv)

    def value(self, u: Array, v: Array, du: int = 0, dv: int = 0) -> Array:
        """Return the fitted loss, or a derivative of it, at n places."""
        return self.rows(u, v, du, dv) @ self.mean

    def grid(self, u: Array, v: Array, du: int = 0, dv: int = 0) -> Array:
        """Return the (nu, nv) fitted loss, or a derivative of it, on a grid of places."""
        table = np.zeros(self.degrees.max(axis=0) + 1)
        table[self.degrees[:, 0], self.degrees[:, 1]] = self.mean
        s, t = (u - self.centre[0]) / self.half[0], (v - self.centre[1]) / self.half[1]
        left, right = (
            one_side(places, size, order)
            for places, size, order in zip((s, t), table.shape, (du, dv), strict=True)
        )
        return left @ table @ right.T / (self.half[0] ** du * self.half[1] ** dv)

    def error(self, rows: Array) -> Array:
        """Return the standard errors of n linear combinations (n, k) of the coefficients."""
        return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", rows, self.covariance, rows), 0.0))

    def interval(self, row: Array) -> Interval:
        """Return a linear combination (k,) of the coefficients with its 95 % interval."""
        value = float(row @ self.mean)
        half = self.quantile * float(self.error(row[None])[0])
        return Interval(value, value - half, value + half)

    def inflated(self, factor: float) -> "SmoothFit":
        """Return the fit with standard errors multiplied by a factor."""
        return replace(self, covariance=self.covariance * factor**2)


def t_quantile(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit  # takes a while to import

    return float(stdtrit(max(freedom, 1.0), 0.975))


def design(s: Array, t: Array, degrees: NDArray[np.int64], ds: int = 0, dt: int = 0) -> Array:
    """Return the (n, k) derivatives of normalised Legendre polynomials at s, t in [-1, 1]."""
    sizes = degrees.max(axis=0) + 1
    left, right = one_side(s, sizes[0], ds), one_side(t, sizes[1], dt)
    return left[:, degrees[:, 0]] * right[:, degrees[:, 1]]


def one_side(places: Array, size: int, derivative: int) -> Array:
    """Return the (n, size) derivatives of normalised Legendre polynomials in one variable."""
    series = np.eye(size)
    if derivative:
        series = legendre.legder(series, derivative)
    values = legendre.legvander(places, len(series) - 1) @ series
    return values * np.sqrt(2 * np.arange(size) + 1)


def fit_surface(
    u: Array, v: Array, loss: Array, noise: Noise | None = None, least_decay: float = 0.0
) -> SmoothFit | None:
    """Fit a smooth surface to n losses at axis coordinates u, v.

    Parameters
    ----------
    noise
        Noise of one run from seeds; it counts beside the residuals with its degrees of freedom.
    least_decay
        Smallest `decay` that is considered; that of a fit to a larger region bounds it.

    Returns
    -------
    None if there are too few nodes for a quadratic and its noise, or they lie on a curve.
    """
    centre, half = _box(u, v)
    s, t = (u - centre[0]) / half[0], (v - centre[1]) / half[1]
    degrees = _degrees(np.unique(u).size, np.unique(v).size)
    total = degrees.sum(axis=1)
    free = total <= _FREE
    prior_freedom = noise.freedom if noise is not None else 0.0
    size, count = loss.size, int(free.sum())
    if size + prior_freedom < count + 1 or size < count:
        return None
    middle = float(loss.mean())
    scale = float(np.abs(loss - middle).max()) or 1.0
    y = (loss - middle) / scale
    x = design(s, t, degrees)
    q, r = np.linalg.qr(x[:, free])
    if np.abs(np.diag(r)).min() < 1e-9 * np.abs(np.diag(r)).max():
        return None
    inverse = np.linalg.inv(r)
    freedom = size - count + prior_freedom
    floor = size * (_ROUNDING * max(1.0, abs(middle) / scale)) ** 2
    extra = prior_freedom * (noise.sd / scale) ** 2 if noise is not None else 0.0
    decays = [decay for decay in _DECAYS if decay >= least_decay] or [_DECAYS[-1]]
    kinds = [(decay, top) for decay in decays for top in (_TOPS if decay > _PLAIN else _TOPS[:1])]
    order = total[~free]
    priors = [np.where(order <= top, decay ** (order - _FREE - 1.0), 0.0) for decay, top in kinds]
    parts = _corrections(x[:, ~free], q, y, priors)
    scores, sums = zip(*(part.scores(freedom, extra + floor) for part in parts), strict=True)
    score = np.concatenate(scores)
    if (~free).any():
        scale_of_curve = _curvature(inverse @ (q.T @ y), total[free])
        deviations = 0.5 * np.log(np.tile(_VARIANCES, len(parts)) * np.concatenate(sums) / freedom)
        expected = np.log(np.repeat([d for d, _ in kinds], _VARIANCES.size) * scale_of_curve)
        score = score - 0.5 * ((deviations - expected) / _LOOSENESS) ** 2
        # A decay with one largest degree weighs as much as one with several.
        single = np.repeat([decay <= _PLAIN for decay, _ in kinds], _VARIANCES.size)
        score = score + np.where(single, np.log(len(_TOPS)), 0.0)
    weights = np.exp(score - score.max())
    keep = np.flatnonzero(weights > 1e-4 * weights.sum())
    weights = weights[keep] / weights[keep].sum()
    variances = np.concatenate(sums)[keep] / freedom
    decay = float(np.exp(weights @ np.log([kinds[index // _VARIANCES.size][0] for index in keep])))
    means, spread = np.zeros((keep.size, int((~free).sum()))), 0.0
    for row, index in enumerate(keep):
        part, number = divmod(int(index), _VARIANCES.size)
        means[row], unit = parts[part].posterior(_VARIANCES[number])
        spread = spread + weights[row] * variances[row] * unit
    correction = weights @ means
    shifts = (means - correction) * np.sqrt(weights)[:, None]
    across = spread + shifts.T @ shifts
    # The free coefficients follow from the others by least squares.
    carry = inverse @ (q.T @ x[:, ~free])
    variance = float(weights @ variances)
    mean, covariance = np.zeros(len(degrees)), np.zeros((len(degrees), len(degrees)))
    mean[free] = inverse @ (q.T @ y) - carry @ correction
    mean[~free] = correction
    covariance[np.ix_(free, free)] = variance * inverse @ inverse.T + carry @ across @ carry.T
    covariance[np.ix_(free, ~free)] = -carry @ across
    covariance[np.ix_(~free, free)] = -(carry @ across).T
    covariance[np.ix_(~free, ~free)] = across
    mean *= scale
    mean[_constant(degrees)] += middle
    sd = float(np.sqrt(variance)) * scale
    return SmoothFit(centre, half, degrees, mean, covariance * scale**2, sd, freedom, decay)


def _box(u: Array, v: Array) -> tuple[Array, Array]:
    """Return centre and half lengths of the box of the nodes; 1 for a side without length."""
    low, high = np.array([u.min(), v.min()]), np.array([u.max(), v.max()])
    half = (high - low) / 2
    return (low + high) / 2, np.where(half > 0, half, 1.0)


def _degrees(columns: int, rows: int) -> NDArray[np.int64]:
    """Return the degrees of all polynomials that numbers of columns and rows can resolve."""
    most = range(DEGREE + 1)
    return np.array(
        [(i, j) for i in most for j in most if i + j <= DEGREE and i < columns and j < rows]
    )


def _curvature(free: Array, total: NDArray[np.int64]) -> float:
    """Return the root mean square of the quadratic terms of a fit without correction."""
    return float(np.sqrt((free[total == _FREE] ** 2).mean())) + _ROUNDING


def _constant(degrees: NDArray[np.int64]) -> int:
    """Return the index of the constant polynomial."""
    return int(np.flatnonzero(degrees.sum(axis=1) == 0)[0])


@dataclass(frozen=True)
class _Correction:
    """Polynomials with a prior, seen across the free ones: a spectrum for one decay of the prior.

    `used` are the columns whose prior is not 0. `singular` and `directions` are those of these
    columns scaled by their prior; `z` are the losses in this basis; `rest` is the sum of squares
    that no polynomial explains.
    """

    prior: Array
    used: NDArray[np.int64]
    singular: Array
    directions: Array
    z: Array
    rest: float

    def scores(self, freedom: float, extra: float) -> tuple[Array, Array]:
        """Return log marginal likelihoods and sums of squares for each prior variance."""
        gains = 1 + _VARIANCES[:, None] * self.singular**2
        squares = extra + self.rest + (self.z**2 / gains).sum(axis=1)
        return -0.5 * np.log(gains).sum(axis=1) - 0.5 * freedom * np.log(squares), squares

    def posterior(self, variance: float) -> tuple[Array, Array]:
        """Return mean and covariance of the coefficients with a prior, for noise 1."""
        gain = variance * self.singular**2
        variances = variance * (1 + (_LOOSER - 1) * gain / (1 + gain))
        shrunk = variances / (1 + variances * self.singular**2)
        turned = np.zeros((self.prior.size, self.used.size))
        turned[self.used] = self.prior[self.used, None] * self.directions.T
        return turned @ (shrunk * self.singular * self.z), (turned * shrunk) @ turned.T


def _corrections(penalised: Array, q: Array, y: Array, priors: list[Array]) -> list[_Correction]:
    """Return the correction for each vector of prior standard deviations of the columns."""
    remains = y - q @ (q.T @ y)
    across = penalised - q @ (q.T @ penalised)
    across -= q @ (q.T @ across)
    columns = penalised.shape[1]
    if not columns:
        none = np.zeros(0)
        empty = np.zeros(0, dtype=np.int64)
        square = float((remains**2).sum())
        return [_Correction(none, empty, none, np.zeros((0, 0)), none, square)]
    basis, triangle = np.linalg.qr(across)
    inside = basis.T @ remains
    rest = float(((remains - basis @ inside) ** 2).sum())
    corrections = []
    for prior in priors:
        used = np.flatnonzero(prior)
        scaled = triangle[:, used] * prior[used]
        short = len(scaled) < used.size
        left, singular, directions = np.linalg.svd(scaled, full_matrices=short)
        z = left.T @ inside
        unexplained = rest + max(float(inside @ inside - z @ z), 0.0)
        missing = (0, used.size - singular.size)
        z, singular = np.pad(z, missing), np.pad(singular, missing)
        corrections.append(_Correction(prior, used, singular, directions, z, unexplained))
    return corrections
