"""A million points through the Ray engine, and how well workers of uneven tiles are used.

    python benchmarks/scale.py                  # about ten minutes on two cores
    python benchmarks/scale.py --only million   # or: workers

million: a grid of 1000 x 1000 points of a workload that does nothing: wall time per point from the
first point handed out to the last one written, memory of driver and dispatcher at their highest,
part files while it runs and afterwards, seconds to read the dataset and for `fractal-ray status`.

workers: 1, 2, 4 and 8 workers whose points sleep for uneven times (exponential, 20 ms in the mean,
drawn from their address), 100 s for each worker. Efficiency is the time inside all points, as the
workers measured it, over workers x wall time, from the first point handed out to the last one
written: what the start of other workers costs after the first one is there counts as lost.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import psutil
from overhead import Nothing

from fractal_ray.engine.cluster.start import cluster
from fractal_ray.engine.progress import Progress
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep

MEAN_SLEEP = 0.02
POINTS_EACH = 5000
WORKERS = (1, 2, 4, 8)


class Uneven(Nothing):
    """A workload whose points sleep for times of their own."""

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        for point in points:
            start = time.perf_counter()
            time.sleep(nap(point.ix, point.iy))
            yield RunRecord(Outcome.TRAINED, seconds=time.perf_counter() - start)


def nap(ix: int, iy: int) -> float:
    """Compute the seconds that a point sleeps."""
    return float(np.random.default_rng((ix, iy)).exponential(MEAN_SLEEP))


def make(storage: str, name: str, width: int, height: int, workload: Nothing, slots: int) -> Sweep:
    spec = parse_spec(
        {
            "name": name,
            "workload": {"model": "preset:tiny", "data": {"source": "stdlib_qa"}},
            "axes": {
                "x": {"param": "unembedding_lr", "min": 1e-4, "max": 1.0},
                "y": {"param": "matrix_lr", "min": 1e-4, "max": 1.0},
            },
            "stages": [{"grid": {"points": [width, height]}}],
            "storage": storage,
            "resources": {"cpu": 1, "slots": slots},
        }
    )
    return Sweep(spec, workload)


class Memory:
    """Highest resident memory of this process and of the dispatcher, looked at once a second."""

    def __init__(self) -> None:
        self.driver = self.dispatcher = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(1.0):
            self.driver = max(self.driver, me.memory_info().rss)
            for process in me.children(recursive=True):
                try:
                    if "ray::Dispatcher" in process.name():
                        self.dispatcher = max(self.dispatcher, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


def million(storage: str, side: int) -> None:
    """Print the first table: a sweep of side x side points."""
    sweep = make(storage, "million", side, side, Nothing(), 2)
    parts = 0

    def view(progress: Progress) -> None:
        nonlocal parts
        if not progress.finished:
            parts = max(parts, sweep.store().part_count())

    with Memory() as memory, cluster(None, 2):
        progress = sweep.run("ray", view=view)
    each = 1e3 * progress.seconds / progress.done
    print(f"{progress.done:,} points in {progress.seconds:.0f} s: {each:.4f} ms per point")
    both = memory.driver + memory.dispatcher
    print(
        f"memory at most: driver {memory.driver / 2**20:.0f} MiB, dispatcher"
        f" {memory.dispatcher / 2**20:.0f} MiB, together {both / 2**30:.2f} GiB"
    )
    print(f"parts: at most {parts:,} while it ran, {sweep.store().part_count()} afterwards")
    start = time.perf_counter()
    table = sweep.table()
    print(f"read {table.num_rows:,} rows: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fractal_ray", "status", sweep.location],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    print(f"fractal-ray status: {time.perf_counter() - start:.2f} s")


def workers(storage: str) -> None:
    """Print the second table: efficiency by number of workers."""
    print("\n| workers | points | wall s | inside s | efficiency |\n|---|---|---|---|---|")
    for count in WORKERS:
        width, height = 50, count * POINTS_EACH // 50
        with cluster(None, count):
            sweep = make(storage, f"uneven-{count}", width, height, Uneven(), count)
            progress = sweep.run("ray")
        inside = float(np.sum(sweep.table().column("seconds").to_numpy()))
        share = inside / count / progress.seconds
        wall = progress.seconds
        print(
            f"| {count} | {progress.done:,} | {wall:.1f} | {inside:.1f} | {share:.1%} |", flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["million", "workers"])
    parser.add_argument("--side", type=int, default=1000, help="points along each axis")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "workers":
            million(folder, arguments.side)
        if arguments.only != "million":
            workers(folder)
