"""How many small networks a core trains: the workload `mlp`, JAX, and a refined map.

    OMP_NUM_THREADS=1 python benchmarks/mlp.py                  # 10 minutes; needs '.[bench]'
    OMP_NUM_THREADS=1 python benchmarks/mlp.py --sample 512 --repeats 3

The overview of arXiv 2402.06184 (tanh, full batch, both rates from 1e-3 to 1e6) on 129 x 129
nodes, width 16, 272 examples, 500 steps, float64, one process on one core. The dense rate is
measured on a random sample of the nodes, the same for all, because the machine is likely to be
shared: the ways take turns, seconds are those of the CPU, and the medians and extremes of the
ratios are printed.
JAX trains the sample at once, as `vmap` over a grid does, and in batches that stay in the cache.
`mlp` runs compiled by numba (`pip install '.[fast]'`), which must be there, and in PyTorch alone.

The refined map starts from 17 x 17 nodes, and its truth is the dense map. Its rate is nodes of the
129 x 129 map per second of refining, planning included; JAX trains 128 networks beside each. Its
recall is given of all boundary cells, and of those of the map in which a node that differs from all
its eight neighbours has their label: nothing points to such a node but a run of it. How many values
of eta0 within 20 ulp have that node's own label is printed.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from mlp_jax import Floats, jax_measure
from numpy.typing import NDArray
from scipy import ndimage

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.outcome import Criterion, Outcome
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.workloads.mlp.measure import measure
from fractal_ray.workloads.mlp.net import Net
from fractal_ray.workloads.mlp.spec import MlpSpec
from fractal_ray.workloads.mlp.train import Trainer
from fractal_ray.workloads.mlp.workload import MlpRunner, MlpWorkload

LEVELS = 3
STEPS = 500
CACHED = 8  # networks to a vmap; the fastest of 8, 16, ..., 2048 here
NET = Net("tanh", "mean_field", STEPS, "per_step")
WORKLOAD = MlpWorkload(MlpSpec(draw="paper", steps=STEPS), "eta0", "eta1", Criterion())


def frame(levels: int) -> Frame:
    axes = (Axis(name, "log", 1e-3, 1e6) for name in ("eta0", "eta1"))
    return Frame(0, *axes, 128 >> levels, 128 >> levels)


def trained(runner: MlpRunner, points: list[Point]) -> list[Outcome]:
    """Run the points in the tiles that a dispatcher would hand out."""
    tiles = (points[start : start + 512] for start in range(0, len(points), 512))
    return [record.outcome for tile in tiles for record in runner.evaluate(tile)]


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def dense_table(runner: MlpRunner, sample: int, repeats: int) -> Callable[[], object]:
    """Print the rates; JAX runs 128 networks, compiled before."""
    nodes = list(frame(0).points())
    chosen = np.random.default_rng(0).choice(len(nodes), sample, replace=False)
    points = [nodes[index] for index in chosen]
    eta0 = np.array([point.x for point in points])
    eta1 = np.array([point.y for point in points])
    draw = WORKLOAD.prepare().shared
    whole, cached = (jax_measure(draw, STEPS, batch) for batch in (sample, CACHED))
    agree(runner, cached, points, eta0, eta1)
    torch_trainer = Trainer(NET, draw, torch.float64, "cpu")
    ways: dict[str, Callable[[], object]] = {
        "mlp, numba": lambda: trained(runner, points),
        "mlp, PyTorch": lambda: torch_trainer.losses(eta0, eta1, np.zeros(sample)),
        f"JAX, {sample} to a vmap": lambda: whole(eta0, eta1),
        f"JAX, {CACHED} to a vmap": lambda: cached(eta0, eta1),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            times[way].append(seconds(run))
    print("| way | networks/s on one core | mlp is faster by |")
    print("|---|---|---|")
    for way, spent in times.items():
        ratios = [slow / fast for slow, fast in zip(spent, times["mlp, numba"], strict=True)]
        rates = [sample / one for one in spent]
        print(f"| {way} | {spread(rates)} | {spread(ratios)} |", flush=True)
    return lambda: cached(eta0[:128], eta1[:128])


def agree(
    runner: MlpRunner,
    run: Callable[[Floats, Floats], Floats],
    points: list[Point],
    eta0: Floats,
    eta1: Floats,
) -> None:
    theirs = run(eta0, eta1)
    curves = [record.losses for record in runner.evaluate(points)]
    ours = np.array([float(measure(curve, STEPS)) for curve in curves])
    close = np.abs(ours - theirs) <= 1e-6 * np.abs(theirs)
    print(
        f"{np.count_nonzero((ours < 0) != (theirs < 0))} of {len(points)} labels differ from JAX's,"
        f" {close.mean():.1%} of the measures agree to 1e-6\n"
    )


def refined_table(runner: MlpRunner, jax128: Callable[[], object], repeats: int) -> None:
    nodes = list(frame(0).points())
    truth = np.zeros((129, 129), dtype=np.int8)
    for point, outcome in zip(nodes, trained(runner, nodes), strict=True):
        truth[point.iy, point.ix] = outcome is Outcome.TRAINED
    true = boundary_cells(truth).mixed
    smooth = without_lone_nodes(truth)
    rest = boundary_cells(smooth).mixed
    print(
        f"\n{true.sum()} boundary cells in the dense map; {np.sum(smooth != truth)} nodes differ"
        f" from all eight neighbours, {rest.sum()} cells without them\n"
    )
    for point in nodes:
        if smooth[point.iy, point.ix] != truth[point.iy, point.ix]:
            beside = [replace(point, x=point.x * (1 + k * 2.0**-52)) for k in range(-20, 21)]
            near = [outcome is Outcome.TRAINED for outcome in trained(runner, beside)]
            same = near.count(bool(truth[point.iy, point.ix]))
            print(f"eta0 {point.x:.3g}, eta1 {point.y:.3g}: {same} of 41 within 20 ulp are like it")
    print()
    print("| rules | nodes run | recall | without lone nodes | nodes/s | JAX takes longer by |")
    print("|---|---|---|---|---|---|")
    for halo, audit in ((0, 0.0), (1, 0.02)):
        rates, ratios, found, runs = [], [], true, 0
        for _ in range(repeats):
            jax_rate = 128 / seconds(jax128)
            start = time.process_time()
            found, runs = refine(runner, halo, audit)
            rates.append(truth.size / (time.process_time() - start))
            ratios.append(rates[-1] / jax_rate)
        print(
            f"| halo {halo}, audit {audit:g} | {runs / truth.size:.1%} |"
            f" {(found & true).sum() / true.sum():.4f} |"
            f" {(found & rest).sum() / rest.sum():.4f} |"
            f" {spread(rates)} | {spread(ratios)} |",
            flush=True,
        )


def without_lone_nodes(truth: NDArray[np.int8]) -> NDArray[np.int8]:
    padded = np.pad(truth, 1, mode="reflect")
    around = ndimage.convolve(padded, [[1, 1, 1], [1, 0, 1], [1, 1, 1]])[1:-1, 1:-1]
    return np.where(around == 8, np.int8(1), np.where(around == 0, np.int8(0), truth))


def refine(runner: MlpRunner, halo: int, audit: float) -> tuple[NDArray[np.bool_], int]:
    """Return the number of boundary cells found and of nodes run."""
    coarse = frame(LEVELS)
    planner = RefinePlanner(
        coarse, LEVELS, lambda outcome: outcome is Outcome.TRAINED, halo=halo, audit=audit, probes=0
    )
    runs = 0
    while not planner.done:
        points = planner.ask(512)
        planner.tell(list(zip(points, trained(runner, points), strict=True)))
        runs += len(points)
    filled, _ = infer_labels(
        *planner.labels(), cells_x=coarse.cells_x, cells_y=coarse.cells_y, levels=LEVELS
    )
    return boundary_cells(filled).mixed, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    runner = WORKLOAD.open(WORKLOAD.prepare().shared, "cpu")
    print(f"{runner.device}, torch {torch.__version__}, numpy {np.__version__}\n")
    jax128 = dense_table(runner, options.sample, options.repeats)
    refined_table(runner, jax128, options.repeats)


if __name__ == "__main__":
    main()
