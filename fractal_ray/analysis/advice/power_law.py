"""Critical values along an axis that changes the data seen, and the power law through them.

Losses of different columns are not comparable unless they are validation losses, so each column has
its own best, its own range within 2 % and its own bracket of the critical value. The critical value
lies in its bracket; the law log10 critical = a + b log10 amount is fitted to the brackets, not to
their middles (`censored_line.py`). Columns whose runs have the same steps and tokens hold the same
runs, because steps are whole numbers; they are one column.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.advice.basin import Mask
from fractal_ray.analysis.advice.censored_line import CensoredLine, fit_line, outside
from fractal_ray.analysis.advice.cliff import margin_along
from fractal_ray.analysis.advice.law_results import Column, PowerLaw, Prediction
from fractal_ray.analysis.advice.location import locate
from fractal_ray.analysis.advice.results import Interval, Margin, Noise, Refusal
from fractal_ray.analysis.advice.smooth_fit import Array, fit_surface
from fractal_ray.analysis.advice.surface import Surface, real_value

RULE_FACTOR: Final = 0.5
"""Factor of the rule of thumb: the safe value over the critical value."""
LEAST_COLUMNS: Final = 4
"""Least number of columns of a power law."""
_WITHIN: Final = 0.02
_COLUMN_NODES: Final = 6
"""Least number of nodes of a column whose optimum has an interval."""


def columns_of(
    surface: Surface,
    data_axis: Literal["x", "y"],
    noise: Noise | None = None,
    seen: NDArray[np.int64] | None = None,
) -> tuple[Column, ...]:
    """Return the best, the range within 2 % and the critical bracket of each column.

    Parameters
    ----------
    surface
        Losses and labels; on a refined lattice only columns with at least two runs are returned.
    data_axis
        The axis that changes the data. Columns are its values.
    noise
        Noise of one run from seeds.
    seen
        (2, ny, nx) steps and tokens of each run, 0 where they are not known. Columns with the same
        numbers are merged.
    """
    if data_axis == "y":
        surface = surface.transposed()
        seen = None if seen is None else seen.swapaxes(1, 2)
    columns = []
    for group in _groups(surface, seen):
        index = group[-1]
        merged = _merged(surface, group)
        if merged.measured[:, index].sum() >= 2:
            same_runs = tuple(float(surface.x[other]) for other in group[:-1])
            columns.append(replace(_column(merged, index, noise), same_runs=same_runs))
    return tuple(columns)


def _groups(surface: Surface, seen: NDArray[np.int64] | None) -> list[list[int]]:
    """Return the columns that have runs, those with the same steps and tokens together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in np.flatnonzero(surface.measured.any(axis=0)).tolist():
        numbers = (0, 0) if seen is None else tuple(seen[:, :, index].max(axis=1).tolist())
        groups.setdefault(numbers if all(numbers) else (index,), []).append(index)
    return sorted(groups.values(), key=lambda group: group[-1])


def _merged(surface: Surface, group: list[int]) -> Surface:
    """Return a surface whose last column of a group has the runs of the whole group."""
    if len(group) == 1:
        return surface
    last = group[-1]
    arrays = {name: getattr(surface, name).copy() for name in ("loss", "state", "broken")}
    measured = surface.measured.copy()
    for other in reversed(group[:-1]):
        lacking = ~measured[:, last] & measured[:, other]
        for array in arrays.values():
            array[lacking, last] = array[lacking, other]
        measured[:, last] |= lacking
    return replace(surface, measured=measured, **arrays)


def _column(surface: Surface, index: int, noise: Noise | None) -> Column:
    amount = float(surface.x[index])
    trained = surface.trained[:, index]
    labels = np.where(surface.measured[:, index], surface.broken[:, index], -1).astype(np.int8)
    best, loss, value, within = None, None, None, None
    start = 0
    if trained.any():
        losses = np.where(trained, surface.loss[:, index], np.inf)
        start = int(losses.argmin())
        loss, value = float(losses[start]), float(surface.y[start])
        good = np.flatnonzero(losses <= loss + _WITHIN * abs(loss))
        within = float(surface.y[good[0]]), float(surface.y[good[-1]])
        best = _column_best(surface, index, _run_around(trained, start), noise)
    elif (labels == 1).any():
        start = int(np.flatnonzero(labels == 1)[0])
    margin = margin_along(
        surface.y[start:],
        labels[start:],
        np.zeros(labels[start:].shape, dtype=bool),
        direction="+y",
        scale=surface.y_scale,
    )
    return Column(
        amount=amount,
        best=best,
        best_loss=loss,
        best_node_value=value,
        within=within,
        last_unbroken=margin.last_unbroken,
        first_broken=margin.first_broken,
        critical=_critical(margin),
        at_rim=_at_rim(margin),
    )


def _run_around(nodes: Mask, start: int) -> Mask:
    """Return the unbroken run of True in a line around a place."""
    blocked = np.flatnonzero(~nodes)
    low = blocked[blocked < start]
    high = blocked[blocked > start]
    result = np.zeros_like(nodes)
    result[(low[-1] + 1 if low.size else 0) : (high[0] if high.size else None)] = True
    return result & nodes


def _column_best(surface: Surface, index: int, nodes: Mask, noise: Noise | None) -> Interval | None:
    """Return the optimum of a column: the narrowest interval of fits to nested parts of it."""
    places: Array = surface.v
    best: Interval | None = None
    while nodes.sum() >= _COLUMN_NODES:
        v, loss = places[nodes], surface.loss[nodes, index]
        fit = fit_surface(np.zeros(v.size), v, loss, noise)
        if fit is None:
            break
        location = locate(fit, lambda u, places: np.ones((u.size, places.size), dtype=bool))
        interval = location.v
        inner = not any(location.ends[2:])
        if best is None or (inner and interval.high - interval.low < best.high - best.low):
            best = interval
        values = fit.value(np.zeros(v.size), v)
        part = np.zeros_like(nodes)
        part[np.flatnonzero(nodes)[values <= np.quantile(values, 0.6)]] = True
        part = _run_around(part, int(np.flatnonzero(nodes)[values.argmin()]))
        if part.sum() == nodes.sum():
            break
        nodes = part
    if best is None:
        return None
    value, low, high = (
        real_value(each, surface.y_scale) for each in (best.value, best.low, best.high)
    )
    return Interval(value, low, high)


def _critical(margin: Margin) -> Interval | None:
    low, high = margin.last_unbroken, margin.first_broken
    if low is None or high is None:
        return None
    middle = np.sqrt(low * high) if margin.scale == "log" else (low + high) / 2
    return Interval(float(middle), low, high)


def _at_rim(margin: Margin) -> Literal["", "unbroken", "broken", "unknown"]:
    if margin.first_broken is None:
        return "unknown" if margin.last_unbroken is None else "unbroken"
    return "broken" if margin.last_unbroken is None else ""


def fit_power_law(columns: Sequence[Column], seed_noise: float | None = None) -> PowerLaw | Refusal:
    """Fit the law critical = 10^a x amount^b to the brackets of the columns.

    Parameters
    ----------
    columns
        Columns with positive amounts and positive critical values. Columns without any labelled
        run are left out.
    seed_noise
        Standard deviation of log10 critical between seeds. Without it the residuals are not
        checked.

    Returns
    -------
    Refusal
        With the code "few_columns", "not_positive", "at_rim" or "beyond_noise".
    """
    known = [column for column in columns if column.at_rim != "unknown"]
    if len(known) < LEAST_COLUMNS:
        return Refusal(
            "few_columns",
            f"a power law needs at least {LEAST_COLUMNS} columns with labelled runs;"
            f" there are {len(known)}{_merged_text(known)}",
        )
    for side, words in (("unbroken", "do not break"), ("broken", "have no unbroken run")):
        amounts = [f"{column.amount:g}" for column in known if column.at_rim == side]
        if amounts:
            return Refusal(
                "at_rim",
                f"{len(amounts)} of {len(known)} columns {words} within the grid, so their critical"
                f" values lie beyond its rim: {', '.join(amounts)}",
            )
    amounts, low, high = (
        np.array([getattr(column, name) for column in known], dtype=np.float64)
        for name in ("amount", "last_unbroken", "first_broken")
    )
    if (amounts <= 0).any() or (low <= 0).any():
        return Refusal("not_positive", "a power law needs positive values on both axes")
    t, low, high = np.log10(amounts), np.log10(low), np.log10(high)
    line = fit_line(t, low, high)
    fitted = line.a + line.b * t
    beyond = outside(fitted, low, high)
    if seed_noise is not None and _beyond_noise(beyond, high - low, seed_noise, line.freedom):
        return Refusal(
            "beyond_noise",
            f"the critical values lie up to a factor {10 ** beyond.max():.3g} off any power law,"
            f" beyond the noise of seeds (a factor {10**seed_noise:.3g})",
        )
    places = np.log10([amount for column in known for amount in (*column.same_runs, column.amount)])
    ends = np.repeat(low, [1 + len(column.same_runs) for column in known])
    supported = float(10 ** (ends - line.a - line.b * places).min())
    return PowerLaw(
        a=line.at(0.0),
        b=line.slope,
        scatter=line.scatter,
        residuals=tuple(((low + high) / 2 - fitted).tolist()),
        outside=tuple(beyond.tolist()),
        amounts=tuple(amounts.tolist()),
        rule_factor=RULE_FACTOR,
        supported_factor=supported,
        safe_factor=min(RULE_FACTOR, supported),
        seed_noise=seed_noise,
        line=line,
    )


def _merged_text(columns: Sequence[Column]) -> str:
    groups = [(*column.same_runs, column.amount) for column in columns if column.same_runs]
    texts = [" and ".join(f"{amount:g}" for amount in group) for group in groups]
    return f", as columns with the same runs count once ({'; '.join(texts)})" if texts else ""


def _beyond_noise(beyond: Array, widths: Array, noise: float, freedom: int) -> bool:
    """Return True if the distances to the brackets are too large for noise of this size.

    A noise below the resolution of the brackets (width / sqrt(12)) is not resolved.
    """
    from scipy.special import chdtri  # takes a while to import

    scale = np.maximum(noise, widths / np.sqrt(12))
    return float(((beyond / scale) ** 2).sum()) > float(chdtri(freedom, 0.05))


def predict(law: PowerLaw, amount: float) -> Prediction:
    """Return the critical and the safe value that a power law predicts at an amount."""
    from fractal_ray.analysis.advice.smooth_fit import t_quantile

    line: CensoredLine = law.line
    t = float(np.log10(amount))
    place = line.at(t)
    half = t_quantile(line.freedom) * line.scatter
    low = 10 ** (place.value - np.hypot(place.value - place.low, half))
    high = 10 ** (place.value + np.hypot(place.high - place.value, half))
    critical = Interval(10**place.value, 10**place.low, 10**place.high)
    by_rule, supported, safe = (
        Interval(factor * critical.value, factor * critical.low, factor * critical.high)
        for factor in (law.rule_factor, law.supported_factor, law.safe_factor)
    )
    ends = np.log10(min(law.amounts)), np.log10(max(law.amounts))
    return Prediction(
        amount=float(amount),
        critical=critical,
        run=(float(low), float(high)),
        safe=safe,
        by_rule=by_rule,
        supported=supported,
        extrapolated=float(max(ends[0] - t, t - ends[1], 0.0)),
    )
