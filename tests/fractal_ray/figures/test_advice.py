"""Figures of the advice: what they mark, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest

from fractal_ray.analysis.advice.law_results import PowerLaw
from fractal_ray.analysis.advice.results import BestPoint
from fractal_ray.errors import SweepError
from fractal_ray.figures.advice import advice_figure, mark_advice
from fractal_ray.figures.catalog import draw
from fractal_ray.figures.critical import critical_figure
from fractal_ray.figures.maps import three_panel
from fractal_ray.sweep import Sweep, load

ROOT = Path(__file__).parents[3]
DATA = ROOT / "notebooks" / "data"


@pytest.fixture(scope="module")
def first_map() -> Sweep:
    return load(DATA / "first-map")


@pytest.fixture(scope="module")
def lr_tokens() -> Sweep:
    return load(DATA / "lr-tokens")


def test_the_best_and_its_regions_stand_at_real_values(first_map: Sweep) -> None:
    advice = first_map.advice()
    assert isinstance(advice.best, BestPoint)
    figure = advice_figure(advice, title="title")
    around, row, column = (axes for axes in figure.axes if axes.get_xlabel())
    assert (around.get_xscale(), around.get_xlabel()) == ("log", "unembedding_lr")
    stars = [line for line in around.lines if line.get_marker() == "*"]
    assert [(float(s.get_xdata()[0]), float(s.get_ydata()[0])) for s in stars] == [
        (advice.best.x, advice.best.y)
    ]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    for region in advice.safe:
        assert f"within {region.percent:g} % ({region.runs:,} runs)" in texts
    arrows = [text.get_text() for text in around.texts if text.get_text()]
    assert arrows == ["8.66x to 10.7x"]
    assert row.get_xlabel() == "unembedding_lr"
    assert column.get_xlabel() == "matrix_lr"


def test_nodes_that_were_not_run_have_the_colour_of_the_nearest_run(first_map: Sweep) -> None:
    advice, raster = first_map.advice(), first_map.raster()
    figure = advice_figure(advice, title="title")
    meshes = [each for each in figure.axes[0].collections if each.get_array() is not None]
    masks = [np.ma.getmaskarray(each.get_array()) for each in meshes]
    assert raster.inferred is not None
    inferred = raster.inferred & (advice.surface.broken >= 0)
    assert inferred.any()
    painted = sum((~mask).astype(int) for mask in masks).reshape(raster.outcome.shape)
    assert (painted[inferred | advice.surface.trained] == 1).all()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"not run, as the\nnearest run ({inferred.sum():,})" in texts


def test_runs_that_were_too_slow_are_hatched_on_the_losses(first_map: Sweep) -> None:
    figure = advice_figure(first_map.advice(), title="title")
    hatched = [each for each in figure.axes[0].collections if each.get_hatch()]
    assert len(hatched) == 1
    entries = {patch.get_label(): patch.get_hatch() for patch in figure.legends[0].get_patches()}
    assert entries["too slow (31)"] == hatched[0].get_hatch()
    assert not entries["degraded (235)"]


def test_the_map_of_run_marks_the_best(first_map: Sweep) -> None:
    advice, raster = first_map.advice(), first_map.raster()
    figure = three_panel(raster, title="title", label="trainable")
    mark_advice(figure, raster, advice)
    assert isinstance(advice.best, BestPoint)
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert float(star.get_xdata()[0]) == pytest.approx(np.log10(advice.best.x))
    assert "within 2 %" in figure.axes[0].get_legend().get_texts()[0].get_text()


def test_without_a_best_point_the_reason_is_named() -> None:
    known_set = load(ROOT / "tests/golden/datasets/map")
    with pytest.raises(SweepError, match="no losses"):
        draw(known_set, "advice")


def test_critical_shows_the_bracket_of_each_column(lr_tokens: Sweep) -> None:
    advice = lr_tokens.advice()
    assert advice.law is not None
    figure = critical_figure(advice, title="title")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("num_tokens", "learning_rate")
    bars = [line for line in axes.lines if line.get_marker() == "_"]
    ends = [tuple(map(float, line.get_ydata())) for line in bars]
    closed = [column for column in advice.law.columns if not column.at_rim]
    assert ends == [(column.last_unbroken, column.first_broken) for column in closed]


def test_critical_shows_both_safe_values_and_the_scatter(lr_tokens: Sweep) -> None:
    advice = lr_tokens.advice()
    assert advice.law is not None and isinstance(advice.law.fit, PowerLaw)
    figure, fit = critical_figure(advice, title="title"), advice.law.fit
    lines = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    critical = next(data for label, data in lines.items() if label.startswith("critical "))
    by_rule = lines["0.5 x critical (rule of thumb)"]
    supported = lines[f"{fit.supported_factor:.2g} x critical (supported by the runs)"]
    assert np.allclose(by_rule, 0.5 * np.asarray(critical))
    assert np.allclose(supported, fit.supported_factor * np.asarray(critical))
    heading = figure.get_suptitle()
    assert f"scatter a factor {10**fit.scatter:.2g}" in heading
    assert "noise of seeds not checked" in heading


def test_the_law_of_a_budget_names_its_safe_rate_and_the_columns_of_the_same_runs(
    lr_tokens: Sweep,
) -> None:
    advice = lr_tokens.advice(at=(3311.0,))
    assert advice.law is not None and isinstance(advice.law.fit, PowerLaw)
    assert len(advice.law.fit.amounts) == 9
    text = "\n".join(advice.lines())
    assert "939 (the same runs: 685): " in text and "1763 (the same runs: 1287): " in text
    (prediction,) = advice.law.predictions
    # The column of 3311 tokens broke at 0.449.
    assert prediction.safe.value < 0.449 < prediction.by_rule.value
    assert (
        f"safe {prediction.safe.value:.3g} (0.5 x critical = {prediction.by_rule.value:.3g}, the"
        f" data support {advice.law.fit.supported_factor:.2g} x = {prediction.supported.value:.3g})"
    ) in text


def test_critical_refuses_a_sweep_of_two_rates(first_map: Sweep) -> None:
    with pytest.raises(SweepError, match="no axis of this sweep changes the data"):
        critical_figure(first_map.advice(), title="title")
