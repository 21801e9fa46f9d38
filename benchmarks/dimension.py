"""How close each estimator comes to known dimensions, for 262,144 labels each.

    OMP_NUM_THREADS=1 python benchmarks/dimension.py             # three minutes on an idle core
    OMP_NUM_THREADS=1 python benchmarks/dimension.py --coverage  # the intervals
    OMP_NUM_THREADS=1 python benchmarks/dimension.py --boxes     # 4096 x 4096 cells, beside porespy

The first prints |D - truth| and, in brackets, CPU seconds of the estimate without the labels (with
them where the estimator asks for its own). porespy 3.2 is optional: `pip install porespy==3.2.0` in
an environment of its own; without it `--boxes` leaves it out.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from lines_and_pairs import run, trained
from numpy.typing import NDArray

from fractal_ray.dimension import box_dimension as boxes
from fractal_ray.dimension import dilation, levels, published, transects, uncertainty
from fractal_ray.dimension.audit import audit_report
from fractal_ray.dimension.box_counts import boxcount
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.planners.pairs import PairPlanner, disagreements
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.transects import TransectPlanner, count_flips
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import KnownSet

LABELS = 262_144
Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    """A set, and its windows for random designs and for lattices, unless the set's own serve.

    Lines from rim to rim of the Weierstrass set's own window, one period wide, have positions at
    multiples of 2**-n, where all finer terms of its sum are equal: hence another. A random border
    needs a frame of many pieces, in which a lattice of 512 has nothing left to fit below 1/4 unit.
    """

    title: str
    name: str
    parameters: dict[str, Any]
    window: Window | None = None
    lattice: Window | None = None


SHIFTED: Window = (0.1, 0.8, -0.5, 0.5)
WIDE: Window = (0.0, 16.0, 0.0, 16.0)
CASES = [
    Case("disc", "disc", {}),
    Case("basilica", "basilica", {}),
    Case("rabbit", "rabbit", {}),
    Case("Weierstrass", "weierstrass", {}, SHIFTED, SHIFTED),
    Case("Weierstrass", "weierstrass", {"stretch_y": 1 / 0.85}, SHIFTED, SHIFTED),
    *(Case("fBm", "fbm", {"hurst": hurst}, WIDE) for hurst in (0.8, 0.5, 0.2)),
]


def known_of(case: Case, seed: int) -> KnownSet:
    more = {"seed": seed} if case.name == "fbm" else {}
    return known_set(case.name, {**case.parameters, **more})


def frame(window: Window, cells: int = 1) -> Frame:
    left, right, low, high = window
    return Frame(0, Axis("x", "linear", left, right), Axis("y", "linear", low, high), cells, cells)


def raster(known: KnownSet, window: Window) -> NDArray[np.int8]:
    left, right, low, high = window
    x, y = np.meshgrid(np.linspace(left, right, 512), np.linspace(low, high, 512))
    return known.trained(x, y).astype(np.int8)


def lines_of_a_stage(known: KnownSet, window: Window, seed: int) -> Callable[[], Estimate]:
    pilot = TransectPlanner(frame(window), 16, 14, seed + 1, trained)
    count = 16 * LABELS // len(run(pilot, known))
    planner = TransectPlanner(frame(window), count, 14, seed, trained)
    run(planner, known)
    return lambda: transects.from_flips([count_flips(planner)], seed=seed)


def pairs_of_a_stage(known: KnownSet, window: Window, seed: int) -> Callable[[], Estimate]:
    distances = range(4, 14)
    planner = PairPlanner(frame(window), LABELS // 2 // len(distances), distances, seed)
    found = disagreements(run(planner, known), trained)
    return lambda: uncertainty.from_pairs([found], seed=seed)


def refined(known: KnownSet, window: Window, seed: int) -> Callable[[], Estimate]:
    """Run the deepest refinement from 32 x 32 cells that `LABELS` labels allow."""
    runs, depth, planner = 0, 4, None
    while planner is None or runs * 2 ** (known.dimension or 2) < LABELS:
        depth += 1
        planner = RefinePlanner(frame(window, 32), depth, trained, seed=seed, probes=0)
        runs = len(run(planner, known))
    report = audit_report(planner)
    return lambda: levels.from_refinement(planner, report, seed=seed)


def ways(case: Case, seed: int) -> dict[str, Callable[[], Estimate]]:
    known = known_of(case, seed)
    window, lattice = case.window or known.window, case.lattice or known.window
    labels = raster(known, lattice)
    cells = boundary_cells(labels).mixed
    return {
        "transects, function": lambda: transects.from_label(
            known.trained, window, labels=LABELS, seed=seed
        ),
        "transects, stage": lines_of_a_stage(known, window, seed),
        "pairs, function": lambda: uncertainty.from_label(
            known.trained, window, labels=LABELS, seed=seed
        ),
        "pairs, stage": pairs_of_a_stage(known, window, seed),
        "refined levels": refined(known, lattice, seed),
        "raster: boxes": lambda: boxes.from_mask(cells, seed=seed),
        "raster: transects": lambda: transects.from_raster(labels, seed=seed),
        "raster: pairs": lambda: uncertainty.from_raster(labels, seed=seed),
        "raster: dilation": lambda: dilation.from_raster(labels, seed=seed),
    }


def accuracy(seed: int) -> None:
    titles: list[str] = []
    for case in CASES:
        found = ways(case, seed)
        if not titles:
            titles = ["set", "D", *found]
            print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)
        truth = known_of(case, seed).dimension or float("nan")
        row = [case.title, f"{truth:.4f}"]
        for estimate in found.values():
            start = time.process_time()
            value = estimate().value
            spent = time.process_time() - start
            shown = "none" if value is None else f"{abs(value - truth):.3f}"
            row.append(f"{shown} ({spent:.2f})")
        print(f"| {' | '.join(row)} |", flush=True)


def coverage(first: int, repeats: int) -> None:
    """Count the 95 % intervals of the recommended estimator and of pairs that hold the truth."""
    print("| set | D | estimator | labels | held of all | mean half width | rms error | largest |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        for name, estimate in (
            ("transects", transects.from_label),
            ("pairs", uncertainty.from_label),
        ):
            for labels in (LABELS, 16_384):
                held, half, error = 0, [], []
                for seed in range(first, first + repeats):
                    known = known_of(case, seed)
                    found = estimate(
                        known.trained, case.window or known.window, labels=labels, seed=seed
                    )
                    truth = known.dimension or float("nan")
                    if found.value is None or found.interval is None:
                        continue
                    low, high = found.interval
                    held += low - 1e-9 <= truth <= high + 1e-9
                    half.append((high - low) / 2)
                    error.append(found.value - truth)
                print(
                    f"| {case.title} | {known_of(case, 0).dimension:.4f} | {name} | {labels:,} |"
                    f" {held} of {repeats} | {np.mean(half):.3f} |"
                    f" {np.sqrt(np.mean(np.square(error))):.4f} | {np.abs(error).max():.3f} |",
                    flush=True,
                )


def box_times() -> None:
    mask = np.random.default_rng(0).random((4096, 4096), dtype=np.float32) < 0.01
    others: dict[str, Callable[[], Any]] = {
        "boxcount, all dyadic sizes": lambda: boxcount(mask),
        "boxes.from_mask, nine origins, with interval": lambda: boxes.from_mask(mask),
        "compat, porespy's sizes": lambda: published.porespy_boxcount(mask),
    }
    if importlib.util.find_spec("porespy") is not None:
        import porespy  # type: ignore[import-not-found]

        others["porespy"] = lambda: porespy.metrics.boxcount(mask)
    print("| 4096 x 4096 cells | CPU seconds, best of 3 |\n|---|---|")
    for name, count in others.items():
        times = []
        for _ in range(3):
            start = time.process_time()
            count()
            times.append(time.process_time() - start)
        print(f"| {name} | {min(times):.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--boxes", action="store_true")
    options = parser.parse_args()
    if options.coverage:
        coverage(options.seed, options.repeats)
    elif options.boxes:
        box_times()
    else:
        accuracy(options.seed)


if __name__ == "__main__":
    main()
