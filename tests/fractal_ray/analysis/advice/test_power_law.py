"""Power laws of critical values: coverage, widths, refusals and predictions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import stdtrit

from fractal_ray.analysis.advice.advice import scatter_text
from fractal_ray.analysis.advice.censored_line import fit_line
from fractal_ray.analysis.advice.law_results import PowerLaw
from fractal_ray.analysis.advice.power_law import columns_of, fit_power_law, predict
from fractal_ray.analysis.advice.results import Refusal, plain
from fractal_ray.analysis.advice.surface import State, Surface

Array = NDArray[np.float64]


def brackets(columns: int, step: float, scatter: float, b: float, seed: int) -> tuple[Array, ...]:
    """Return t, the ends of brackets on a lattice of this step, and the true intercept."""
    rng = np.random.default_rng(seed)
    t = np.linspace(3, 6, columns)
    a = rng.uniform(-1, 1)
    critical = a + b * t + scatter * rng.standard_normal(columns)
    low = np.floor(critical / step) * step
    return t, low, low + step, np.array(a)


def least_squares_widths(t: Array, middle: Array, at: float) -> Array:
    """Return the 95 % widths of intercept, slope and prediction of a line through the middles."""
    rows = np.column_stack([np.ones_like(t), t])
    coefficients = np.linalg.lstsq(rows, middle, rcond=None)[0]
    residual = middle - rows @ coefficients
    covariance = np.linalg.inv(rows.T @ rows) * float(residual @ residual) / (t.size - 2)
    place = np.array([1.0, at])
    variances = covariance[0, 0], covariance[1, 1], place @ covariance @ place
    return 2 * stdtrit(t.size - 2, 0.975) * np.sqrt(variances)


@pytest.mark.parametrize(("columns", "scatter"), [(4, 0.0), (6, 0.1)])
def test_intervals_hold_the_law_and_are_narrow(columns: int, scatter: float) -> None:
    """In at least 90 % of seeds the truth is held; widths are at most twice those of a fit.

    The fit is that of a line to the middles of the brackets.
    """
    seeds, b, at = 100, -0.37, 6.5
    held, widths, others = np.zeros(3), [], []
    for seed in range(seeds):
        t, low, high, a = brackets(columns, 0.1, scatter, b, seed)
        line = fit_line(t, low, high)
        intervals = line.at(0.0), line.slope, line.at(at)
        truths = float(a), b, float(a) + b * at
        held += [
            each.low <= truth <= each.high for each, truth in zip(intervals, truths, strict=True)
        ]
        widths.append([each.high - each.low for each in intervals])
        others.append(least_squares_widths(t, (low + high) / 2, at))
    assert (held >= 0.9 * seeds).all(), held
    assert (np.median(widths, axis=0) <= 2 * np.median(others, axis=0)).all()


def test_a_line_along_the_lattice_is_as_open_as_its_brackets() -> None:
    """All middles are wrong by one amount here: a fit of the middles would be sure of it."""
    t = np.linspace(3, 6, 8)
    line = fit_line(t, np.full(8, -2.0), np.full(8, -1.9))
    middle = line.at(float(t.mean()))
    assert line.scatter == 0
    assert middle.low <= -1.99 and middle.high >= -1.91
    assert line.slope.low < 0 < line.slope.high


def test_a_line_of_any_scale_and_shift() -> None:
    t, low, high, _ = brackets(6, 0.1, 0.05, -0.4, 3)
    one = fit_line(t, low, high)
    other = fit_line(t + 2, 5 + 10 * low, 5 + 10 * high)
    assert other.b == pytest.approx(10 * one.b, rel=1e-6)
    assert other.at(5.0).value == pytest.approx(5 + 10 * one.at(3.0).value, rel=1e-6)
    assert other.slope.low == pytest.approx(10 * one.slope.low, rel=1e-6)
    assert fit_line(t, low, high).slope == one.slope


def law_surface(a: float = -0.5, b: float = -0.4, columns: int = 6, noise: float = 0.0) -> Surface:
    """Return rates (y) against tokens (x): a bowl 0.7 decades below a cliff at 10^a tokens^b."""
    tokens = np.logspace(3, 6, columns)
    rates = np.logspace(-5, -1, 33)
    u, v = np.log10(tokens)[None, :], np.log10(rates)[:, None]
    critical = a + b * u
    loss = 3 - 0.2 * u + (v - critical + 0.7) ** 2 / 2
    loss = loss + noise * np.random.default_rng(0).standard_normal(loss.shape)
    over = v > critical
    return Surface(
        loss=loss,
        state=np.where(over, State.DEGRADED, State.TRAINED).astype(np.int8),
        broken=np.where(over, 0, 1).astype(np.int8),
        measured=np.ones(loss.shape, dtype=bool),
        x=tokens,
        y=rates,
        x_name="num_tokens",
        y_name="matrix_lr",
    )


def test_columns_have_a_best_and_a_bracket() -> None:
    for surface, axis in ((law_surface(noise=0.01), "x"), (law_surface(noise=0.01), "y")):
        surface = surface if axis == "x" else surface.transposed()
        columns = columns_of(surface, axis)  # pyright: ignore[reportArgumentType]
        assert len(columns) == 6
        for column in columns:
            critical = -0.5 - 0.4 * np.log10(column.amount)
            assert column.critical is not None and column.at_rim == ""
            assert column.critical.low <= 10**critical <= column.critical.high
            assert column.critical.value**2 == pytest.approx(
                column.critical.low * column.critical.high
            )
            assert column.best is not None
            assert column.best.low <= 10 ** (critical - 0.7) <= column.best.high
            assert column.best.high / column.best.low < 1.6
            assert column.within is not None and column.best_node_value is not None
            assert column.within[0] <= column.best_node_value <= column.within[1]


def test_the_law_and_its_predictions() -> None:
    law = fit_power_law(columns_of(law_surface(), "x"))
    assert isinstance(law, PowerLaw)
    assert law.a.low <= -0.5 <= law.a.high and law.b.low <= -0.4 <= law.b.high
    assert law.scatter == 0 and max(law.outside) < 1e-3 and law.rule_factor == 0.5
    inside, beyond = predict(law, 1e5), predict(law, 1e7)
    for prediction in (inside, beyond):
        truth = 10 ** (-0.5 - 0.4 * np.log10(prediction.amount))
        assert prediction.critical.low <= truth <= prediction.critical.high
        assert prediction.by_rule.value == pytest.approx(prediction.critical.value / 2)
        assert law.supported_factor > 0.5 and prediction.safe == prediction.by_rule
        assert prediction.run[0] <= prediction.critical.low
    assert inside.extrapolated == 0 and beyond.extrapolated == pytest.approx(1)
    ratios = [each.critical.high / each.critical.low for each in (inside, beyond)]
    assert ratios[1] > ratios[0]
    # No run at or below the supported factor times the fitted critical value is broken.
    fitted = np.array([predict(law, amount).critical.value for amount in law.amounts])
    surface = law_surface()
    below = surface.y[:, None] <= law.supported_factor * fitted * (1 + 1e-9)
    assert (surface.broken[below] == 1).all() and 0.7 < law.supported_factor < 1.3
    assert set(plain(law)) >= {"a", "b", "scatter", "residuals", "supported_factor"}
    assert "line" not in plain(law)


def test_refusals_have_a_reason() -> None:
    few = fit_power_law(columns_of(law_surface(columns=3), "x"))
    assert isinstance(few, Refusal) and few.code == "few_columns" and "there are 3" in few.reason
    open_end = fit_power_law(columns_of(law_surface(a=0.6), "x"))
    assert isinstance(open_end, Refusal) and open_end.code == "at_rim"
    assert "do not break" in open_end.reason and "1000" in open_end.reason
    broken = fit_power_law(columns_of(law_surface(b=-0.8), "x"))
    assert isinstance(broken, Refusal) and "have no unbroken run" in broken.reason


def test_residuals_beyond_the_noise_of_seeds_are_refused() -> None:
    surface = law_surface(columns=8)
    bent = np.where(np.arange(8) % 2 == 0, 0.25, -0.25)
    v = np.log10(surface.y)[:, None]
    over = v > -0.5 - 0.4 * np.log10(surface.x)[None, :] + bent
    surface = Surface(
        loss=surface.loss,
        state=np.where(over, State.DEGRADED, State.TRAINED).astype(np.int8),
        broken=np.where(over, 0, 1).astype(np.int8),
        measured=surface.measured,
        x=surface.x,
        y=surface.y,
    )
    columns = columns_of(surface, "x")
    assert isinstance(fit_power_law(columns), PowerLaw)
    assert isinstance(fit_power_law(columns, seed_noise=0.25), PowerLaw)
    refusal = fit_power_law(columns, seed_noise=0.05)
    assert isinstance(refusal, Refusal) and refusal.code == "beyond_noise"


def test_columns_without_labels_are_left_out() -> None:
    surface = law_surface(columns=5)
    broken = surface.broken.copy()
    broken[:, 2] = -1
    unknown = Surface(
        loss=surface.loss,
        state=np.where(broken == -1, State.UNKNOWN, surface.state).astype(np.int8),
        broken=broken,
        measured=surface.measured,
        x=surface.x,
        y=surface.y,
    )
    columns = columns_of(unknown, "x")
    assert columns[2].at_rim == "unknown" and columns[2].critical is None
    law = fit_power_law(columns)
    assert isinstance(law, PowerLaw) and len(law.amounts) == 4


def zigzag(size: float) -> Surface:
    """Return a surface of 8 columns whose critical values lie this many decades off a law."""
    surface = law_surface(columns=8)
    off = np.where(np.arange(8) % 2 == 0, size, -size)
    over = np.log10(surface.y)[:, None] > -0.5 - 0.4 * np.log10(surface.x)[None, :] + off
    return replace(
        surface,
        state=np.where(over, State.DEGRADED, State.TRAINED).astype(np.int8),
        broken=np.where(over, 0, 1).astype(np.int8),
    )


def seen_by(surface: Surface, steps: Sequence[int]) -> NDArray[np.int64]:
    """Return steps of each column, and 100 tokens a step."""
    numbers = np.array([steps, [100 * each for each in steps]], dtype=np.int64)
    return np.broadcast_to(numbers[:, None], (2, *surface.loss.shape))


def test_the_safe_value_lies_below_each_broken_run() -> None:
    """Take the factor that the runs support where it is smaller than that of the rule."""
    surface = zigzag(0.5)
    law = fit_power_law(columns_of(surface, "x", seen=seen_by(surface, [2, 2, 3, 4, 5, 6, 7, 8])))
    assert isinstance(law, PowerLaw)
    assert law.safe_factor == law.supported_factor < law.rule_factor == 0.5
    for column in columns_of(surface, "x"):  # also those that were merged
        prediction = predict(law, column.amount)
        assert column.last_unbroken is not None
        assert prediction.safe.value <= column.last_unbroken * (1 + 1e-9)
        assert prediction.safe == prediction.supported
        assert plain(prediction)["by_rule"]["value"] == 0.5 * prediction.critical.value
    scatter, residual = 10**law.scatter, 10 ** np.abs(law.residuals).max()
    text = f"scatter a factor {scatter:.2g}, largest residual a factor {residual:.2g}"
    assert scatter > 2 and scatter_text(law) == f"{text}, noise of seeds not checked"
    assert scatter_text(replace(law, seed_noise=0.5)) == f"{text}, noise of seeds a factor 3.2"


@pytest.mark.parametrize("axis", ["x", "y"])
def test_columns_with_the_same_runs_are_one(axis: Literal["x", "y"]) -> None:
    surface = law_surface(columns=6)
    seen = seen_by(surface, [2, 2, 3, 3, 3, 4])
    if axis == "y":
        surface, seen = surface.transposed(), seen.swapaxes(1, 2)
    amounts = surface.x if axis == "x" else surface.y
    columns = columns_of(surface, axis, seen=seen)
    assert [column.amount for column in columns] == [amounts[1], amounts[4], amounts[5]]
    assert [len(column.same_runs) for column in columns] == [1, 2, 0]
    assert columns[1].same_runs == tuple(amounts[2:4])
    refusal = fit_power_law(columns)
    assert isinstance(refusal, Refusal) and refusal.code == "few_columns"
    names = [f"{amount:g}" for amount in amounts]
    same = f"{names[0]} and {names[1]}; {names[2]} and {names[3]} and {names[4]}"
    assert refusal.reason.endswith(
        f"there are 3, as columns with the same runs count once ({same})"
    )


def test_columns_with_other_data_or_unknown_steps_stay_apart() -> None:
    surface = law_surface(columns=6)
    unknown = np.zeros((2, *surface.loss.shape), dtype=np.int64)
    other_tokens = seen_by(surface, [3] * 6).copy()
    other_tokens[1] += np.arange(6)  # such as with another number of rows a step
    for seen in (unknown, other_tokens):
        columns = columns_of(surface, "x", seen=seen)
        assert len(columns) == 6 and not any(column.same_runs for column in columns)


def test_a_merged_column_has_the_runs_of_all_its_columns() -> None:
    surface = law_surface(columns=4)
    measured = surface.measured.copy()
    measured[::2, 0], measured[1::2, 1] = False, False
    whole, half = columns_of(surface, "x"), columns_of(replace(surface, measured=measured), "x")
    (merged, *_) = columns_of(
        replace(surface, measured=measured), "x", seen=seen_by(surface, [2, 2, 3, 4])
    )
    assert merged.last_unbroken is not None and merged.first_broken is not None
    assert half[1].last_unbroken is not None and half[1].first_broken is not None
    step = surface.y[1] / surface.y[0]
    assert half[1].first_broken / half[1].last_unbroken == pytest.approx(step**2)
    assert merged.first_broken / merged.last_unbroken == pytest.approx(step)
    assert whole[1].amount == merged.amount
