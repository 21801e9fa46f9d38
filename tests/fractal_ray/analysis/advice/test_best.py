"""The best of a surface: coverage and width of its intervals, flags, and invariances.

The table of coverage over all forms and lattices is printed by
``pytest -s -m slow tests/fractal_ray/analysis/advice/test_best.py``.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fractal_ray.analysis.advice.best import find_best
from fractal_ray.analysis.advice.contour import safe_region
from fractal_ray.analysis.advice.results import BestPoint, Noise, Refusal, plain
from fractal_ray.analysis.advice.surface import Scale, State
from tests.fractal_ray.analysis.advice.known_surfaces import (
    Known,
    basin,
    bowl,
    changed,
    refined_nodes,
    skewed_valley,
    true_fit_widths,
)

Array = NDArray[np.float64]


def cliff(u: Array, v: Array) -> NDArray[np.bool_]:
    """Return True beyond an oblique cliff, 0.55 decades from the optimum along x."""
    return u + 0.4 * v > -2.05


BOWL = Known(bowl, np.array([-2.03, -1.41, 2.5, 0.5, 0.3, 0.1]), (-4, 0), (-3, 1))
LINEAR = Known(
    bowl, np.array([-2.03, -1.41, 2.5, 0.5, 0.3, 0.1]), (-4, 0), (-3, 1), ("linear", "log")
)
WELL = Known(basin, np.array([-1.63, -1.41, 2.5, 1.5, 0.5, 0.3]), (-4, 0), (-3, 1))
VALLEY = Known(
    skewed_valley,
    np.array([-2.03, -1.41, 2.5, 0.6, 0.3, 0.5, 1.5]),
    (-4, 0),
    (-3, 1),
    cliff=cliff,
)
REFINED = refined_nodes(
    65, lambda column, row: np.abs((-4 + 4 * column) + 0.4 * (-3 + 4 * row) + 2.05) < 0.15
)


def coverage(
    known: Known, side: int, noise: float, seeds: int, measured: NDArray[np.bool_] | None = None
) -> tuple[Array, Array]:
    """Return the share of seeds that hold x, y and the loss, and the ratios of median widths.

    Ratios are to the widths of a least-squares fit of the true form to all runs that trained.
    """
    held, widths, others = np.zeros(3), [], []
    for seed in range(seeds):
        surface = known.surface(side, side, noise, seed, measured)
        best = find_best(surface)
        assert isinstance(best, BestPoint) and best.expected and best.x_optimum and best.y_optimum
        row = []
        scales: tuple[Scale, ...] = (*known.scales, "linear")
        intervals = best.x_optimum, best.y_optimum, best.expected
        for index, (interval, scale) in enumerate(zip(intervals, scales, strict=True)):
            ends = np.array([interval.low, interval.high])
            low, high = np.log10(ends) if scale == "log" else ends
            held[index] += low <= known.parameters[index] <= high
            row.append(high - low)
        widths.append(row)
        if seed < 4:
            others.append(true_fit_widths(known, surface)[1][:3])
    return held / seeds, np.median(widths, axis=0) / np.median(others, axis=0)


@pytest.mark.parametrize(
    ("known", "side", "noise"), [(BOWL, 17, 0.05), (LINEAR, 22, 0.1)], ids=["log", "linear"]
)
def test_intervals_hold_the_optimum_and_are_narrow(known: Known, side: int, noise: float) -> None:
    held, ratios = coverage(known, side, noise, seeds=12)
    assert (held >= 0.9).all(), held
    assert (ratios <= 2).all(), ratios


def test_intervals_of_a_skewed_valley_by_a_cliff_hold_the_optimum() -> None:
    held, _ = coverage(VALLEY, 17, 0.03, seeds=40)
    assert (held >= 0.9).all(), held


CASES = {
    "bowl 17, noise 0.05": (BOWL, 17, 0.05, None),
    "bowl 17, noise 0.2": (BOWL, 17, 0.2, None),
    "bowl 65, noise 0.2": (BOWL, 65, 0.2, None),
    "linear x 32, noise 0.1": (LINEAR, 32, 0.1, None),
    "well 17, noise 0.02": (WELL, 17, 0.02, None),
    "well 32, noise 0.05": (WELL, 32, 0.05, None),
    "valley by a cliff 17, noise 0.03": (VALLEY, 17, 0.03, None),
    "valley by a cliff 32, noise 0.1": (VALLEY, 32, 0.1, None),
    "valley by a cliff 65, refined": (VALLEY, 65, 0.05, REFINED),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_table_of_coverage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Print coverage of x, y and loss in 100 seeds, and the ratios of median widths."""
    known, side, noise, measured = CASES[name]
    held, ratios = coverage(known, side, noise, 100, measured)
    with capsys.disabled():
        print(f"\n{name:34s} held {np.round(held, 2)}  width ratio {np.round(ratios, 2)}", end="")
    assert (held >= 0.9).all()
    if known.form is bowl:
        assert (ratios <= 2).all()


def test_the_best_is_a_set_around_the_optimum_and_no_lucky_run() -> None:
    surface = BOWL.surface(17, 17, 0.05, 3)
    loss = surface.loss.copy()
    loss[1, 15] = 1.0  # a lucky run, far from the optimum
    best = find_best(changed(surface, loss=loss))
    assert isinstance(best, BestPoint)
    assert abs(np.log10(best.x) + 2.03) < 0.5 and abs(np.log10(best.y) + 1.41) < 0.5
    assert best.nodes[best.node] and best.runs == best.nodes.sum() > 1
    assert best.noise is not None and best.noise.source == "neighbours"
    assert best.x_range[0] <= best.x <= best.x_range[1]


def test_the_noise_is_that_of_the_runs_or_of_seeds() -> None:
    best = find_best(BOWL.surface(32, 32, 0.1, 0))
    assert isinstance(best, BestPoint) and best.noise is not None
    assert best.noise.sd == pytest.approx(0.1, rel=0.15)
    seeds = Noise(0.3, 50, "seeds")
    louder = find_best(BOWL.surface(32, 32, 0.1, 0), seeds)
    assert isinstance(louder, BestPoint) and louder.noise == seeds
    assert louder.standard_error > best.standard_error


def test_a_best_at_the_rim_is_said() -> None:
    known = Known(bowl, np.array([-4.5, -1.0, 2.5, 0.5, 0.3, 0.0]), (-4, 0), (-3, 1))
    best = find_best(known.surface(17, 17, 0.02, 0))
    assert isinstance(best, BestPoint)
    assert best.rim == ("-x",) and "rim" in best.flags


def test_two_separate_good_regions_are_said() -> None:
    surface = BOWL.surface(33, 33, 0.01, 0)
    u, v = np.meshgrid(surface.u, surface.v)
    loss = 2.5 + np.minimum((u + 3) ** 2 + (v + 1) ** 2, (u + 1) ** 2 + (v + 1) ** 2 + 0.01)
    state = np.where(np.abs(u + 2) < 0.2, State.DEGRADED, State.TRAINED).astype(np.int8)
    best = find_best(changed(surface, loss=loss, state=state))
    assert isinstance(best, BestPoint) and "two_regions" in best.flags
    assert np.log10(best.x) == pytest.approx(-3, abs=0.1)
    assert [np.log10(region.x) for region in best.other_regions] == [pytest.approx(-1, abs=0.13)]
    lone = find_best(BOWL.surface(33, 33, 0.01, 0))
    assert isinstance(lone, BestPoint) and lone.other_regions == ()


def test_failures_beside_the_best_are_counted() -> None:
    surface = BOWL.surface(17, 17, 0.01, 0)
    best = find_best(surface)
    assert isinstance(best, BestPoint) and best.failures_beside == 0
    iy, ix = best.node
    state, measured = surface.state.copy(), surface.measured.copy()
    state[iy, ix + 1], measured[iy, ix + 1] = State.FAILED, False
    other = find_best(changed(surface, state=state, measured=measured))
    assert isinstance(other, BestPoint)
    assert other.failures_beside == 1 and "failures_beside" in other.flags


def test_three_by_three_runs_give_a_node_and_no_interval() -> None:
    best = find_best(BOWL.surface(3, 3, 0.01, 0))
    assert isinstance(best, BestPoint)
    assert best.x_optimum is None and best.expected is None and best.noise is None
    assert "too_few_nodes" in best.flags and best.loss == np.nanmin(best.smooth)


def test_no_advice_without_a_difference() -> None:
    surface = BOWL.surface(5, 5, 0.0, 0)
    nothing = find_best(changed(surface, state=np.full((5, 5), State.TOO_SLOW, dtype=np.int8)))
    assert isinstance(nothing, Refusal) and nothing.code == "nothing_trained"
    equal = find_best(changed(surface, loss=np.full((5, 5), 2.0)))
    assert isinstance(equal, Refusal) and equal.code == "equal_losses"


def test_a_run_beside_one_that_broke_is_no_candidate() -> None:
    surface = BOWL.surface(9, 9, 0.0, 0)
    state, broken = surface.state.copy(), surface.broken.copy()
    state[:, 5:], broken[:, 5:] = State.DEGRADED, 0  # the optimum is at column 4
    best = find_best(changed(surface, state=state, broken=broken))
    assert isinstance(best, BestPoint) and best.node[1] == 3
    narrow = state.copy()
    narrow[:, :4] = State.TOO_SLOW
    alone = find_best(changed(surface, state=narrow, broken=broken))
    assert isinstance(alone, BestPoint) and "no_inner_node" in alone.flags


def test_results_are_plain_and_repeatable() -> None:
    surface = VALLEY.surface(17, 17, 0.03, 1)
    one, two = plain(find_best(surface)), plain(find_best(surface))
    assert one == two
    assert "smooth" not in one and "basin" not in one and one["x_optimum"]["low"] < one["x"] * 2


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["swap", "reflect x", "reflect y", "shift"]))
@example(25022104, "reflect y")  # places midway between nodes
def test_the_best_follows_swaps_reflections_and_added_constants(seed: int, change: str) -> None:
    surface = VALLEY.surface(12, 11, 0.05, seed)
    best = find_best(surface)
    assert isinstance(best, BestPoint) and best.x_optimum and best.y_optimum
    ny, nx = surface.loss.shape
    iy, ix = best.node
    match change:
        case "swap":
            other, node = find_best(surface.transposed()), (ix, iy)
        case "shift":
            other, node = find_best(changed(surface, loss=surface.loss + 7)), best.node
        case _:
            side = 1 if change == "reflect x" else 0
            arrays = {
                name: np.flip(getattr(surface, name), axis=side)
                for name in ("loss", "state", "broken", "measured")
            }
            values = {"x": 1 / surface.x[::-1]} if side else {"y": 1 / surface.y[::-1]}
            other = find_best(changed(surface, **arrays, **values))
            node = (iy, nx - 1 - ix) if side else (ny - 1 - iy, ix)
    assert isinstance(other, BestPoint) and other.x_optimum and other.y_optimum
    assert other.node == node and other.runs == best.runs
    width = best.x_optimum.high / best.x_optimum.low
    twin = other.y_optimum if change == "swap" else other.x_optimum
    assert twin.high / twin.low == pytest.approx(width, rel=1e-3)
    assert other.standard_error == pytest.approx(best.standard_error, rel=1e-4)


@pytest.mark.parametrize(("steepness", "slope"), [(20, 1e-3), (60, 1e-3), (20, 5e-4), (40, 2e-4)])
def test_losses_over_powers_of_ten_do_not_hide_those_next_to_the_best(
    steepness: float, slope: float
) -> None:
    """Find the floor of a loss that falls from 3 to 0.01, as that of a small regression does."""
    template = BOWL.surface(16, 16, 0, 0)
    lattice = {"x": np.logspace(-3, 1, 16), "y": np.linspace(0, 0.9, 16), "y_scale": "linear"}
    lr, momentum = np.meshgrid(lattice["x"], lattice["y"])
    rate = lr / (1 - momentum)
    loss = 0.009 + 3 * np.exp(-steepness * np.minimum(rate, 9)) + slope * rate
    trained = rate < 5
    state = np.where(trained, State.TRAINED, State.DEGRADED).astype(np.int8)
    broken = trained.astype(np.int8)
    surface = changed(template, loss=loss, state=state, broken=broken, **lattice)
    best = find_best(surface)
    assert isinstance(best, BestPoint) and best.expected is not None
    lowest = loss[trained].min()
    assert best.loss <= 1.005 * lowest
    assert best.expected.low <= lowest <= best.expected.high
    region = safe_region(surface, best, 2)
    assert region.runs > 5
    assert loss[region.mask].max() <= 1.02 * lowest or region.below_noise


def test_a_fit_far_below_all_runs_is_left_out() -> None:
    """Take gradient descent on a parabola: its losses fall to 0 over many powers of ten."""
    lattice = {"x": np.logspace(-3, 1, 8), "y": np.linspace(0, 1, 8), "y_scale": "linear"}
    rate, curvature = np.meshgrid(lattice["x"], lattice["y"])
    loss = np.minimum(20 * (1 - 2 * rate * (1 + curvature)) ** 88, 1e6)
    trained = loss < 20
    state = np.where(trained, State.TRAINED, State.DEGRADED).astype(np.int8)
    surface = changed(BOWL.surface(8, 8, 0, 0), loss=loss, state=state, **lattice)
    best = find_best(changed(surface, broken=trained.astype(np.int8)))
    assert isinstance(best, BestPoint)
    assert best.loss < 1e-3
    assert best.expected is None or best.expected.high > 0
