"""A sweep under random kills: what is lost, what is written twice, what is run again.

    python benchmarks/chaos.py --kills 30 --seed 0        # about four minutes on two cores

Two Ray nodes on this machine, two workers each; a grid of 45 x 45 points (2,025) whose run sleeps.
While it runs, workers, the dispatcher and whole nodes are killed with SIGKILL at random moments; a
killed node is replaced by a new one. The driver is killed as well: it is a process of its own, and
the same command goes on. The rows are then compared with those of an unbroken run.

Prints points lost and points with two rows (both are to be 0), runs that were done again, and how
much longer it took than a run that nobody disturbs.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from fractal_ray.dataset.rows import POINTS_SCHEMA
from fractal_ray.dataset.store import Store
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Prepared

SIDE = 45
SLEEP = 0.1
WHAT = ("worker", "worker", "worker", "worker", "dispatcher", "node", "driver")
LONGEST = 1500.0


class Sleeper:
    """A workload that sleeps, trains inside a disc, and notes every run in a file."""

    recipe: Mapping[str, Any] = {"matrix_lr": 1.0, "unembedding_lr": 1.0}
    device = "cpu"

    def __init__(self, log: str) -> None:
        self.log = log

    def prepare(self) -> Prepared:
        return Prepared("sleeper", None)

    def open(self, shared: Any, device: str) -> "Sleeper":
        return self

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        for point in points:
            time.sleep(SLEEP)
            with Path(self.log).open("a") as file:
                file.write(f"{point.ix} {point.iy}\n")  # one short write: lines do not mix
            inside = (point.ix - SIDE / 2) ** 2 + (point.iy - SIDE / 2) ** 2 < (SIDE / 3) ** 2
            yield RunRecord(Outcome.TRAINED if inside else Outcome.NOT_IMPROVED, seconds=SLEEP)


def sweep(storage: str, name: str) -> Sweep:
    """Make the sweep `name` in a folder of its own below `storage`."""
    spec = parse_spec(
        {
            "name": name,
            "workload": {"model": "preset:tiny", "data": {"source": "stdlib_qa"}},
            "axes": {
                "x": {"param": "unembedding_lr", "min": 1e-4, "max": 1.0},
                "y": {"param": "matrix_lr", "min": 1e-4, "max": 1.0},
            },
            "stages": [{"grid": {"points": SIDE}}],
            "storage": storage,
            "resources": {"cpu": 1, "slots": 4},
        }
    )
    return Sweep(spec, Sleeper(f"{storage}/{name}.log"))


def drive(storage: str, name: str, address: str) -> None:
    """Run the sweep as its driver; this script starts itself again to call this function."""
    sweep(storage, name).run("ray", address=address)


class Cluster:
    """Two nodes beside a head without room for slots, and the processes that can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        self._ray = RayCluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.address = self._ray.address
        self._nodes = [self._ray.add_node(num_cpus=2) for _ in range(2)]

    def kill(self, what: str, draw: random.Random, driver: "subprocess.Popen[bytes]") -> bool:
        """Kill one process of a kind; return False if there is none now."""
        if what == "driver":
            driver.kill()
            return True
        if what == "node":
            node = self._nodes.pop(draw.randrange(len(self._nodes)))
            self._ray.remove_node(node, allow_graceful=False)
            self._nodes.append(self._ray.add_node(num_cpus=2))
            return True
        name = "Trainable" if what == "worker" else "ray::Dispatcher"
        found = [p for p in psutil.Process().children(recursive=True) if name in p.name()]
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            draw.choice(found).kill()
            return True
        return False

    def shutdown(self) -> None:
        self._ray.shutdown()


def run(cluster: Cluster, storage: str, name: str, kills: int, seed: int) -> tuple[float, Counter]:
    """Run a sweep to its end with random kills; return its seconds and what was killed."""
    draw, killed = random.Random(seed), Counter[str]()
    start = time.monotonic()
    log = Path(storage) / f"{name}.log"
    driver = _start(storage, name, cluster.address)
    # Spread over the points rather than over time, which is longer the more is killed.
    due = sorted(draw.sample(range(20, SIDE * SIDE - 20), kills))
    while True:
        if driver.poll() is not None:
            if driver.returncode == 0:
                return time.monotonic() - start, killed
            driver = _start(storage, name, cluster.address)
        if time.monotonic() - start > LONGEST:
            driver.kill()
            raise SystemExit(f"{name} has not ended within {LONGEST:.0f} s")
        done = len(set(log.read_text().splitlines())) if log.exists() else 0
        if due and done >= due[0]:
            what = draw.choice(WHAT)
            if cluster.kill(what, draw, driver):
                killed[what] += 1
                due.pop(0)
                print(f"  at {done:,} points: killed a {what}", flush=True)
        time.sleep(0.1)


def _start(storage: str, name: str, address: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, __file__, "--drive", storage, name, address]
    # Ray prints every lost worker and node.
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def report(storage: str, calm: float, wild: float, killed: Counter[str]) -> None:
    """Compare the two datasets, rows as they are on disk."""
    rows = {}
    for name in ("calm", "wild"):
        store = Store(f"{storage}/{name}")
        table = store.read_parts(store.parts("points"), POINTS_SCHEMA)
        rows[name] = [(row["ix"], row["iy"], row["outcome"]) for row in table.to_pylist()]
    runs = (Path(storage) / "wild.log").read_text().splitlines()
    failures = Store(f"{storage}/wild").read_failures().to_pylist()
    print(f"\nkilled: {', '.join(f'{n} {what}s' for what, n in sorted(killed.items()))}")
    print(f"points: {len(set(rows['wild'])):,}; lost: {len(set(rows['calm']) - set(rows['wild']))}")
    print(f"rows twice: {len(rows['wild']) - len(set(rows['wild']))}")
    print(f"run again: {len(runs) - len(set(runs)):,} of {len(set(runs)):,}")
    print(f"rows of failures: {dict(Counter(row['kind'] for row in failures))}")
    print(f"undisturbed {calm:.0f} s, with kills {wild:.0f} s: {wild / calm:.2f} times as long")
    assert set(rows["calm"]) == set(rows["wild"]), "points were lost or have other outcomes"


def main(kills: int, seed: int) -> None:
    from ray._private import ray_constants
    from ray._raylet import Config

    from fractal_ray.engine.cluster import start as ray_cluster

    os.environ.update(ray_cluster._QUIET | ray_cluster._LOOPBACK_ONLY | ray_cluster._token())
    ray_constants.ENABLE_RAY_CLUSTER = False
    Config.initialize("")
    with tempfile.TemporaryDirectory() as storage:
        cluster = Cluster()
        try:
            calm, _ = run(cluster, storage, "calm", 0, seed)
            print(f"undisturbed: {calm:.0f} s", flush=True)
            wild, killed = run(cluster, storage, "wild", kills, seed)
            report(storage, calm, wild, killed)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", nargs=3, metavar=("STORAGE", "NAME", "ADDRESS"))
    arguments = parser.parse_args()
    if arguments.drive:
        drive(*arguments.drive)
    else:
        main(arguments.kills, arguments.seed)
