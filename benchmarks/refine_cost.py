"""What planning costs, and whether workers wait: tables of benchmarks/refine.py."""

import heapq
import itertools
import multiprocessing
import os
import random
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from refine_cases import (
    CASES,
    LEVELS,
    START,
    Case,
    Window,
    answer,
    refined,
    trained,
    truth,
    unit_frame,
)

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.workloads.maps.known_sets import known_set


def cost_table() -> None:
    print("| set | lattice | points | microseconds a point | bytes a point |")
    print("|---|---|---|---|---|")
    for name, window, levels in (("rabbit", None, 8), ("weierstrass", (0.0, 1.0, -2.1, 2.1), 9)):
        # A process of its own: memory that another row has freed would be taken for nothing.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            points, seconds, size = pool.submit(cost, name, window, levels).result()
        print(
            f"| {name} | {START << levels} x {START << levels} | {points} |"
            f" {1e6 * seconds / points:.1f} | {size / points:.0f} |",
            flush=True,
        )


def cost(name: str, window: Window | None, levels: int) -> tuple[int, float, int]:
    """Measure points, CPU seconds of ask and tell alone, and growth of the process in bytes."""
    known = known_set(name)
    left, right, bottom, top = window or known.window
    x, y = Axis("x", "linear", left, right), Axis("y", "linear", bottom, top)
    frame = Frame(0, x, y, START, START)
    frame.point(levels, 0, 0)  # the axes' values are made once and are not the planner's
    before, points, start = memory(), 0, time.process_time()
    planner = RefinePlanner(frame, levels, trained, probes=0)
    seconds = time.process_time() - start
    while not planner.done and points < 1_000_000:
        start = time.process_time()
        asked = planner.ask(4096)
        seconds += time.process_time() - start
        inside = known.trained(*np.array([(p.x, p.y) for p in asked]).T)
        results = [
            (p, Outcome.TRAINED if yes else Outcome.DIVERGED)
            for p, yes in zip(asked, inside.tolist(), strict=True)
        ]
        start = time.process_time()
        planner.tell(results)
        seconds += time.process_time() - start
        points += len(asked)
    return points, seconds, memory() - before


def memory() -> int:
    """Read the resident bytes of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def busy_table() -> None:
    """Simulate eight workers, the slowest four times slower, runs up to half faster or slower."""
    print("| set | points | busy share of 8 workers, one point a time | 20 points a time |")
    print("|---|---|---|---|")
    for case in CASES:
        shares = [busy_share(case, portion) for portion in (1, 20)]
        points = int(refined(case, 0, 1, 0.02)[1].sum())
        print(f"| {case.title} | {points} | {shares[0]:.4f} | {shares[1]:.4f} |", flush=True)


def busy_share(case: Case, portion: int) -> float:
    labels, rng = truth(case, 0), random.Random(0)
    planner = RefinePlanner(unit_frame(), LEVELS, trained, probes=0)
    speeds = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0]
    working: list[tuple[float, int, int, list[Point]]] = []
    idle, busy, now, number = list(range(len(speeds))), 0.0, 0.0, itertools.count()
    while not planner.done:
        while idle and (points := planner.ask(portion)):
            worker = idle.pop()
            seconds = sum(speeds[worker] * rng.uniform(0.5, 1.5) for _ in points)
            busy += seconds
            heapq.heappush(working, (now + seconds, next(number), worker, points))
        now, _, worker, points = heapq.heappop(working)
        idle.append(worker)
        planner.tell([(point, answer(point, labels)) for point in points])
    return busy / (len(speeds) * now)
