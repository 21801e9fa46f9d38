"""How close transects and pairs come to known dimensions, for 262,144 runs each.

    python benchmarks/lines_and_pairs.py             # 70 seconds on an idle core
    python benchmarks/lines_and_pairs.py --seed 1    # other lines and pairs

Prints a Markdown table: D of the 512 x 512 raster by boxes of 2 to 32 points, of 16 transects with
all their 2**14 + 1 positions, of as many bisected transects as the runs are enough for, and of
pairs at ten distances. D is a least-squares line through the logarithms of the counts, each with
the weight that independent counts would have. Behind it stands the spread of 200 bootstrap draws,
of chords or of pairs; it knows nothing of the bias.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.box_counts import boxcount
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.pairs import PairPlanner, disagreements
from fractal_ray.planners.transects import TransectPlanner, count_flips
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import KnownSet

RUNS = 262_144
LEVELS = 14
COARSEST = 4  # coarser counts say more about the frame than about the border
DRAWS = 200  # of the bootstrap
DENSE = PILOT = 16  # chords
SETS: list[tuple[str, dict[str, float]]] = [
    ("disc", {}),
    ("basilica", {}),
    ("rabbit", {}),
    ("weierstrass", {}),
    ("weierstrass", {"stretch_y": 1 / 0.85}),
    ("fbm", {"hurst": 0.5, "seed": 1}),
]


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def frame_of(known: KnownSet) -> Frame:
    left, right, low, high = known.window
    return Frame(0, Axis("x", "linear", left, right), Axis("y", "linear", low, high), 1, 1)


def run(planner: Planner, known: KnownSet) -> list[Result]:
    """Run a planner until it asks for nothing more."""
    results: list[Result] = []
    while not planner.done:
        points = planner.ask(4096)
        x, y = np.array([(point.x, point.y) for point in points]).T
        answers = known.trained(x, y).tolist()
        told = [
            (point, Outcome.TRAINED if answer else Outcome.DIVERGED)
            for point, answer in zip(points, answers, strict=True)
        ]
        planner.tell(told)
        results += told
    return results


def raster(known: KnownSet) -> float | None:
    left, right, low, high = known.window
    x, y = np.meshgrid(np.linspace(left, right, 512), np.linspace(low, high, 512))
    mixed = boundary_cells(known.trained(x, y).astype(np.int8)).mixed
    return boxcount(mixed, sizes=[2, 4, 8, 16, 32]).dimension


def transects(
    known: KnownSet, count: int, dense: int, seed: int
) -> tuple[int, NDArray[np.float64]]:
    """Return the number of runs, and estimates of all flips by chord and level."""
    planner = TransectPlanner(frame_of(known), count, LEVELS, seed, trained, dense=dense)
    return len(run(planner, known)), count_flips(planner).estimate


def slope(level: NDArray[np.float64], count: NDArray[np.float64], weight: NDArray[np.float64]):
    """Fit the slope of log2 count over level; counts up to 1 are left out."""
    some = count > 1
    return float(np.polyfit(level[some], np.log2(count[some]), 1, w=weight[some])[0])


def line_dimension(flips: NDArray[np.float64]) -> float:
    """Estimate D = 1 + slope from flips by level."""
    count = flips[COARSEST:]
    return 1 + slope(np.arange(COARSEST, flips.size, dtype=float), count, np.sqrt(count))


def pair_dimension(level: NDArray[np.float64], known: int, disagree: NDArray[np.float64]) -> float:
    """Estimate D = 2 - alpha from the share of pairs that disagree.

    It goes as distance**alpha = 2**-(alpha level).
    """
    return 2 + slope(level, disagree, np.sqrt(disagree * known / (known - disagree)))


def with_spread(value: float, draw: Callable[[], float]) -> str:
    return f"{value:.3f} ± {np.std([draw() for _ in range(DRAWS)]):.3f}"


def from_lines(flips: NDArray[np.float64], rng: np.random.Generator) -> str:
    chords = len(flips)
    return with_spread(
        line_dimension(flips.sum(axis=0)),
        lambda: line_dimension(flips[rng.integers(chords, size=chords)].sum(axis=0)),
    )


def from_pairs(known: KnownSet, seed: int, rng: np.random.Generator) -> str:
    distances = range(3, 13)
    planner = PairPlanner(frame_of(known), RUNS // 2 // len(distances), distances, seed)
    found = disagreements(run(planner, known), trained)
    level = np.array([one.level for one in found], dtype=float)
    disagree = np.array([one.disagree for one in found], dtype=float)
    pairs = found[0].known
    return with_spread(
        pair_dimension(level, pairs, disagree),
        lambda: pair_dimension(level, pairs, rng.binomial(pairs, disagree / pairs).astype(float)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    rng = np.random.default_rng(seed)
    start = time.process_time()
    print(f"| set | D | raster | {DENSE} transects | bisected transects | chords, runs | pairs |")
    print("|---|---|---|---|---|---|---|")
    for name, parameters in SETS:
        known = known_set(name, parameters)
        _, dense = transects(known, DENSE, LEVELS, seed)
        pilot, _ = transects(known, PILOT, 7, seed + 1)
        runs, bisected = transects(known, PILOT * RUNS // pilot, 7, seed)
        row = [
            " ".join([name, *(f"{value:.3g}" for value in parameters.values())]),
            f"{known.dimension:.4f}",
            f"{raster(known):.3f}",
            from_lines(dense, rng),
            from_lines(bisected, rng),
            f"{len(bisected)}, {runs:,}",
            from_pairs(known, seed, rng),
        ]
        print(f"| {' | '.join(row)} |", flush=True)
    print(f"\nseed {seed}, {time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
