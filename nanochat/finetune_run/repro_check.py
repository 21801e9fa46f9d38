"""Repeated runs of one fine-tune, each in its own process, compared."""

import hashlib
import json
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.finetune_run.subprocess_run import Child, finetune_in_child

PLACES = 6  # of the final losses that must agree


@dataclass(frozen=True)
class ReproCheck:
    """Results of runs that should be equal.

    Attributes
    ----------
    children
        In the order of their numbers.
    """

    children: list[Child]

    @property
    def missing(self) -> list[int]:
        """Return the numbers, from 1, of the runs without a result."""
        return [k for k, child in enumerate(self.children, 1) if not child.finished]

    @property
    def equal(self) -> bool:
        """Return True if no result is missing and all final losses agree to `PLACES` places."""
        return not self.missing and len({_rounded(child) for child in self.children}) == 1

    @property
    def equal_bits(self) -> bool:
        """Return True if all loss curves are equal to the bit."""
        return not self.missing and len({curve_hash(child) for child in self.children}) == 1


def repro_check(
    given: Mapping[str, Any],
    runs: int,
    parallel: int,
    out: Path,
    gpus: Sequence[str],
    on_end: Callable[[int, Child], None],
) -> ReproCheck:
    """Run a fine-tune `runs` times and compare the results.

    Parameters
    ----------
    given
        Settings by name.
    runs
        At least 2.
    parallel
        Runs at a time, at least 1.
    out
        Each run has ``run_<k>`` in it.
    gpus
        Names of the GPUs (as in CUDA_VISIBLE_DEVICES) that runs take, one each; empty for none.
    on_end
        Called with the number and the outcome of each run when it ends.
    """

    free: queue.Queue[str] = queue.Queue()
    for index in range(parallel):
        free.put(gpus[index % len(gpus)] if gpus else "")

    def one(number: int) -> Child:
        environment = dict(os.environ)
        gpu = free.get()
        if gpu:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        child = finetune_in_child(given, out / f"run_{number}", environment, None)
        free.put(gpu)
        on_end(number, child)
        return child

    with ThreadPoolExecutor(parallel) as pool:
        return ReproCheck(list(pool.map(one, range(1, runs + 1))))


def visible_gpus(count: int) -> list[str]:
    """Return the names of the `count` GPUs of this process, in the form of CUDA_VISIBLE_DEVICES."""
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return given[:count] if given != [""] else [str(index) for index in range(count)]


def curve_hash(child: Child) -> str:
    """Return the SHA-256 (hex) of the loss curve and of the error that ended it."""
    fields = child.fields
    curve = json.dumps([fields.get("losses"), fields.get("error")])
    return hashlib.sha256(curve.encode()).hexdigest()


def _rounded(child: Child) -> float | None:
    loss = child.fields["final_loss"]
    return None if loss is None else round(loss, PLACES)
