"""LR sensitivity against integrals of known profiles."""

import numpy as np
import pytest
from scipy.integrate import quad

from fractal_ray.analysis.advice.best import find_best
from fractal_ray.analysis.advice.results import BestPoint
from fractal_ray.analysis.advice.sensitivity import sensitivities
from fractal_ray.analysis.advice.surface import State
from tests.fractal_ray.analysis.advice.known_surfaces import Known, bowl, changed, refined_nodes

BOWL = Known(bowl, np.array([-2.03, -1.41, 2.5, 1.5, 0.9, 0.0]), (-4, 0), (-3, 1))


def true_sensitivity(v: float, untouched: float, edge: float = np.inf) -> float:
    """Return the mean of min(loss, untouched) over x, minus the best; broken beyond an edge."""

    def loss(u: float) -> float:
        value = float(BOWL.loss(np.array(u), np.array(v)))
        return untouched if u > edge else min(value, untouched)

    whole = quad(loss, -4, 0, points=[p for p in (edge, -3.4, -0.6) if -4 < p < 0], limit=200)[0]
    return whole / 4 - 2.5


@pytest.mark.parametrize("edge", [np.inf, -1.22])
def test_intervals_hold_the_integral(edge: float) -> None:
    seeds, held = 10, 0
    for seed in range(seeds):
        surface = BOWL.surface(33, 9, 0.05, seed)
        over = np.broadcast_to(surface.u > edge, surface.loss.shape)
        surface = changed(
            surface,
            state=np.where(over, State.DIVERGED, surface.state).astype(np.int8),
            broken=np.where(over, 0, 1).astype(np.int8),
            loss=np.where(over, np.nan, surface.loss),
            untouched=4.0,
        )
        best = find_best(surface)
        assert isinstance(best, BestPoint)
        result = sensitivities(surface, best)[0]
        assert result.value is not None and result.runs == 33 and result.span == 4
        truth = true_sensitivity(float(surface.v[best.node[0]]), 4.0, edge)
        held += result.value.low <= truth <= result.value.high
        assert result.value.high - result.value.low < 0.4
    assert held >= 0.9 * seeds


def test_runs_near_a_refined_border_do_not_count_more() -> None:
    nodes = refined_nodes(65, lambda column, row: np.abs(column - 0.8) < 0.06)
    full = BOWL.surface(65, 65, 0.0, 0)
    values = []
    for measured in (None, nodes):
        surface = changed(BOWL.surface(65, 65, 1e-6, 0, measured), untouched=50.0)
        best = find_best(surface)
        assert isinstance(best, BestPoint)
        result = sensitivities(surface, best)[0].value
        assert result is not None
        values.append(result.value)
    assert full.x.size == 65
    assert values[1] == pytest.approx(values[0], rel=0.05)


def test_failed_runs_are_left_out_and_both_axes_are_given() -> None:
    surface = changed(BOWL.surface(17, 17, 0.01, 0), untouched=4.0)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    iy, ix = best.node
    state, measured = surface.state.copy(), surface.measured.copy()
    state[iy, 1], measured[iy, 1] = State.FAILED, False
    state[2, ix] = State.UNKNOWN
    x, y = sensitivities(changed(surface, state=state, measured=measured), best)
    assert (x.axis, x.runs, x.skipped) == ("x", 16, 1) and (y.axis, y.runs, y.skipped) == (
        "y",
        16,
        1,
    )
    assert x.clipped > 0


def test_no_sensitivity_without_an_untouched_loss() -> None:
    surface = changed(BOWL.surface(9, 9, 0.01, 0), untouched=None)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    for result in sensitivities(surface, best):
        assert result.value is None and "untouched" in result.reason


def test_an_untouched_loss_per_node() -> None:
    surface = BOWL.surface(17, 17, 0.01, 0)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    single, each = (
        sensitivities(changed(surface, untouched=untouched), best)
        for untouched in (4.0, np.full((17, 17), 4.0))
    )
    assert single == each
