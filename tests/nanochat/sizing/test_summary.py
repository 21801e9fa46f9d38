"""Sizes against published models, fractal-llm's table, and what torch really keeps."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nanochat.data.examples import Examples
from nanochat.errors import NanochatError
from nanochat.model.gpt import GPT, GPTConfig
from nanochat.model.head_loss import CELLS
from nanochat.sizing.measured_peak import free_memory
from nanochat.sizing.memory import ASSUMPTIONS, count_parameters, estimate_memory, estimate_moments
from nanochat.sizing.summary import GB, Sizing, data_needs, flops_per_token
from nanochat.train.batches import make_batches
from nanochat.train.finetune import finetune
from nanochat.train.recipe import GROUPS, Recipe

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
CHUNK = 1 << 17  # logits

FOUR = GPTConfig.from_depth(4, vocab_size=24576, sequence_len=2048, model_dim=512, head_dim=64)


def _published(depth: Any) -> Any:
    return GPTConfig.from_depth(depth, vocab_size=65536, sequence_len=2048)


def test_the_four_block_model_has_three_equal_parts() -> None:
    assert count_parameters(FOUR) == dict.fromkeys(("wte", "blocks", "lm_head"), 12_582_912)
    assert (FOUR.n_head, FOUR.n_embd // FOUR.n_head) == (8, 64)


@pytest.mark.parametrize(
    ("depth", "parameters", "wte"),
    [
        (20, 560_988_160, 83_886_080),
        (32, 1_879_048_192, 134_217_728),
        (34, 2_217_082_880, 142_606_336),
    ],
)
def test_parameters_of_published_models(depth: int, parameters: int, wte: int) -> None:
    parts = count_parameters(_published(depth))
    assert sum(parts.values()) == parameters
    assert parts["wte"] == parts["lm_head"] == wte


@pytest.mark.parametrize(("depth", "flops"), [(20, "3.4918e+09"), (32, "1.20796e+10")])
def test_flops_of_published_models(depth: int, flops: str) -> None:
    digits = len(flops) - len("1.e+09")
    assert f"{flops_per_token(_published(depth)):.{digits}e}" == flops


def test_parameters_and_flops_of_the_reference_model(fixtures: dict[str, Any]) -> None:
    shape = GPTConfig(**fixtures["meta"]["model_config"])
    assert sum(count_parameters(shape).values()) == fixtures["params"]
    assert flops_per_token(shape) == fixtures["flops_per_token"]


def test_the_source_table_to_its_last_digit() -> None:
    noted = {32: ("14.0", "16.6"), 40: ("17.4", "20.0"), 48: ("20.8", "23.4"), 56: ("24.2", "27")}
    rows = Sizing(FOUR, 48, 954, 524288).table()
    assert [row["batch_size"] for row in rows] == list(noted)
    for row, (estimate, measured) in zip(rows, noted.values(), strict=True):
        digits = len(measured.partition(".")[2])
        assert f"{row['estimate_gb']:.1f}" == f"{row['noted_gb']:.1f}" == estimate
        assert f"{row['with_runtime_gb']:.{digits}f}" == measured
        assert f"{row['noted_measured_gb']:.{digits}f}" == measured
    assert Sizing(_published(4), 48, 954, 524288).table() == []


def test_logits_are_nearly_all_that_grows_with_the_batch() -> None:
    one, two = (estimate_memory(FOUR, batch, ASSUMPTIONS["source"]) for batch in (1, 2))
    fixed = 2 * sum(one.values()) - sum(two.values())
    assert fixed / GB == pytest.approx(0.40, abs=0.005)
    assert one["logits"] == 2048 * 24576 * 8
    assert one["logits"] / (sum(one.values()) - fixed) == pytest.approx(0.95, abs=0.005)


def test_data_of_the_source_training() -> None:
    need = data_needs(500_000_000)
    assert (need["chars"], need["shards"]) == (2_400_000_000, 10)
    data = Sizing(FOUR, 48, 954, 524288).data
    assert data["training"]["tokens"] == 500_170_752
    assert data["chinchilla"]["tokens"] == 754_974_720
    assert (data["chinchilla"]["shards"], data["chinchilla"]["download_bytes"]) == (15, 1.5e9)


def test_a_shape_that_is_made_can_be_built_and_one_that_is_refused_says_why() -> None:
    outcomes = set()
    for depth, dim, head, kv in itertools.product(
        (0, 1, 5, 20), (None, 1, 96, 512), (2, 32, 60, 128, 1000), (None, 0, 1, 3)
    ):
        try:
            made = GPTConfig.from_depth(
                depth, vocab_size=99, sequence_len=7, model_dim=dim, head_dim=head, n_kv_head=kv
            )
        except NanochatError as error:
            outcomes.add(str(error).split()[0])
            continue
        outcomes.add("made")
        assert made.n_embd == (64 * depth if dim is None else dim) == made.n_head * made.head_dim
        assert made.head_dim <= head
        assert made.head_dim % 2 == made.n_head % made.n_kv_head == 0
    assert outcomes == {"made", "depth", "model_dim", "n_kv_head"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth must be from 1"),
        ({"model_dim": 0}, "model_dim must be from 1"),
        ({"head_dim": -2}, "head_dim must be from 1"),
        ({"head_dim": 65}, "head_dim must be even, not 65"),
        ({"head_dim": 100}, "model_dim 512 cannot be shared by 6 heads of an even size"),
        ({"n_kv_head": 3}, "n_kv_head must divide the 4 heads, not 3"),
        ({"vocab_size": 0}, "vocab_size must be from 1"),
        ({"sequence_len": 10**10}, "sequence_len must be from 1 to 1,000,000,000"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    given = {"depth": 4, "model_dim": 512, "vocab_size": 24576, "sequence_len": 2048}
    with pytest.raises(NanochatError, match=message):
        GPTConfig.from_depth(**{**given, **change})


@pytest.mark.parametrize("name", ["batch_size", "steps", "tokens_per_step"])
def test_counts_below_one_are_refused(name: str) -> None:
    given = {"batch_size": 1, "steps": 1, "tokens_per_step": 1}
    with pytest.raises(NanochatError, match=f"{name} must be from 1"):
        Sizing(FOUR, **{**given, name: 0})


SHAPES = {
    "loss": (GPTConfig(64, 20_000, 1, 1, 1, 128), 8),
    "backward": (GPTConfig(64, 64, 4, 2, 1, 256), 24),
    "update": (GPTConfig(32, 64, 3, 4, 4, 512), 2),
}
"""By the moment of its peak, a model that is wide for its heads, and a batch: what is kept once per
position and head, or once for all rows, does not show."""


@pytest.mark.parametrize("name", ["cpu", "cuda"])
@pytest.mark.parametrize("moment", SHAPES)
def test_a_step_holds_what_it_is_said_to(
    monkeypatch: pytest.MonkeyPatch, name: str, moment: Any
) -> None:
    shape, batch = SHAPES[moment]
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setitem(CELLS, "cpu", CHUNK)  # a card's would be all of these steps' logits
    assumptions = dataclasses.replace(ASSUMPTIONS[name], chunk=CHUNK)
    moments = estimate_moments(shape, batch, assumptions)
    totals = {name: sum(parts.values()) for name, parts in moments.items()}
    assert max(totals, key=lambda name: totals[name]) == moment
    assert estimate_memory(shape, batch, assumptions) == moments[moment]
    assert _held(shape, batch, mixed=name == "cuda") == pytest.approx(totals[moment], rel=0.02)


def test_logits_are_estimated_in_the_chunks_that_are_made() -> None:
    assert {name: ASSUMPTIONS[name].chunk for name in CELLS} == CELLS
    memory = estimate_moments(FOUR, 48, ASSUMPTIONS["cuda"])["loss"]
    assert memory["logits"] == 8 * CELLS["cuda"] < 10 * 48 * 2048 * 24576
    # A vocabulary above a chunk is still taken at once.
    memory = estimate_moments(_published(4), 1, dataclasses.replace(ASSUMPTIONS["cpu"], chunk=9))
    assert memory["loss"]["logits"] == 8 * 65536


def _held(shape: Any, batch: Any, mixed: Any) -> Any:
    """Most bytes that live at once in two steps, the batch aside."""
    from finetune_memory import LiveBytes

    recipe = Recipe(
        dtype="bfloat16" if mixed else "float32",
        device_batch_size=batch,
        num_iterations=2,
        trainable_param_groups=GROUPS,
    )
    tokens = batch * (shape.sequence_len + 1)
    offsets = np.arange(batch + 1) * (shape.sequence_len + 1)
    examples = Examples(np.zeros(tokens, np.int32), np.ones(tokens, np.uint8), offsets)
    batches = make_batches(examples, recipe, 0)
    batches.supervised(0)  # made now, and not counted
    with LiveBytes() as live:
        model = GPT(shape)
        model.init_weights(torch.Generator().manual_seed(0))
        finetune(model, batches, recipe)
    return live.peak


def test_everything_is_told_twice() -> None:
    sizing = Sizing(FOUR, 48, 954, 524288)
    told = json.loads(json.dumps(sizing.to_dict()))
    assert told["parameters"]["total"] == 37_748_736
    text = "\n".join(sizing.lines())
    for memory in told["memory_bytes"].values():
        assert sum(memory["components"].values()) == memory["total"]
        assert f"{memory['total'] / GB:.3f}" in text
    for stated in told["assumptions"].values():
        assert " ".join(stated.split()) in " ".join(text.split())


def test_free_memory_is_plausible() -> None:
    assert 50e6 < free_memory() < 1e14
