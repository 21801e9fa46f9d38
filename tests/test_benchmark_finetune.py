"""benchmarks/finetune.py: the plain loop is the product's mathematics, and FLOPs are counted right.

The tables themselves are measurements and are not made here.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nanochat.model.config import GPTConfig
from nanochat.train.batches import make_batches
from nanochat.train.finetune import finetune
from nanochat.train.optim.muon import orthogonalize
from nanochat.train.recipe import Recipe
from nanochat.train.stepper import Stepper

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CONFIG = GPTConfig(sequence_len=32, vocab_size=96, n_layer=3, n_head=4, n_kv_head=2, n_embd=32)
MATRIX_PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm}


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts can be imported; what is imported from there is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def make_case(rows: str = "docvqa", supervised: float = 0.3) -> Any:
    from finetune_runs import Case

    return Case(CONFIG, rows, 32, 4, "float32", supervised)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"trainable_param_groups": "all", "weight_decay": 0.5, "embedding_lr": 0.05},
        {"trainable_param_groups": "head", "final_lr_frac": 1.0, "init_lr_frac": 0.5},
        {"target_examples_per_step": 8, "shuffle": True, "warmup_frac": 0.5},
        {"num_iterations": -1, "num_tokens": 200, "dtype": "bfloat16"},
    ],
)
def test_the_plain_loop_gives_the_products_losses(
    benchmarks: None, settings: dict[str, Any]
) -> None:
    from finetune_runs import make_examples, make_model
    from plain_loop import plain_finetune

    case = make_case()
    fixed = {"dtype": "float32", "device_batch_size": 4, "num_iterations": 8, "matrix_lr": 0.02}
    recipe = Recipe.from_mapping({**fixed, "unembedding_lr": 0.02, **settings})
    # Three batches to an epoch, the last one smaller: what comes after is the next epoch's.
    examples, device = make_examples(case, 10), torch.device("cpu")
    plain = plain_finetune(make_model(CONFIG, device), examples, recipe, 7)
    batches = make_batches(examples, recipe, 7)
    product = finetune(make_model(CONFIG, device), batches, recipe)
    assert (plain.steps, plain.planned_steps) == (product.steps, product.planned_steps)
    assert plain.tokens_seen == product.tokens_seen
    assert plain.losses[0] != plain.losses[-1]
    np.testing.assert_allclose(plain.losses, product.losses, rtol=1e-2)
    np.testing.assert_allclose(plain.losses[:2], product.losses[:2], rtol=1e-3)


def test_both_loops_stop_at_the_same_divergence(benchmarks: None) -> None:
    from finetune_runs import make_examples, make_model
    from plain_loop import plain_finetune

    case = make_case()
    recipe = Recipe(
        dtype="float32", device_batch_size=4, num_iterations=8, matrix_lr=1e25, unembedding_lr=0.1
    )
    examples, device = make_examples(case, 8), torch.device("cpu")
    plain = plain_finetune(make_model(CONFIG, device), examples, recipe, 0)
    product = finetune(make_model(CONFIG, device), make_batches(examples, recipe, 0), recipe)
    assert plain.diverged_step == product.diverged_step is not None
    assert plain.steps == product.steps < 8
    assert not np.isfinite(plain.final_loss)


@pytest.mark.parametrize("settings", [{"dtype": "float16"}, {"mlp_lr": 0.1}])
def test_the_plain_loop_refuses_what_it_has_not(benchmarks: None, settings: dict[str, Any]) -> None:
    from finetune_runs import make_examples, make_model
    from plain_loop import plain_finetune

    model = make_model(CONFIG, torch.device("cpu"))
    with pytest.raises(ValueError, match="float16, attention_lr or mlp_lr"):
        plain_finetune(model, make_examples(make_case(), 4), Recipe(**settings), 0)


@pytest.mark.parametrize("rows", ["full", "docvqa"])
@pytest.mark.parametrize(
    "groups", ["matrix,unembedding", "unembedding", "embedding", "matrix", "all"]
)
def test_needed_flops_are_those_that_the_product_makes(
    benchmarks: None, groups: str, rows: str
) -> None:
    """By torch's own counter; attention apart, which it counts without the causal half."""
    from finetune_flops import step_flops
    from finetune_runs import make_examples, make_model

    examples = make_examples(make_case(rows), 4)
    settings = {"dtype": "float32", "device_batch_size": 4, "trainable_param_groups": groups}
    recipe = Recipe.from_mapping(settings)
    batches = make_batches(examples, recipe, 0)
    model = make_model(CONFIG, torch.device("cpu"))
    stepper = Stepper(model, [recipe])
    with FlopCounterMode(display=False) as counter:
        stepper.accumulate([batches.batch(0)])
    counts = counter.get_flop_counts()["Global"]
    made = sum(count for product, count in counts.items() if product in MATRIX_PRODUCTS)
    # It pads, and counts what is padded.
    lengths = np.full(4, batches.batch(0).inputs.size(1))
    trunk_learns = recipe.trainable_param_groups != ("unembedding",)
    attention = 2 * 32 * float((lengths * (lengths + 1)).sum()) * 3 * (3 if trunk_learns else 1)
    needed = step_flops(CONFIG, lengths, batches.supervised(0), recipe.trainable_param_groups)
    assert needed - attention == made


def test_flops_of_muon(benchmarks: None) -> None:
    from finetune_flops import muon_flops
    from finetune_runs import make_model

    model = make_model(CONFIG, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        for matrix in model.blocks.parameters():
            orthogonalize(matrix.detach())
    assert counter.get_total_flops() == muon_flops(CONFIG)


@pytest.mark.parametrize(
    ("card", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", None),
        ("NVIDIA H100 PCIe", None),
    ],
)
def test_peaks_of_cards(benchmarks: None, card: str, teraflops: int | None) -> None:
    from finetune_flops import peak_flops

    assert peak_flops(card) == (None if teraflops is None else teraflops * 1e12)


def test_bytes_are_counted_while_they_live(benchmarks: None) -> None:
    from finetune_memory import LiveBytes
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), LiveBytes() as live:
        one = torch.zeros(1000)
        view = one.view(10, 100)[3:]
        two = one + 1
        assert live.live == 8000
        del two
        assert live.live == 4000
        del one
        assert live.live == 4000, "a view keeps the whole"
        del view
    assert (live.live, live.peak) == (0, 8000)


def test_memory_is_that_of_the_full_logits_for_the_plain_loop(benchmarks: None) -> None:
    """The head of a vocabulary much larger than the model decides it."""
    from finetune_memory import count
    from finetune_runs import Case

    config = GPTConfig(32, 4096, 1, 1, 1, 8)
    case = Case(config, "full", 33, 8)
    weights, plain = count(case, "plain")
    same, product = count(case, "product")
    logits = 4 * 8 * 32 * 4096
    assert weights == same >= 4 * (2 * 4096 * 8 + 12 * 8 * 8)
    assert 4 * logits < plain < 7 * logits
    assert product < logits


def test_shapes_need_neither_ray_nor_its_dependencies() -> None:
    """On the machine with the card there is torch, numpy and nanochat."""
    script = f"""
import sys
for name in ("ray", "pandas", "pyarrow", "pydantic", "fractal_ray", "matplotlib"):
    sys.modules[name] = None
sys.path.insert(0, {str(BENCHMARKS)!r})
import torch
import finetune, finetune_memory, finetune_switches
from finetune_shapes import Way, facts, make_model, measure
from nanochat.train.kernels import PLAIN
torch.set_num_threads(1)
case = finetune.TINY
model = make_model(case.config, torch.device("cpu"))
for way in (Way("plain loop", None, True), Way("product", PLAIN, False)):
    fitting, taken = measure(model, case, way, 2, 1)
    fact = facts(fitting, way, 2, taken, 1e12)
    assert 0 < fact["mfu"] < 1 and fact["points_per_hour"] > 0, fact
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
