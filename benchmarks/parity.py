"""How far this model, tokenizer and loop are from nanochat's and fractal-llm's own numbers.

    python benchmarks/parity.py                      # 15 seconds on one core
    python benchmarks/parity.py --kernels plain      # the curves as a sweep computes them
    python benchmarks/parity.py --dtype bfloat16     # in a sweep's own arithmetic

Prints two Markdown tables, the largest deviation of each fixture beside its tolerance, and ends
with 1 where one is over. The reference numbers and the checkpoint they belong to are in
tests/golden/nanochat_tiny; they were made in float32 on a CPU. The plain kernels add in another
order, so each of their curves stands beside the change that one ulp of `matrix_lr` makes to
fractal-llm's curve: where it is more than the tolerance, three times that change is the tolerance.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fractal_ray.plane.outcome import Criterion
from nanochat.data.conversations import load_conversations
from nanochat.data.examples import Examples, tokenize_conversations
from nanochat.model.checkpoint import Checkpoint, build_model, load_checkpoint
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.batches import make_batches
from nanochat.train.finetune import FinetuneResult, finetune
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.optim.groups import build_optimizers
from nanochat.train.recipe import DTYPES, GROUPS, Recipe

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "nanochat_tiny"
AS_THE_SOURCE = Kernels(full_logits=True)
EARLY = 10  # steps; later ones amplify the rounding of the first
EARLY_TOLERANCE, LATE_TOLERANCE = 1e-3, 1e-2
NUDGES = 3  # times what one ulp does
EXAMPLES, MAX_SEQ_LEN = 400, 128  # more than any of the curves comes to see


@dataclass(frozen=True)
class Deviation:
    """One row of the first table: a tolerance of 0 asks for equality."""

    fixture: str
    measure: str
    value: float
    tolerance: float

    @property
    def fits(self) -> bool:
        return self.value <= self.tolerance


@dataclass(frozen=True)
class Curve:
    """One row of the second table: one fine-tune against the reference."""

    settings: str
    steps: int
    early: float
    late: float
    nudged: float  # `late` of fractal-llm's own loop with a rate moved by one ulp
    same_steps: bool
    same_tokens: bool
    same_converged: bool

    @property
    def fits(self) -> bool:
        same = self.same_steps and self.same_tokens and self.same_converged
        early, late = (max(t, NUDGES * self.nudged) for t in (EARLY_TOLERANCE, LATE_TOLERANCE))
        return same and self.early <= early and self.late <= late


def tokenizer_rows(tokenizer: Tokenizer, fixtures: dict[str, Any]) -> Iterator[Deviation]:
    """Count the texts and conversations that are tokenized differently."""
    texts, rendered = fixtures["encode"], fixtures["rendered"]
    wrong = sum(tokenizer.encode(case["text"]) != case["ids"] for case in texts)
    yield Deviation(f"encodings of {len(texts)} texts", "texts that differ", wrong, 0)
    wrong = sum(
        tokenizer.render_conversation(case["messages"], 2048) != (case["ids"], case["mask"])
        for case in rendered
    )
    name = f"ids and masks of {len(rendered)} conversations"
    yield Deviation(name, "conversations that differ", wrong, 0)


def model_rows(
    checkpoint: Checkpoint, fixtures: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Iterator[Deviation]:
    """Compare forward, backward, greedy text, and one step of both optimizers."""
    model = build_model(checkpoint.config, checkpoint.state)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    logits = model(x).detach().numpy()
    yield Deviation("logits (3, 48, 512)", "absolute", abs(logits - arrays["logits"]).max(), 1e-4)
    expected = fixtures["greedy_tokens"]
    tokens = model.generate_greedy(fixtures["completion_prompt"], len(expected))
    wrong = sum(one != other for one, other in zip(tokens, expected, strict=True))
    yield Deviation(f"{len(expected)} greedy tokens", "tokens that differ", wrong, 0)
    loss = model(x, y)
    loss.backward()
    yield Deviation("loss", "relative", relative(loss.item(), fixtures["loss"]), 1e-5)
    norms = {name: weight.grad.norm().item() for name, weight in model.named_parameters()}
    worst = largest(norms, fixtures["grad_norm"])
    yield Deviation(f"norms of {len(norms)} gradients", "relative", worst, 1e-3)
    step_once(model, fixtures["step_lr"])
    norms = {name: weight.double().norm().item() for name, weight in model.named_parameters()}
    worst = largest(norms, {name: row["norm"] for name, row in fixtures["after_one_step"].items()})
    yield Deviation(f"norms of {len(norms)} parameters after one step", "relative", worst, 1e-4)
    deviation = relative(model(x, y).item(), fixtures["loss_after_one_step"])
    yield Deviation("loss after one step", "relative", deviation, 1e-3)


def step_once(model: GPT, rates: dict[str, float]) -> None:
    """Take one step of AdamW and Muon with the present gradients."""
    for optimizer in build_optimizers(model, Recipe(**rates, trainable_param_groups=GROUPS)):
        optimizer.step()


def curve_rows(
    checkpoint: Checkpoint, tokenizer: Tokenizer, examples: Examples, dtype: str, kernels: Kernels
) -> Iterator[Curve]:
    """Run the fifteen recorded fine-tunes again and compare their curves."""
    pad_id = tokenizer.special["<|assistant_end|>"]
    for row in json.loads((GOLDEN / "finetune_curves.json").read_text())["rows"]:
        recipe = Recipe.from_mapping({"dtype": dtype, **row["settings"]})

        def run(recipe: Recipe, kernels: Kernels) -> FinetuneResult:
            model = build_model(checkpoint.config, checkpoint.state)
            batches = make_batches(examples, recipe, pad_id)
            return finetune(model, batches, recipe, kernels=kernels)

        result = run(recipe, kernels)
        nudged = 0.0
        if kernels == PLAIN:
            rate = np.float32(recipe.group_lrs()["matrix"])
            for moved in (np.nextafter(rate, np.float32(0)), np.nextafter(rate, np.float32(99))):
                losses = run(recipe.with_values({"matrix_lr": float(moved)}), AS_THE_SOURCE).losses
                reference = np.asarray(row["losses"])[: len(losses)]
                nudged = max(nudged, np.max(abs(losses - reference) / reference))
        # A run that ended early is compared as far as it went; its steps are not equal then.
        reference = np.asarray(row["losses"])[: result.steps]
        deviations = abs(result.losses[: len(reference)] - reference) / reference
        yield Curve(
            settings=", ".join(f"{name} {value}" for name, value in row["settings"].items()),
            steps=result.steps,
            early=np.max(deviations[:EARLY], initial=0),
            late=np.max(deviations, initial=0),
            nudged=nudged,
            same_steps=result.steps == row["steps"],
            same_tokens=result.tokens_seen == row["tokens_seen"],
            same_converged=(Criterion().ratio(result.losses) < 1) == row["converged"],
        )


def relative(value: float, reference: float) -> float:
    return abs(value - reference) / abs(reference)


def largest(values: dict[str, float], references: dict[str, float]) -> float:
    """Compute the largest relative deviation over equal keys."""
    # numpy's max keeps a NaN, which then is over any tolerance.
    return np.max([relative(values[name], references[name]) for name in values | references])


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the curves")
    parser.add_argument("--kernels", choices=["full_logits", "plain"], default="full_logits")
    options = parser.parse_args()
    dtype = options.dtype
    kernels = PLAIN if options.kernels == "plain" else AS_THE_SOURCE
    torch.set_num_threads(1)
    fixtures = json.loads((GOLDEN / "fixtures.json").read_text())
    with np.load(GOLDEN / "logits.npz") as file:
        arrays = {name: file[name] for name in file.files}
    checkpoint = load_checkpoint(GOLDEN / "checkpoints")
    tokenizer = Tokenizer.load(GOLDEN / "tokenizer")
    conversations = load_conversations("stdlib_qa", limit=EXAMPLES)
    examples = tokenize_conversations(conversations, tokenizer, MAX_SEQ_LEN)
    print(
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, CPU,"
        f" one thread; curves in {dtype}, kernels: {options.kernels}\n"
    )
    deviations = [*tokenizer_rows(tokenizer, fixtures), *model_rows(checkpoint, fixtures, arrays)]
    print(
        table(
            ["fixture", "deviation", "largest", "tolerance", "fits"],
            (
                [row.fixture, row.measure, f"{row.value:.2g}", f"{row.tolerance:g}", yes(row.fits)]
                for row in deviations
            ),
        )
    )
    curves = list(curve_rows(checkpoint, tokenizer, examples, dtype, kernels))
    print(
        f"\nRelative deviation of the losses: tolerance {EARLY_TOLERANCE:g} in the first {EARLY}"
        f" steps, {LATE_TOLERANCE:g} in all.\n"
    )
    print(
        table(
            [
                *("curve", f"first {EARLY}", "all", "one ulp", "steps", "tokens_seen"),
                *("converged", "fits"),
            ],
            (
                [
                    row.settings,
                    f"{row.early:.2g}",
                    f"{row.late:.2g}",
                    f"{row.nudged:.2g}" if kernels == PLAIN else "-",
                    f"{row.steps}, {equal(row.same_steps)}",
                    equal(row.same_tokens),
                    equal(row.same_converged),
                    yes(row.fits),
                ]
                for row in curves
            ),
        )
    )
    sys.exit(not all(row.fits for row in [*deviations, *curves]))


def yes(fits: bool) -> str:
    return "yes" if fits else "**no**"


def equal(same: bool) -> str:
    return "equal" if same else "**differ**"


if __name__ == "__main__":
    main()
