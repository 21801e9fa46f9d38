"""The bound on the boundary cells that a refinement misses, over sets that are easy to miss."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from fractal_ray.dimension.audit import audit_report
from fractal_ray.dimension.intervals import clopper_pearson
from fractal_ray.dimension.levels import from_refinement
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.probes import FACTOR_OF_MORE, HITS_FOR_MORE
from fractal_ray.planners.refine import RefinePlanner

CELLS, START, LEVELS, SEEDS = 128, 16, 3, 6

Values = NDArray[np.float64]


def circles(x: Values, y: Values, count: int, least: float, most: float) -> NDArray[np.bool_]:
    rng, labels = np.random.default_rng(1), np.zeros(x.shape, dtype=bool)
    for _ in range(count):
        column, row, radius = rng.random(), rng.random(), rng.uniform(least, most)
        labels |= (x - column) ** 2 + (y - row) ** 2 < radius**2
    return labels


SETS: dict[str, Callable[[Values, Values], NDArray[np.bool_]]] = {
    "circle": lambda x, y: (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.09,
    "small circles": lambda x, y: circles(x, y, 30, 0.005, 0.015),
    "slivers": lambda x, y: np.abs(((x * 0.3 + y) * 10) % 1 - 0.5) < 0.02,
    "dust": lambda x, y: np.random.default_rng(5).random(x.shape) < 0.04,
}


def refined(labels: NDArray[np.bool_], start: int, levels: int, seed: int) -> RefinePlanner:
    axes = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0)
    planner = RefinePlanner(
        Frame(0, *axes, start, start), levels, lambda each: each is Outcome.TRAINED, seed=seed
    )
    while not planner.done:
        planner.tell(
            [
                (p, Outcome.TRAINED if labels[p.iy << s, p.ix << s] else Outcome.DIVERGED)
                for p in planner.ask(4096)
                for s in [levels - p.level]
            ]
        )
    return planner


@pytest.mark.parametrize("name", SETS)
def test_the_interval_holds_the_boundary_cells_of_the_whole_lattice(name: str) -> None:
    y, x = np.mgrid[0 : CELLS + 1, 0 : CELLS + 1] / CELLS
    labels = SETS[name](x, y)
    truth = boundary_cells(labels.astype(np.int8)).n_mixed
    reports = [audit_report(refined(labels, START, LEVELS, seed)) for seed in range(SEEDS)]
    uppers = [report.upper[-1] for report in reports if report.upper is not None]
    held = [r.found[-1] <= truth <= end for r, end in zip(reports, uppers, strict=True)]
    assert sum(held) >= SEEDS - 1
    hits = np.median([report.hits for report in reports])
    if hits >= HITS_FOR_MORE:
        assert np.median(uppers) <= 1.5 * truth
    for report, end in zip(reports, uppers, strict=True):
        share = clopper_pearson(report.hits, report.probed)[1] or 0.0
        assert end <= report.found[-1] + share * CELLS**2
    if name in ("circle", "dust"):
        assert (hits >= HITS_FOR_MORE) == (name == "dust")


def test_the_bound_fails_in_one_of_twenty_at_most_whatever_the_share() -> None:
    first = 64
    later = first * FACTOR_OF_MORE
    few = [clopper_pearson(k, first)[1] or 0.0 for k in range(HITS_FOR_MORE)]
    many = np.array([clopper_pearson(k, first + later)[1] for k in range(first + later + 1)])
    for share in [*np.linspace(0.005, 0.3, 60), 0.5, 0.9]:
        failed = sum(binom.pmf(k, first, share) for k, end in enumerate(few) if end < share)
        for k in range(HITS_FOR_MORE, first + 1):
            too_few = (many[k:] < share).nonzero()[0]
            if too_few.size:
                failed += binom.pmf(k, first, share) * binom.cdf(too_few[-1], later, share)
        assert failed <= 0.05, share


def test_levels_above_the_finest_are_bounded_too() -> None:
    labels = SETS["dust"](*np.zeros((2, 129, 129)))
    report = audit_report(refined(labels, START, LEVELS, 0))
    assert report.upper is not None
    for level in range(LEVELS + 1):
        step = CELLS // (START << level)
        blocks = np.lib.stride_tricks.sliding_window_view(labels, (step + 1, step + 1))
        cells = blocks[::step, ::step].reshape(-1, (step + 1) ** 2)
        truth = int((cells.any(axis=1) & ~cells.all(axis=1)).sum())
        assert report.found[level] <= truth <= report.upper[level]


def test_a_dimension_from_levels_reaches_up_to_what_the_probes_allow() -> None:
    y, x = np.mgrid[0:513, 0:513] / 512
    planner = refined(SETS["circle"](x, y), 64, 3, 0)
    report = audit_report(planner)
    assert report.upper is not None
    bound = from_refinement(planner, report)
    plain = from_refinement(planner, replace(report, upper=None))
    assert bound.value == plain.value
    assert bound.interval is not None
    assert plain.interval is not None
    assert bound.interval[0] == plain.interval[0] < 1
    assert plain.fit_scales == (32, 8)
    more = np.log2(report.upper[-1] / report.corrected[-1]) / 5
    assert bound.interval[1] == pytest.approx(plain.interval[1] + more)
    assert 0.2 < more < 0.5
