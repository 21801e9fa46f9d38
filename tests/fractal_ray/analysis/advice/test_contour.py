"""Safe regions against level sets of known surfaces."""

import numpy as np
import pytest
from scipy.optimize import brentq

from fractal_ray.analysis.advice.best import find_best
from fractal_ray.analysis.advice.contour import PERCENTAGES, safe_region
from fractal_ray.analysis.advice.results import BestPoint, plain
from fractal_ray.analysis.advice.surface import State
from tests.fractal_ray.analysis.advice.known_surfaces import Known, basin, bowl, changed

BOWL = Known(bowl, np.array([-2.03, -1.41, 2.5, 0.5, 0.3, 0.1]), (-4, 0), (-3, 1))
WELL = Known(
    basin, np.array([-1.63, -1.41, 2.5, 1.5, 0.5, 0.3]), (-4, 0), (-3, 1), ("linear", "log")
)


def true_crossing(known: Known, node: tuple[float, float], side: str, level: float) -> float:
    """Return the coordinate at which the true loss reaches a level on the line through a node."""
    u, v = node
    far = {"-x": known.u[0], "+x": known.u[1], "-y": known.v[0], "+y": known.v[1]}[side]

    def height(place: float) -> float:
        at = (place, v) if side[1] == "x" else (u, place)
        return float(known.loss(np.array(at[0]), np.array(at[1]))) - level

    root = brentq(height, u if side[1] == "x" else v, far)
    assert isinstance(root, float)
    return root


@pytest.mark.parametrize(("known", "side", "noise"), [(BOWL, 17, 0.02), (WELL, 24, 0.03)])
def test_crossings_hold_the_true_level(known: Known, side: int, noise: float) -> None:
    """Each of the four crossings of 5 % is held in at least 90 % of seeds."""
    seeds, held = 10, np.zeros(4)
    for seed in range(seeds):
        surface = known.surface(side, side, noise, seed)
        best = find_best(surface)
        assert isinstance(best, BestPoint)
        iy, ix = best.node
        node = float(surface.u[ix]), float(surface.v[iy])
        region = safe_region(surface, best, 5.0)
        for index, crossing in enumerate(region.crossings):
            assert crossing.at is not None and crossing.ends == "level"
            truth = true_crossing(known, node, crossing.direction, 1.05 * known.parameters[2])
            scale = known.scales[0 if crossing.direction[1] == "x" else 1]
            low, high = crossing.at.low, crossing.at.high
            ends = np.log10([low, high]) if scale == "log" else (low, high)
            held[index] += ends[0] <= truth <= ends[1]
    assert (held >= 0.9 * seeds).all(), held


def test_the_mask_is_the_level_set() -> None:
    surface = BOWL.surface(33, 33, 0.002, 0)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    u, v = np.meshgrid(surface.u, surface.v)
    truth = BOWL.loss(u, v)
    areas = []
    for region in [safe_region(surface, best, percent) for percent in PERCENTAGES]:
        percent = region.percent
        assert region.level == pytest.approx(2.5 * (1 + percent / 100), abs=0.002)
        wrong = region.mask != (truth <= 2.5 * (1 + percent / 100))
        assert (np.abs(truth[wrong] - region.level) < 0.004).all()
        assert region.runs == region.mask.sum() and not region.rim and not region.below_noise
        assert region.share == pytest.approx(region.runs / 33**2)
        assert region.x_range[0] < best.x < region.x_range[1]
        areas.append(region.runs)
    assert areas == sorted(areas) and areas[0] < areas[-1]
    assert "mask" not in plain(safe_region(surface, best, 2.0))


def test_a_cliff_ends_the_region() -> None:
    surface = BOWL.surface(17, 17, 0.002, 0)
    state, broken = surface.state.copy(), surface.broken.copy()
    state[:, 10:], broken[:, 10:] = State.DEGRADED, 0
    surface = changed(surface, state=state, broken=broken)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    region = safe_region(surface, best, 30.0)
    ends = {crossing.direction: crossing.ends for crossing in region.crossings}
    assert ends["+x"] == "cliff"
    assert region.x_range[1] == surface.x[8]  # column 9 lies beside broken runs
    assert {crossing.direction: crossing.at for crossing in region.crossings}["+x"] is None


def test_the_grid_ends_the_region() -> None:
    surface = BOWL.surface(17, 17, 0.002, 0)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    region = safe_region(surface, best, 500.0)
    assert region.rim == ("-x", "+x", "-y", "+y")
    assert {crossing.ends for crossing in region.crossings} == {"grid"}


def test_a_loss_near_0_has_a_level_above_the_noise() -> None:
    known = Known(bowl, np.array([-2.03, -1.41, 0.0001, 0.5, 0.3, 0.1]), (-4, 0), (-3, 1))
    surface = known.surface(17, 17, 0.05, 1)
    best = find_best(surface)
    assert isinstance(best, BestPoint)
    region = safe_region(surface, best, 1.0)
    assert region.below_noise and region.runs >= 1
    assert best.expected is not None
    assert region.level == pytest.approx(best.expected.value + best.standard_error)


def test_too_few_runs_give_crossings_between_runs() -> None:
    small = BOWL.surface(3, 3, 0.0, 0)
    best = find_best(small)
    assert isinstance(best, BestPoint)
    crossing = safe_region(small, best, 5.0).crossings[0]
    assert crossing.at is not None
    assert crossing.at.low == small.x[0] and crossing.at.high == small.x[1] == best.x
