"""Tokens per second of d4, d12 and d20: the plain loop and the product, switch by switch.

Only torch, numpy and `nanochat` are needed, so it runs on a machine that has a card and no Ray.
Weights are random and so are the tokens; what decides the time is their number.
"""

import dataclasses
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finetune_flops import muon_flops, step_flops
from finetune_measure import free_device, header, row, seconds
from finetune_runs import Case, make_examples, make_model, plain, product

from nanochat.model.gpt import GPT
from nanochat.sizing.summary import GB
from nanochat.train.batches import make_batches
from nanochat.train.kernels import PLAIN, Kernels

BUDGET = 250_000  # supervised tokens of a point
FASTER = ("compile", "cuda_graphs")
TITLES = ("model", "rows", "batch", "way", "tokens/s", "MFU", "peak GB", "points/h", "faster by")
TITLES += ("first run, s", "later, s")


@dataclass(frozen=True)
class Way:
    """A way to train a case: by the plain loop, or by the product with these kernels."""

    name: str
    kernels: Kernels | None
    deterministic: bool


@dataclass(frozen=True)
class Timing:
    """One row: seconds of whole runs, and what was done in one of them."""

    first: float
    each: list[float]
    positions: int
    supervised: int
    flops: float
    peak_bytes: int


def kernels_for(device: torch.device) -> list[Kernels]:
    """List the faster kernels of the device: each alone, and all together."""
    names = FASTER if device.type == "cuda" else FASTER[:1]
    alone = [Kernels(**{name: True}) for name in names]
    return [*alone, Kernels(**dict.fromkeys(names, True))] if len(names) > 1 else alone


def ways(device: torch.device) -> list[Way]:
    """List the plain loop and the product with each choice of kernels, deterministic and not."""
    faster = {f"product, {kernels}": kernels for kernels in kernels_for(device)}
    loops = {"plain loop": None, "product": PLAIN, **faster}
    with_full = {**loops, "product, full_logits": Kernels(full_logits=True)}
    return [Way(name, kernels, True) for name, kernels in with_full.items()] + [
        Way(f"{name}; not deterministic", kernels, False) for name, kernels in loops.items()
    ]


def measure(model: GPT, case: Case, way: Way, steps: int, repeats: int) -> tuple[Case, Timing]:
    """Time the largest batch that fits: halve its rows each time that memory runs out."""
    while True:
        try:
            return case, timing(model, case, way, steps, repeats)
        except torch.OutOfMemoryError:
            if case.batch == 1:
                raise
        case = dataclasses.replace(case, batch=case.batch // 2)


def timing(model: GPT, case: Case, way: Way, steps: int, repeats: int) -> Timing:
    device, config = model.lm_head.weight.device, case.config
    free_device(device)
    recipe = case.recipe(steps, way.deterministic)
    examples = make_examples(case, steps * case.batch)
    if way.kernels is None:
        run = plain(model, examples, recipe)
    else:
        batches = make_batches(examples, recipe, 0, device, way.kernels)
        run = product(model, batches, recipe, way.kernels)
    first = seconds(run, device)
    each = [seconds(run, device) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    lengths = (examples.lengths - 1).reshape(steps, case.batch)
    supervised = examples.mask.sum(dtype=np.int64)
    marks = np.add.reduceat(examples.mask.astype(np.int64), examples.offsets[:-1])
    flops = sum(
        step_flops(config, rows, int(marked.sum()), recipe.trainable_param_groups)
        for rows, marked in zip(lengths, marks.reshape(steps, case.batch), strict=True)
    )
    return Timing(first, each, int(lengths.sum()), int(supervised), flops, peak)


def facts(case: Case, way: Way, steps: int, taken: Timing, peak: float | None) -> dict[str, Any]:
    """Turn a row of the table into plain JSON types."""
    median = statistics.median(taken.each)
    return {
        "depth": case.config.n_layer,
        "rows": case.rows,
        "way": way.name,
        "batch": case.batch,
        "steps": steps,
        "first_seconds": taken.first,
        "seconds": taken.each,
        "tokens_per_second": taken.positions / median,
        "supervised_per_second": taken.supervised / median,
        "points_per_hour": 3600 * taken.supervised / median / BUDGET,
        "needed_flops": taken.flops,
        "muon_flops": steps * muon_flops(case.config),
        "mfu": taken.flops / median / peak if peak else None,
        "peak_bytes": taken.peak_bytes or None,
    }


def rows_of(
    case: Case,
    device: torch.device,
    chosen: Sequence[Way],
    steps: int,
    repeats: int,
    peak: float | None,
) -> Iterator[dict[str, Any]]:
    model = make_model(case.config, device)
    for way in chosen:
        fitting, taken = measure(model, case, way, steps, repeats)
        yield facts(fitting, way, steps, taken, peak)


def shapes_table(
    cases: Sequence[Case],
    device: torch.device,
    steps: int,
    repeats: int,
    peak: float | None,
    json_file: Path | None,
) -> None:
    header(*TITLES)
    for case in cases:
        reference: dict[str, Any] | None = None
        for fact in rows_of(case, device, ways(device), steps, repeats, peak):
            reference = reference or fact  # the plain loop comes first
            print_row(fact, reference)
            if json_file is not None:
                with json_file.open("a") as file:
                    file.write(json.dumps(fact) + "\n")


def print_row(fact: dict[str, Any], reference: dict[str, Any]) -> None:
    later, mfu, peak = statistics.median(fact["seconds"]), fact["mfu"], fact["peak_bytes"]
    row(
        [
            f"d{fact['depth']}",
            fact["rows"],
            str(fact["batch"]),
            fact["way"],
            f"{fact['tokens_per_second']:,.0f}",
            f"{mfu:.1%}" if mfu else "",
            f"{peak / GB:.1f}" if peak else "",
            f"{fact['points_per_hour']:,.1f}",
            f"{fact['points_per_hour'] / reference['points_per_hour']:.2f}",
            f"{fact['first_seconds']:.1f}",
            f"{later:.1f}",
        ]
    )
