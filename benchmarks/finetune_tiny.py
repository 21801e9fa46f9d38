"""Points per second of the tiny model on one core: the product, the plain loop, a process a point.

The points are 32 nodes of the grid of sweeps/quickstart.yaml, drawn with a seed, each trained as
the spec says. Preparing (reading the checkpoint, tokenising) is not counted for the plain loop and
the product, which do it once for a sweep; it is for a process, which does it for every point.
"""

import itertools
import json
import multiprocessing
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from finetune_measure import child_seconds, cpu_seconds, header, ratios, row, spread, taking_turns
from numpy.typing import NDArray
from plain_loop import plain_finetune

from fractal_ray.engine.workload_of import workload_of
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import load_spec
from fractal_ray.workloads.nanochat.runner import NanochatRunner
from fractal_ray.workloads.nanochat.shared import Shared
from fractal_ray.workloads.nanochat.spec import NanochatSpec
from nanochat.model.checkpoint import build_model
from nanochat.train.finetune import FinetuneResult
from nanochat.train.recipe import Recipe

SPEC = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"
POINTS = 32
SIDE_BY_SIDE = (1, 2, 4, 8, 16, 32, "auto")
FEWER = (1, 8, "auto")
SETTLING = 3  # times all points again, after which `auto` has tried 1, 2, ..., 32
EARLY, EARLY_TOLERANCE, LATE_TOLERANCE = 10, 1e-3, 1e-2  # as benchmarks/parity.py
Losses = NDArray[np.float32]
FASTER = {"plain loop": 3, "a process for every point": 50}


@dataclass(frozen=True)
class Setting:
    """The spec in one arithmetic, and what every way to run it needs."""

    spec: SweepSpec
    shared: Shared
    points: list[Point]

    @property
    def workload(self) -> NanochatSpec:
        assert isinstance(self.spec.workload, NanochatSpec)
        return self.spec.workload

    def recipe(self, point: Point) -> Recipe:
        x, y = self.spec.axes.x.param, self.spec.axes.y.param
        return Recipe.from_mapping(self.workload.recipe).with_values({x: point.x, y: point.y})

    def runner(self, side_by_side: int | str) -> NanochatRunner:
        resources = self.spec.resources.model_copy(update={"points_per_trial": side_by_side})
        spec = self.spec.model_copy(update={"resources": resources})
        runner = workload_of(spec).open(self.shared, "cpu")
        assert isinstance(runner, NanochatRunner)
        return runner


@cache
def setting(dtype: str) -> Setting:
    spec = load_spec(SPEC)
    assert isinstance(spec.workload, NanochatSpec)
    recipe = {**spec.workload.recipe, "dtype": dtype}
    workload = spec.workload.model_copy(update={"recipe": recipe})
    spec = spec.model_copy(update={"workload": workload})
    nodes = list(spec.plan.frame(0).points())
    chosen = np.random.default_rng(0).choice(len(nodes), POINTS, replace=False)
    shared = workload_of(spec).prepare().shared
    return Setting(spec, shared, [nodes[index] for index in chosen])


def plain_loop(dtype: str, ulps: int = 0) -> tuple[list[FinetuneResult], float]:
    """Train all points, each from the master's weights; return results and CPU seconds.

    Where `ulps` is 1, at the next `unembedding_lr` that float32 has. Runs in a process of its own:
    a worker changes how its process keeps memory, which would make this loop faster as well.
    """
    at = setting(dtype)
    master = {name: torch.tensor(array) for name, array in at.shared.weights.items()}
    model = build_model(at.shared.config, master)
    results: list[FinetuneResult] = []

    def run() -> None:
        results.clear()
        for point in at.points:
            model.load_state_dict(master)
            recipe = at.recipe(point)
            rate = recipe.unembedding_lr * (1 + ulps * 2.0**-23)
            recipe = recipe.with_values({"unembedding_lr": rate})
            results.append(plain_finetune(model, at.shared.examples, recipe, at.shared.pad_id))

    return results, cpu_seconds(run)


def process(at: Setting, point: Point) -> Callable[[], object]:
    """Return a call that trains one point in a new process."""
    recipe = json.dumps(at.recipe(point).to_dict())
    data = at.workload.data
    command = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), "--recipe", recipe]
    command += ["--model", at.workload.model, "--data", data.source]
    command += ["--max-seq-len", str(data.max_seq_len)]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def tiny_tables(repeats: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=one_thread) as beside:
        for dtype, side_by_side, turns in (
            ("float32", SIDE_BY_SIDE, repeats),
            ("bfloat16", FEWER, (repeats + 1) // 2),
        ):
            at = setting(dtype)
            runners = {f"{each} side by side": at.runner(each) for each in side_by_side}
            print(f"{POINTS} points in {dtype}\n")
            # Before anything is timed, since the first use of every part of torch takes longer.
            found = {way: trained(at, runner) for way, runner in runners.items()}
            plain = beside.submit(plain_loop, dtype).result()[0]
            for _ in range(SETTLING):  # it is measured on the first points themselves
                trained(at, runners["auto side by side"])
            rates_table(at, dtype, runners, beside, turns)
            print()
            agreement(at, found, plain)
            if dtype == "float32":
                nudged = beside.submit(plain_loop, dtype, 1).result()[0]
                curves = [result.losses for result in nudged]
                print_deviations("the plain loop, one rate 2^-23 higher", curves, plain)
            print(flush=True)


def one_thread() -> None:
    torch.set_num_threads(1)


def rates_table(
    at: Setting, dtype: str, runners: dict[str, NanochatRunner], beside: Executor, repeats: int
) -> None:
    """Print medians of points per second, and of the ratios inside each repeat."""
    points = itertools.cycle(at.points)
    ways: dict[str, Callable[[], float]] = {
        "plain loop": lambda: beside.submit(plain_loop, dtype).result()[1],
        # Of one point each time: most of it is the start, which is the same for all.
        "a process for every point": lambda: POINTS * child_seconds(process(at, next(points))),
    }
    for way, runner in runners.items():
        ways[way] = partial(cpu_seconds, lambda runner=runner: trained(at, runner))
    taken = taking_turns(ways, repeats)
    header("way", "points/s", *(f"x {way} (expected {x})" for way, x in FASTER.items()))
    for way, seconds in taken.items():
        rates = spread([POINTS / one for one in seconds], ".1f" if seconds[0] < POINTS else ".2f")
        chose = f": chose {runners[way].side_by_side}" if way.startswith("auto") else ""
        row([way + chose, rates, *(spread(ratios(taken[slow], seconds), ".1f") for slow in FASTER)])


def trained(at: Setting, runner: NanochatRunner) -> list[RunRecord]:
    return list(runner.evaluate(at.points))


def agreement(at: Setting, found: dict[str, list[RunRecord]], plain: list[FinetuneResult]) -> None:
    """Compare the product's curves with those of one point at a time and of the plain loop."""
    one = found["1 side by side"]
    for way, records in found.items():
        same = sum(map(same_curve, records, one))
        print(f"{way}: {same} of {POINTS} curves are those of one at a time to the bit")
    theirs = [at.spec.label.criterion.outcome(each.losses, each.diverged_step) for each in plain]
    counts = ", ".join(f"{theirs.count(each)} {each}" for each in Outcome)
    different = sum(record.outcome != other for record, other in zip(one, theirs, strict=True))
    print(f"outcomes of the plain loop: {counts}; {different} of the product's differ")
    print_deviations("the product", [record.losses for record in one], plain)


def print_deviations(who: str, curves: list[Losses], reference: list[FinetuneResult]) -> None:
    """Count the curves within the tolerances of benchmarks/parity.py of the plain loop's."""
    for steps, tolerance in ((EARLY, EARLY_TOLERANCE), (None, LATE_TOLERANCE)):
        values = [
            deviation(curve, result.losses, steps)
            for curve, result in zip(curves, reference, strict=True)
        ]
        within = sum(value <= tolerance for value in values)
        print(
            f"{who}: {within} of {POINTS} points within {tolerance:g} of the plain loop in"
            f" {f'the first {steps}' if steps else 'all'} steps, median"
            f" {statistics.median(values):.1g}, largest {max(values):.1g}"
        )


def same_curve(one: RunRecord, other: RunRecord) -> bool:
    same_end = one.diverged_step == other.diverged_step and one.tokens_seen == other.tokens_seen
    return same_end and np.array_equal(one.losses, other.losses)


def deviation(one: Losses, other: Losses, steps: int | None) -> float:
    """Compute the largest relative deviation over the steps that both curves have."""
    both = min(len(one), len(other))
    ours, theirs = one[:both][:steps], other[:both][:steps]
    return float(np.max(np.abs(ours - theirs) / theirs, initial=0.0))
