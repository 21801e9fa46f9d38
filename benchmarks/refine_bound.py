"""Coverage of the bound on missed boundary cells: a table of benchmarks/refine.py.

Lattices of 512 x 512 cells that start from 32 x 32, and 20 seeds of the audit and the probes for
each set. Truth is the number of boundary cells of the dense lattice.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from refine_cases import Bools, mixed, trained

from fractal_ray.dimension.audit import audit_report
from fractal_ray.dimension.levels import from_refinement
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.workloads.maps.known_sets import known_set

START, LEVELS, SEEDS = 32, 4, 20
CELLS = START << LEVELS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledSet:
    """Labels of the dense lattice, and the dimension of the border where it is known."""

    title: str
    labels: Bools
    dimension: float | None = None


def sets() -> Iterator[LabelledSet]:
    """Yield known sets, and sets whose border is easy to miss."""
    y, x = np.mgrid[0 : CELLS + 1, 0 : CELLS + 1] / CELLS
    for name, options, side in (
        ("disc", None, None),
        ("basilica", None, None),
        ("rabbit", None, None),
        ("weierstrass", None, None),
        ("fbm", {"hurst": 0.8, "seed": 3}, 4.0),
        ("fbm", {"hurst": 0.5, "seed": 3}, 4.0),
        ("noise", None, None),
    ):
        known = known_set(name, options)
        left, right, bottom, top = known.window if side is None else (0.0, side, 0.0, side)
        labels = known.trained(left + x * (right - left), bottom + y * (top - bottom))
        hurst = f", hurst {options['hurst']:g}" if options else ""
        yield LabelledSet(name + hurst, labels, known.dimension)
    smooth: dict[str, Callable[[], Bools]] = {
        "circle": lambda: circles(x, y, 1, 0.2, 0.3),
        "400 circles": lambda: circles(x, y, 400, 0.002, 0.02),
        "60 small circles": lambda: circles(x, y, 60, 0.002, 0.006),
        "20 thin slivers": lambda: np.abs(((0.3 * x + y) * 20) % 1 - 0.5) < 0.01,
        "one thin sliver": lambda: np.abs(y - 0.37 * x - 0.2) < 0.0012,
        "touching circles": lambda: touching(x, y),
        "wavy line": lambda: y > 0.5 + 0.2 * np.sin(30 * x),
        "rectangles": lambda: box(x, y, 0.4, 0.6, 0.2, 0.1) | box(x, y, 0.8, 0.3, 0.003, 0.2),
    }
    for title, make in smooth.items():
        yield LabelledSet(title, make(), 1.0)
    rng = np.random.default_rng(5)
    for share in (0.593, 0.01):
        yield LabelledSet(f"percolation, {share:.1%}", rng.random(x.shape) < share)


def circles(x: Floats, y: Floats, count: int, least: float, most: float) -> Bools:
    labels, rng = np.zeros_like(x, dtype=bool), np.random.default_rng(1)
    for _ in range(count):
        column, row, radius = rng.random(), rng.random(), rng.uniform(least, most)
        labels |= (x - column) ** 2 + (y - row) ** 2 < radius**2
    return labels


def touching(x: Floats, y: Floats) -> Bools:
    return ((x - 0.3) ** 2 + (y - 0.5) ** 2 < 0.04) | ((x - 0.7) ** 2 + (y - 0.5) ** 2 < 0.04)


def box(x: Floats, y: Floats, column: float, row: float, width: float, height: float) -> Bools:
    return (np.abs(x - column) < width) & (np.abs(y - row) < height)


def refine(labels: Bools, seed: int, probes: int | None = None) -> tuple[RefinePlanner, int]:
    """Refine a set; return the finished planner and the number of points that it asked for."""
    axes = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0)
    planner = RefinePlanner(
        Frame(0, *axes, START, START), LEVELS, trained, seed=seed, probes=probes
    )
    points = 0
    while not planner.done:
        portion = planner.ask(4096)
        points += len(portion)
        planner.tell([(point, answer(point, labels)) for point in portion])
    return planner, points


def answer(point: Point, labels: Bools) -> Outcome:
    shift = LEVELS - point.level
    yes = labels[point.iy << shift, point.ix << shift]
    return Outcome.TRAINED if yes else Outcome.DIVERGED


def bound_table(seeds: int = SEEDS) -> None:
    print(
        "| set | true cells | found | upper end | upper end / truth | hits | probes | held |"
        " points | without probes | D | 95 % | D is | held |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for each in sets():
        true = int(mixed(each.labels).sum())
        reports, points, estimates = [], [], []
        for seed in range(seeds):
            planner, count = refine(each.labels, seed)
            reports.append(audit_report(planner))
            points.append(count)
            estimates.append(from_refinement(planner, reports[-1], seed=seed))
        _, without = refine(each.labels, 0, probes=0)
        uppers = [report.upper[-1] for report in reports if report.upper]
        held = sum(r.found[-1] <= true <= u for r, u in zip(reports, uppers, strict=True))
        upper = statistics.median(uppers)
        intervals = [estimate.interval or (0.0, 2.0) for estimate in estimates]
        known = each.dimension
        dimensions = "none" if known is None else f"{known:.3f}"
        within = "" if known is None else sum(low <= known <= high for low, high in intervals)
        low, high = (statistics.median(ends) for ends in zip(*intervals, strict=True))
        value = statistics.median(estimate.value or 0.0 for estimate in estimates)
        print(
            f"| {each.title} | {true:,} | {statistics.median(r.found[-1] for r in reports):,.0f} |"
            f" {upper:,.0f} | {upper / true:.2f} |"
            f" {statistics.median(r.hits for r in reports):g} |"
            f" {statistics.median(r.probed for r in reports):,g} | {held} of {seeds} |"
            f" {statistics.fmean(points):,.0f} | {without:,} | {value:.2f} |"
            f" {low:.2f} to {high:.2f} | {dimensions} | {within} |",
            flush=True,
        )
