"""How much 1, 2, 4 worker processes on one card do together, with and without NVIDIA's MPS.

    python benchmarks/packing.py                    # d4, d12, d20 on a GPU; 20 minutes at a guess
    python benchmarks/packing.py --depths 4 --set deterministic=false --kernels cuda_graphs
    python benchmarks/packing.py --device cpu --depths 1 --vocab-size 256 --seconds 5   # 90 seconds

Needs torch, numpy and nanochat, no Ray. Every worker is a process of its own: it builds a model
with random weights, warms up, waits for the others, and fine-tunes, one point at a time, for
`--seconds`; the sum of the steps is the throughput. Rows have DocVQA's shape (about 400 tokens in
the mean, at most 1024, 5 % of them supervised, seed 0); tokens are counted without padding. The
recipe is a sweep's default (bfloat16, batch 8, deterministic); `--set` changes it.

The ratio is to one worker without MPS. Memory is what a worker's allocator held at most (on a CPU,
the process), and what all of them took of the card, CUDA included. `gpu: auto` is how many workers
`resources.gpu: auto` would start, from the same probe; that number is measured as well, so that the
table tells whether it was a good choice.

A worker that runs out of memory is an answer. One that dies, hangs or fails is told, and ends this
with 1.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any

from packing_mps import MpsError, mps, no_mps
from packing_worker import MEMORY, Job, fine_tune, probe

from fractal_ray.engine.cluster.packing import Packing, workers_of
from fractal_ray.errors import SweepError
from fractal_ray.workloads.base import Footprint
from nanochat.errors import NanochatError
from nanochat.train.kernels import Kernels
from nanochat.train.recipe import Recipe

COLUMNS = (
    "model | MPS | workers | steps/s | tokens/s | ratio | GiB a worker | GiB of the card"
    " | `gpu: auto` | note"
)
LONGEST = 100_000.0  # seconds
GRACE = 10.0  # seconds for a process to end when nothing keeps it

Target = Callable[[Connection, Job, Mapping[str, str]], None]
Told = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One group of workers; values are None if the group did not finish."""

    depth: int
    mps: bool
    workers: int
    auto: int | None
    steps: float | None = None
    """Per second, as `tokens`."""
    tokens: float | None = None
    ratio: float | None = None
    peak: int | None = None
    used: int | None = None
    fault: str = ""

    def __str__(self) -> str:
        """Format the row of the table."""
        cells = [f"d{self.depth}", "yes" if self.mps else "no", str(self.workers)]
        cells += [_shown(self.steps, ".2f"), _shown(self.tokens, ",.0f"), _shown(self.ratio, ".2f")]
        cells += [_shown(size and size / 2**30, ".2f") for size in (self.peak, self.used)]
        return f"| {' | '.join([*cells, _shown(self.auto, 'd'), self.fault])} |"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def crew(
    target: Target, job: Job, count: int, environment: Mapping[str, str], patience: float
) -> list[Told]:
    """Start `count` processes together and collect their reports; a failed one reports a "fault".

    None of them is left when this returns.
    """
    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(count):
            started.append(_start(target, job, environment))  # noqa: PERF401  # an end midway
        until = monotonic() + patience
        told = [_hear(*worker, until) for worker in started]
        if all("ready" in one for one in told):
            for _, connection in started:
                connection.send("go")
            until = monotonic() + job.seconds + patience
            told = [one | _hear(*worker, until) for one, worker in zip(told, started, strict=True)]
        return told
    finally:
        for _, connection in started:
            connection.close()
        _end([process for process, _ in started])


def _start(
    target: Target, job: Job, environment: Mapping[str, str]
) -> tuple[BaseProcess, Connection]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, job, environment))
    process.start()
    theirs.close()  # so that the end of the process closes the pipe
    return process, ours


def _hear(process: BaseProcess, connection: Connection, until: float) -> Told:
    began = monotonic()
    try:
        if connection.poll(max(0.0, until - began)):
            return connection.recv()
    except (EOFError, ConnectionError):
        process.join(GRACE)
        code = process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return {"fault": f"died ({how})"}
    return {"fault": "hung, or was too slow; see --patience"}


def _end(processes: list[BaseProcess]) -> None:
    """Wait for the processes to end by themselves, or else kill them."""
    for force in (None, BaseProcess.terminate, BaseProcess.kill):
        until = monotonic() + GRACE
        for process in processes:
            if force and process.is_alive():
                force(process)
        for process in processes:
            process.join(max(0.0, until - monotonic()))


def choice(job: Job, environment: Mapping[str, str], patience: float) -> Told:
    """Choose as `gpu: auto`: `workers` (None if it refuses), the `line` why, and the facts."""
    (told,) = crew(probe, job, 1, environment, patience)
    if "fault" in told:
        return {"workers": None, "line": f"gpu: auto: the probe failed: {told['fault']}"}
    footprint = Footprint(**told["footprint"])
    try:
        workers = workers_of(footprint)
    except SweepError as error:
        return {"workers": None, "line": str(error), **told}
    return {"workers": workers, "line": str(Packing("", footprint, workers)), **told}


def filled(row: Row, told: list[Told], seconds: float, alone: float | None) -> Row:
    """Fill a row from its workers' reports; `alone`: steps/s of one without MPS, if known."""
    faults = [one["fault"] for one in told if "fault" in one]
    if faults:
        # If one worker has no memory, others may have failed because of it.
        first = MEMORY if MEMORY in faults else faults[0]
        return replace(row, fault=f"{first} ({len(faults)} of {row.workers} workers)")
    steps, tokens = (sum(one[what] for one in told) / seconds for what in ("steps", "tokens"))
    return replace(
        row,
        steps=steps,
        tokens=tokens,
        ratio=alone and steps / alone,
        peak=max(one["peak"] for one in told),
        used=max(one["used"] for one in told) if told[0]["used"] is not None else None,
    )


class Measurement:
    """A table whose rows are printed as soon as they are measured."""

    def __init__(self, jobs: list[Job], workers: list[int], patience: float, out: Path | None):
        self.jobs, self.workers, self.patience, self._out = jobs, workers, patience, out
        self.rows: list[Row] = []
        self._machine: dict[str, str] = {}
        self._auto: dict[int, Told] = {}
        self._alone: dict[int, float | None] = {}

    def choices(self, environment: Mapping[str, str]) -> None:
        """Print the choice of `gpu: auto` for each model."""
        for job in self.jobs:
            self._auto[job.depth] = choice(job, environment, self.patience)
            print(f"d{job.depth}: {self._auto[job.depth]['line']}", flush=True)

    def measure(
        self, environment: Mapping[str, str], serves: Callable[[], bool] | None = None
    ) -> None:
        """Measure every model with every number of workers; `serves` tells whether MPS took part.

        Raises
        ------
        MpsError
            Where it should have and did not.
        """
        for job in self.jobs:
            auto = self._auto.get(job.depth, {}).get("workers")
            for count in sorted({1, *self.workers, auto or 1}):
                row = Row(job.depth, serves is not None, count, auto)
                told = crew(fine_tune, job, count, environment, self.patience)
                row = filled(row, told, job.seconds, self._alone.get(job.depth))
                if serves is not None and not row.fault and not serves():
                    raise MpsError("no server came up for the workers, so they ran without it")
                if serves is None and count == 1:
                    self._alone[job.depth] = row.steps
                    row = replace(row, ratio=row.steps and 1.0)
                self._add(row, told)
                if MEMORY in row.fault or (count == 1 and row.fault):
                    break  # more would fail as well

    def _add(self, row: Row, told: list[Told]) -> None:
        self._machine |= next((one["machine"] for one in told if "machine" in one), {})
        if not self.rows:
            print(f"\n{', '.join(self._machine.values())}\n")
            print(f"| {COLUMNS} |\n|{'---|' * (COLUMNS.count('|') + 1)}")
        print(row, flush=True)
        self.rows.append(row)
        if self._out is not None:
            content = {
                "machine": self._machine,
                "job": asdict(self.jobs[0]) | {"depth": [job.depth for job in self.jobs]},
                "auto": self._auto,
                "rows": [asdict(row) for row in self.rows],
            }
            self._out.write_text(json.dumps(content, indent=2) + "\n")

    @property
    def failed(self) -> bool:
        """Check whether a row failed for another reason than memory."""
        return any(row.fault and MEMORY not in row.fault for row in self.rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--depths", type=_positive, nargs="+", default=[4, 12, 20])
    parser.add_argument("--workers", type=_positive, nargs="+", default=[1, 2, 4])
    parser.add_argument("--vocab-size", type=_positive, default=65536)
    parser.add_argument("--seconds", type=float, default=15.0, help="that are measured")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for a start")
    parser.add_argument(
        "--kernels", nargs="+", default=[], choices=[f.name for f in fields(Kernels)]
    )
    parser.add_argument(
        "--set", type=_pair, nargs="+", default=[], metavar="KEY=VALUE", help="of the recipe"
    )
    parser.add_argument("--json", type=Path, help="a file for all of it")
    options = parser.parse_args()
    if not (0 < options.seconds < LONGEST and 0 < options.patience < LONGEST):
        parser.error(f"--seconds and --patience must be above 0 and below {LONGEST:,}")
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.parent}")
    try:
        recipe = Recipe.from_mapping(dict(options.set))
    except NanochatError as error:
        parser.error(f"--set: {error}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as Ray does for a slot of one CPU
    jobs = [
        Job(
            depth,
            options.device,
            options.vocab_size,
            options.seconds,
            recipe.to_dict(),
            tuple(options.kernels),
        )
        for depth in options.depths
    ]
    measurement = Measurement(jobs, options.workers, options.patience, options.json)
    with no_mps() as environment:
        if options.device == "cuda":
            measurement.choices(environment)
        measurement.measure(environment)
    if options.device == "cuda":
        try:
            with mps() as (environment, serves):
                measurement.measure(environment, serves)
        except MpsError as error:
            print(f"\nno rows with MPS, or no further ones: {error}")
    return int(measurement.failed)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
