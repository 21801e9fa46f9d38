"""Sets, their dense truth, and their refinement: what the tables of benchmarks/refine.py share."""

import statistics
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.box_counts import boxcount
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.workloads.maps.known_sets import known_set

START, LEVELS = 32, 5
CELLS = START << LEVELS
OFFSETS = [(0, 0), (7, 13), (21, 5), (3, 9), (12, 25)]
"""Of the lattice against the set, in cells of the finest level."""
FIRST_SEED = 10

Bools = NDArray[np.bool_]
Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    """A set, its window, and its target: recall at no more than a share in percent."""

    title: str
    name: str
    window: Window | None = None
    hurst: float | None = None
    goal: str = ""


CASES = [
    Case("disc", "disc", goal="1.000 at 1.3"),
    Case("basilica", "basilica", goal="0.998 at 4"),
    Case("rabbit", "rabbit", goal="0.998 at 6.5"),
    Case("Weierstrass D = 1.415", "weierstrass", (0, 1, -2.1, 2.1), goal="1.000 at 3.5"),
    Case("Weierstrass, cut by the frame", "weierstrass"),
    Case("fBm D = 1.2", "fbm", hurst=0.8, goal="0.97 at 6"),
    Case("fBm D = 1.5", "fbm", (0, 2, 0, 2), hurst=0.5, goal="0.93 at 14"),
]


@lru_cache(maxsize=len(CASES) * len(OFFSETS))
def truth(case: Case, number: int) -> Bools:
    """Compute the (1025, 1025) labels of a case at offset `number`."""
    random_set = {"hurst": case.hurst, "seed": FIRST_SEED + number}
    known = known_set(case.name, random_set if case.hurst else None)
    left, right, bottom, top = case.window or known.window
    x, y = (np.arange(CELLS + 1) + shift for shift in OFFSETS[number])
    return known.trained(
        *np.meshgrid(left + x * (right - left) / CELLS, bottom + y * (top - bottom) / CELLS)
    )


def mixed(labels: Bools) -> Bools:
    return boundary_cells(labels.astype(np.int8)).mixed


def unit_frame(levels: int = LEVELS) -> Frame:
    x, y = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0)
    return Frame(0, x, y, CELLS >> levels, CELLS >> levels)


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def answer(point: Point, labels: Bools) -> Outcome:
    shift = LEVELS - point.level
    yes = labels[point.iy << shift, point.ix << shift]
    return Outcome.TRAINED if yes else Outcome.DIVERGED


@lru_cache(maxsize=3 * len(OFFSETS))
def refined(case: Case, number: int, halo: int, audit: float) -> tuple[Bools, Bools, RefinePlanner]:
    """Refine a case; return the cells found, the nodes run, and the finished planner."""
    labels = truth(case, number)
    planner = RefinePlanner(
        unit_frame(), LEVELS, trained, halo=halo, audit=audit, seed=number, probes=0
    )
    while not planner.done:
        planner.tell([(point, answer(point, labels)) for point in planner.ask(4096)])
    filled, measured = infer_labels(*planner.labels(), cells_x=START, cells_y=START, levels=LEVELS)
    return boundary_cells(filled).mixed, measured, planner


def dimension(cells: Bools) -> float:
    return boxcount(cells).dimension or float("nan")


def means(rows: list[list[float]]) -> list[float]:
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def score(found: Bools, points: int, labels: Bools) -> list[float]:
    """Return recall, percent of the lattice, precision, D of the cells found, D of the truth."""
    true = mixed(labels)
    hits = (found & true).sum()
    share = 100 * points / labels.size
    precision = hits / found.sum() if found.any() else float("nan")
    return [hits / true.sum(), share, precision, dimension(found), dimension(true)]
