"""Seconds per point outside the training loop, measured with a workload that does nothing.

    python benchmarks/overhead.py                # all ways, about 4 minutes on two cores
    python benchmarks/overhead.py --ways slots-1 slots-auto
    python benchmarks/overhead.py --ways function-1 function-auto tune-function optuna

Ways: `slots-1` (slots, one point a tile), `slots-auto` (slots, tiles by measured time), `points`
(a Tune trial per point), `process` (one Python process per point, two at a time, the way of
shell-script sweeps: it imports what a fine-tune needs, reads the small checkpoint, tokenises the
shipped data and builds the model, and trains nothing).

Four ways run a Python function that computes for 1 ms, 1,000 times in two slots: `function-1` and
`function-auto` by the workload `function` (seeding, 20 losses and a metric included),
`tune-function` as a Ray Tune trial each, `optuna` by `Study.optimize` with two threads where Optuna
is installed. Half a millisecond, the share of the function itself, is subtracted from these.

Every other row is the wall time of the sweep between the first point handed out and the last one
written, divided by its points. The start of Ray, paid once a sweep, is printed beside it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fractal_ray.engine.cluster.start import cluster
from fractal_ray.engine.progress import Progress
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Prepared

EXPECTED_MS = {
    "slots-1": 3.0,
    "slots-auto": 0.1,
    "points": 30.0,
    "function-1": 2.0,
    "function-auto": 0.1,
}
SIDES = {"slots-1": 64, "slots-auto": 400, "points": 20}
PROCESSES = 6
CALLS = 1000
CALL_SECONDS = 0.001
SLOTS = 2
_SHARE_MS = CALL_SECONDS / SLOTS * 1000
FUNCTION = f"""
import time
def train(params, seed):
    end = time.perf_counter() + {CALL_SECONDS}
    losses = [1.0 - params["x"] * step for step in range(20)]
    while time.perf_counter() < end: pass
    return {{"losses": losses, "metrics": {{"accuracy": params["y"]}}}}
"""
ONE_PROCESS = """
import torch, datasets, wandb
from fractal_ray.sweep import Sweep
workload = Sweep.open("sweeps/quickstart.yaml").workload()
workload.open(workload.prepare().shared, "cpu")
"""


WAYS = [*SIDES, "process", "function-1", "function-auto", "tune-function", "optuna"]


class Nothing:
    """A workload whose points train at once."""

    recipe: Mapping[str, Any] = {"matrix_lr": 1.0, "unembedding_lr": 1.0}
    device = "cpu"

    def prepare(self) -> Prepared:
        return Prepared("nothing", None)

    def open(self, shared: Any, device: str) -> "Nothing":
        return self

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        for _ in points:
            yield RunRecord(Outcome.TRAINED)


class Watch:
    """A record of the sweep's states and their times."""

    def __init__(self) -> None:
        self.states: list[tuple[float, Progress]] = []

    def __call__(self, progress: Progress) -> None:
        self.states.append((time.perf_counter(), progress))

    def seconds_per_point(self) -> float:
        """Divide the time from the first finished point to the last by the points in between."""
        running = [(at, state.done) for at, state in self.states if state.done]
        (start, first), (end, last) = running[0], running[-1]
        return (end - start) / (last - first)


def sweep_ms(way: str, side: int) -> float:
    """Measure the milliseconds per point of one sweep of side x side points."""
    with tempfile.TemporaryDirectory() as folder:
        spec = parse_spec(
            {
                "name": way,
                "workload": {"model": "preset:tiny", "data": {"source": "stdlib_qa"}},
                "axes": {
                    "x": {"param": "unembedding_lr", "min": 1e-6, "max": 1.0},
                    "y": {"param": "matrix_lr", "min": 1e-6, "max": 1.0},
                },
                "stages": [{"grid": {"points": side}}],
                "points_per_tile": 1 if way == "slots-1" else "auto",
                "trials": "points" if way == "points" else "slots",
                "storage": folder,
            }
        )
        watch = Watch()
        Sweep(spec, Nothing()).run("ray", view=watch)
        return watch.seconds_per_point() * 1000


def process_ms() -> float:
    """Measure the milliseconds per point with one Python process per point, two at a time."""

    def one(_: int) -> None:
        subprocess.run([sys.executable, "-c", ONE_PROCESS], check=True)

    one(0)  # makes the preset, if this is the first use
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(PROCESSES)))
    return (time.perf_counter() - start) / PROCESSES * 1000


def function_ms(way: str) -> float:
    """Measure the milliseconds per call of the workload `function` beyond those of the call."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text(FUNCTION)
        spec = parse_spec(
            {
                "name": way,
                "workload": {
                    "kind": "function",
                    "call": "train.py:train",
                    "metrics": {"accuracy": "max"},
                },
                "axes": {
                    side: {"param": side, "scale": "linear", "min": 0.0, "max": 0.01}
                    for side in ("x", "y")
                },
                "stages": [{"grid": {"points": [25, CALLS // 25]}}],
                "points_per_tile": 1 if way == "function-1" else "auto",
                "storage": folder,
            },
            context={"folder": folder},
        )
        sweep = Sweep(spec)
        sweep.run("ray")
        # States come twice a second, too seldom for so short a sweep; rows have their times.
        times = sweep.table().column("created_at").to_pylist()
        assert len(times) == CALLS
        seconds = (max(times) - min(times)).total_seconds()
        return seconds / (CALLS - times.count(min(times))) * 1000 - _SHARE_MS


def tune_ms() -> float:
    """Measure the milliseconds beyond those of the call of a Ray Tune trial."""
    import ray.tune

    def trial(config: dict[str, Any]) -> None:
        space: dict[str, Any] = {}
        exec(FUNCTION, space)
        result = space["train"](config, 0)
        ray.tune.report({"loss": result["losses"][-1]})

    grid = {side: ray.tune.grid_search(list(range(5))) for side in ("x", "y")}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        ray.tune.Tuner(
            trial,
            param_space=grid,
            run_config=ray.tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        return (time.perf_counter() - start) / 25 * 1000 - _SHARE_MS


def optuna_ms() -> float:
    """Measure the milliseconds beyond those of the call of a trial of Optuna."""
    import optuna  # pyright: ignore[reportMissingImports] - not a dependency

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, Any] = {}
    exec(FUNCTION, space)

    def objective(trial: Any) -> float:
        values = {side: trial.suggest_float(side, 0.0, 0.01) for side in ("x", "y")}
        return space["train"](values, 0)["losses"][-1]

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    start = time.perf_counter()
    study.optimize(objective, n_trials=CALLS, n_jobs=SLOTS)
    return (time.perf_counter() - start) / CALLS * 1000 - _SHARE_MS


def measure(way: str) -> float:
    """Measure the milliseconds per point of a way."""
    if way == "process":
        return process_ms()
    if way.startswith("function"):
        return function_ms(way)
    if way == "tune-function":
        return tune_ms()
    return optuna_ms() if way == "optuna" else sweep_ms(way, SIDES[way])


def points_of(way: str) -> int:
    """Return the number of points of a way."""
    if way in SIDES:
        return SIDES[way] ** 2
    return {"process": PROCESSES, "tune-function": 25}.get(way, CALLS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", nargs="+", default=WAYS)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{'way':<12} {'points':>8} {'ms/point, median of ' + str(options.repeats):>24}"
        f" {'min':>8} {'max':>8} {'expected below':>15}"
    )
    start = time.perf_counter()
    with cluster(None, num_cpus=2):
        ray_start = time.perf_counter() - start
        for way in options.ways:
            points = points_of(way)
            if way == "optuna" and find_spec("optuna") is None:
                print(f"{way:<12} is not installed")
                continue
            runs = [measure(way) for _ in range(options.repeats)]
            expected = f"{EXPECTED_MS[way]:g}" if way in EXPECTED_MS else "-"
            print(
                f"{way:<12} {points:>8} {statistics.median(runs):>24.3f}"
                f" {min(runs):>8.3f} {max(runs):>8.3f} {expected:>15}",
                flush=True,
            )
    print(f"start of Ray, once a sweep: {ray_start:.1f} s")


if __name__ == "__main__":
    main()
