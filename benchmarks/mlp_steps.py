"""Where a step of the workload `mlp` spends its time, and for which networks compiling it pays.

    OMP_NUM_THREADS=1 python benchmarks/mlp_steps.py            # 2 minutes; needs '.[fast]'

Best of several turns in seconds of CPU on one core: the parts of a compiled step of the paper's
network, the rate of large products in the libraries of torch and numpy, compiled against PyTorch
for networks of other sizes, and how many of 600 networks of the overview stop to change.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit

from fractal_ray.workloads.mlp import kernels
from fractal_ray.workloads.mlp.draw import make_draw
from fractal_ray.workloads.mlp.fused import FusedTrainer
from fractal_ray.workloads.mlp.net import Activation, Net
from fractal_ray.workloads.mlp.train import Trainer

PARTS = (
    "forward product",
    "forward product and tanh",
    "errors",
    "slopes of W1",
    "backward through tanh",
    "slopes of W0",
)
# activation, width, examples, batch, networks
SIZES: tuple[tuple[Activation, int, int, int | None, int], ...] = (
    ("tanh", 16, 1, None, 400),
    ("tanh", 4, 6, None, 400),
    ("identity", 16, 16, None, 400),
    ("tanh", 8, 80, None, 100),
    ("tanh", 16, 272, None, 60),
    ("tanh", 16, 272, 16, 60),
    ("relu", 16, 272, None, 60),
    ("tanh", 32, 1056, None, 20),
    ("tanh", 64, 4160, None, 4),
    ("tanh", 256, 1000, None, 4),
)


def best(run: Callable[[], object], turns: int = 7) -> float:
    run()
    times = []
    for _ in range(turns):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


@njit(nogil=True)
def repeat(part: int, times: int, arrays: Any) -> None:
    """Run a part of a step `times` times, on arrays that stay in the cache."""
    x, y, w0, w1, hidden, error = arrays
    slopes0, slopes1 = np.zeros_like(w0), np.zeros_like(w1)
    for _ in range(times):
        if part == 0:
            kernels._hide(kernels.IDENTITY, w0, x, hidden)
        elif part == 1:
            kernels._hide(kernels.TANH, w0, x, hidden)
        elif part == 2:
            kernels._errors(w1, 1 / 16, y, hidden, error)
        elif part == 3:
            kernels._output_slopes(hidden, error, slopes1)
        elif part == 4:
            kernels._backward(kernels.TANH, error, hidden)
        else:
            kernels._input_slopes(x, hidden, slopes0)


def parts_table() -> None:
    draw = make_draw("paper", width=16, examples=272, batch=None, steps=1)
    one = FusedTrainer(Net("tanh", "mean_field", 1, "per_step"), draw, 1)
    hidden, error = one._x.copy(), one._y.copy()
    print("| part of a step | microseconds |\n|---|---|")
    for part, name in enumerate(PARTS):
        arrays = one._x, one._y, one._theta0, one._theta1, hidden, error
        if part == 3:  # the next parts overwrite hidden: its numbers must not shrink to 0
            hidden[:], error[:] = 0.5, 1.0
        taken = best(functools.partial(repeat, part, 1000, arrays))
        print(f"| {name} | {1e3 * taken:.2f} |", flush=True)
    square = np.ones((1024, 1024))
    theirs = torch.from_numpy(square)
    for name, run in (("numpy", lambda: square @ square), ("torch", lambda: theirs @ theirs)):
        print(f"{name}: {2 * 1024**3 / best(run) / 1e9:.0f} GFlop/s in large products")


def sizes_table() -> None:
    print("\n| network | examples | batch | PyTorch takes longer by | microseconds a step |")
    print("|---|---|---|---|---|")
    for kind, width, examples, batch, count in SIZES:
        net = Net(kind, "mean_field", 100, "per_step")
        draw = make_draw(0, width=width, examples=examples, batch=batch, steps=100)
        rates = np.full(count, 0.1), np.full(count, 0.1), np.zeros(count)
        ways = FusedTrainer(net, draw, 1), Trainer(net, draw, torch.float64, "cpu")
        fused, plain = (best(functools.partial(way.losses, *rates), 3) for way in ways)
        print(
            f"| {kind} {width} | {examples} | {batch or 'all'} | {plain / fused:.2f} |"
            f" {1e6 * fused / count / 100:.1f} |",
            flush=True,
        )


def constant_tails() -> None:
    values = 10 ** np.random.default_rng(0).uniform(-3, 6, (2, 600))
    draw = make_draw("paper", width=16, examples=272, batch=None, steps=500)
    for kind in ("tanh", "relu"):
        trainer = FusedTrainer(Net(kind, "mean_field", 500, "per_step"), draw, 1)
        curves = trainer.losses(*values, np.zeros(600))
        finite = curves[np.isfinite(curves).all(axis=1)]
        same = np.count_nonzero((finite[:, -5:] == finite[:, -1:]).all(axis=1))
        print(f"{kind}: {len(finite)} of 600 stay finite, {same} with five equal losses at the end")


def main() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    parts_table()
    sizes_table()
    constant_tails()


if __name__ == "__main__":
    main()
