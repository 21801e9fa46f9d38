"""The gain of each switch alone: pieces of a step against their plain counterparts, and whole runs.

What the product is never without is timed in isolation, forward and backward where it has both.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from finetune_measure import free_device, header, ratios, row, seconds, spread, taking_turns
from finetune_runs import Case, make_examples, make_model, product
from finetune_shapes import kernels_for
from plain_loop import collate, newton_schulz
from torch import Tensor
from torch.optim import AdamW

from nanochat.model.gpt import IGNORED, SOFT_CAP
from nanochat.model.head_loss import head_loss
from nanochat.model.torch_settings import keep_freed_memory
from nanochat.train.batches import make_batches
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.optim.muon import orthogonalize

TURN = 0.1  # seconds that a turn lasts at least: no clock is too coarse for it
SIDE_BY_SIDE = (2, 4, 8)
STEPS = 8
Run = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Switch:
    """A call without it and a call with it, which does the same work `times` times."""

    name: str
    without: Run
    with_it: Run
    times: int = 1


def switches_table(cases: Sequence[Case], device: torch.device, repeats: int) -> None:
    header("model", "switch", "without, ms", "with, ms", "gain", "first time, s")
    if device.type == "cpu":
        kept_memory(cases[0], repeats)
    for case in cases:
        for switches in (pieces, whole_runs):
            for switch in switches(case, device):
                free_device(device)
                try:
                    print_row(case, switch, device, repeats)
                except torch.OutOfMemoryError:
                    print(f"{switch.name}: out of memory at --batch {case.batch}", flush=True)


def kept_memory(case: Case, repeats: int) -> None:
    """Measure `keep_freed_memory`, which workers on a CPU use, last: it cannot be undone."""
    device, recipe = torch.device("cpu"), case.recipe(STEPS)
    batches = make_batches(make_examples(case, STEPS * case.batch), recipe, 0)
    run = product(make_model(case.config, device), batches, recipe)
    run()
    without = [each(run, device) for _ in range(repeats)]
    keep_freed_memory()
    print_times(
        case,
        "freed memory kept (from here on)",
        without,
        [each(run, device) for _ in range(repeats)],
        0,
    )


def print_row(case: Case, switch: Switch, device: torch.device, repeats: int) -> None:
    seconds(switch.without, device)
    first = seconds(switch.with_it, device)
    taken = taking_turns(
        {
            "without": partial(each, switch.without, device),
            "with": lambda: each(switch.with_it, device) / switch.times,
        },
        repeats,
    )
    print_times(case, switch.name, taken["without"], taken["with"], first)


def print_times(
    case: Case, name: str, without: list[float], with_it: list[float], first: float
) -> None:
    milliseconds = (spread([1e3 * one for one in times], ".3g") for times in (without, with_it))
    model = f"d{case.config.n_layer}, width {case.config.n_embd}, {case.dtype}"
    row([model, name, *milliseconds, spread(ratios(without, with_it)), f"{first:.1f}"])


def each(run: Run, device: torch.device) -> float:
    """Measure the seconds of a call, the mean over a turn."""
    calls = max(1, math.ceil(TURN / seconds(run, device)))
    return seconds(lambda: [run() for _ in range(calls)], device) / calls


def pieces(case: Case, device: torch.device) -> Iterator[Switch]:
    """Yield switches: logits and last block where they count, stacked Muon, batches, AdamW."""
    recipe, dtype = case.recipe(steps=1), getattr(torch, case.dtype)
    examples = make_examples(case, 2 * case.batch)
    batches = make_batches(examples, recipe, 0, device)
    model = make_model(case.config, device)
    model.wte.requires_grad_(False)
    batch, (inputs, targets) = batches.batch(0), batches[0]
    autocast = partial(torch.autocast, device.type, dtype=dtype, enabled=dtype != torch.float32)

    def states(positions: Tensor | None) -> None:
        with autocast():
            found = model.states(inputs, positions)
        found.backward(torch.ones_like(found))

    # Without it all positions go forward and back, though most have no gradient but zeros.
    yield Switch(
        "last block where it counts", partial(states, None), partial(states, batch.positions)
    )
    model.zero_grad(set_to_none=True)
    with torch.no_grad(), autocast():
        hidden = model.states(inputs)
    few = hidden.flatten(0, 1)[batch.positions][None]
    weight, vocab = model.lm_head.weight, case.config.vocab_size

    def full_head() -> None:
        leaf = hidden.detach().requires_grad_()
        with autocast():
            logits = F.linear(leaf, weight)[..., :vocab].float()
            capped = SOFT_CAP * torch.tanh(logits / SOFT_CAP)
            F.cross_entropy(
                capped.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
            ).backward()
        weight.grad = None

    one = torch.ones((), device=device)

    def short_head() -> None:
        head_loss(
            few,
            weight.detach(),
            batch.targets,
            batch.count,
            one,
            vocab=vocab,
            dtype=dtype,
            wants=(True, True),
        )

    yield Switch("logits where they count", full_head, short_head)
    stacks = by_shape([torch.randn_like(param) for param in model.blocks.parameters()])
    yield Switch(
        "Newton-Schulz in stacks",
        lambda: [newton_schulz(matrix) for stack in stacks for matrix in stack],
        lambda: [orthogonalize(torch.stack(stack)) for stack in stacks],
    )
    yield Switch(
        "batches kept",
        lambda: [part.to(device) for part in collate(examples, recipe, 1, 0)],
        lambda: batches.batch(1),
    )
    for name in ("foreach", "fused"):
        yield Switch(f"AdamW, {name}", adamw(weight, ""), adamw(weight, name))


def by_shape(matrices: Sequence[Tensor]) -> list[list[Tensor]]:
    shapes: dict[torch.Size, list[Tensor]] = {}
    for matrix in matrices:
        shapes.setdefault(matrix.shape, []).append(matrix)
    return list(shapes.values())


def adamw(weight: Tensor, kind: str) -> Run:
    copy = weight.detach().clone().requires_grad_()
    copy.grad = torch.randn_like(copy)
    return AdamW([copy], lr=1e-6, fused=kind == "fused", foreach=kind == "foreach").step


def whole_runs(case: Case, device: torch.device) -> Iterator[Switch]:
    """Yield switches of whole runs: kernels, determinism, points side by side."""
    examples = make_examples(case, STEPS * case.batch)

    def run(kernels: Kernels = PLAIN, deterministic: bool = True, copies: int = 1) -> Run:
        recipe = case.recipe(STEPS, deterministic)
        batches = make_batches(examples, recipe, 0, device, kernels)
        return product(make_model(case.config, device), batches, recipe, kernels, copies)

    name = "logits and last block where they count, whole runs"
    yield Switch(name, run(Kernels(full_logits=True)), run())
    yield Switch("not deterministic", run(), run(deterministic=False))
    for kernels in kernels_for(device):
        yield Switch(f"{kernels}", run(), run(kernels))
    for copies in SIDE_BY_SIDE:
        yield Switch(f"{copies} points side by side", run(), run(copies=copies), copies)
