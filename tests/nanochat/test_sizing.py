"""Sizes against published models, the source's table, and what torch really keeps."""

import itertools
import json
from dataclasses import asdict

import pytest
import torch

from nanochat.errors import NanochatError
from nanochat.gpt import GPT, GPTConfig
from nanochat.peak import free_memory
from nanochat.sizing import (
    ASSUMPTIONS,
    GB,
    Sizing,
    count_parameters,
    data_needs,
    estimate_memory,
    flops_per_token,
)

FOUR = GPTConfig.from_depth(4, vocab_size=24576, sequence_len=2048, model_dim=512, head_dim=64)


def _published(depth):
    return GPTConfig.from_depth(depth, vocab_size=65536, sequence_len=2048)


def test_the_four_block_model_has_three_equal_parts():
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
def test_parameters_of_published_models(depth, parameters, wte):
    parts = count_parameters(_published(depth))
    assert sum(parts.values()) == parameters
    assert parts["wte"] == parts["lm_head"] == wte


@pytest.mark.parametrize(("depth", "flops"), [(20, "3.4918e+09"), (32, "1.20796e+10")])
def test_flops_of_published_models(depth, flops):
    digits = len(flops) - len("1.e+09")
    assert f"{flops_per_token(_published(depth)):.{digits}e}" == flops


def test_parameters_and_flops_of_the_reference_model(fixtures):
    shape = GPTConfig(**fixtures["meta"]["model_config"])
    assert sum(count_parameters(shape).values()) == fixtures["params"]
    assert flops_per_token(shape) == fixtures["flops_per_token"]


def test_the_source_table_to_its_last_digit():
    noted = {32: ("14.0", "16.6"), 40: ("17.4", "20.0"), 48: ("20.8", "23.4"), 56: ("24.2", "27")}
    rows = Sizing(FOUR, 48, 954, 524288).table()
    assert [row["batch_size"] for row in rows] == list(noted)
    for row, (estimate, measured) in zip(rows, noted.values(), strict=True):
        digits = len(measured.partition(".")[2])
        assert f"{row['estimate_gb']:.1f}" == f"{row['noted_gb']:.1f}" == estimate
        assert f"{row['with_runtime_gb']:.{digits}f}" == measured
        assert f"{row['noted_measured_gb']:.{digits}f}" == measured
    assert Sizing(_published(4), 48, 954, 524288).table() == []


def test_logits_are_nearly_all_that_grows_with_the_batch():
    one, two = (estimate_memory(FOUR, batch, ASSUMPTIONS["source"]) for batch in (1, 2))
    fixed = 2 * sum(one.values()) - sum(two.values())
    assert fixed / GB == pytest.approx(0.40, abs=0.005)
    assert one["logits"] == 2048 * 24576 * 8
    assert one["logits"] / (sum(one.values()) - fixed) == pytest.approx(0.95, abs=0.005)


def test_data_of_the_source_training():
    need = data_needs(500_000_000)
    assert (need["chars"], need["shards"]) == (2_400_000_000, 10)
    data = Sizing(FOUR, 48, 954, 524288).data
    assert data["training"]["tokens"] == 500_170_752
    assert data["chinchilla"]["tokens"] == 754_974_720
    assert (data["chinchilla"]["shards"], data["chinchilla"]["download_bytes"]) == (15, 1.5e9)


def test_a_shape_that_is_made_can_be_built_and_one_that_is_refused_says_why():
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
def test_shapes_that_do_not_fit_are_refused(change, message):
    given = {"depth": 4, "model_dim": 512, "vocab_size": 24576, "sequence_len": 2048}
    with pytest.raises(NanochatError, match=message):
        GPTConfig.from_depth(**{**given, **change})


@pytest.mark.parametrize("name", ["batch_size", "steps", "tokens_per_step"])
def test_counts_below_one_are_refused(name):
    given = {"batch_size": 1, "steps": 1, "tokens_per_step": 1}
    with pytest.raises(NanochatError, match=f"{name} must be from 1"):
        Sizing(FOUR, **{**given, name: 0})


@pytest.mark.parametrize("name", ["cpu", "cuda"])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_autograd_keeps_what_the_blocks_are_said_to(name, kv_heads):
    # A wide, short model: what is kept once per position and head does not show.
    shape = GPTConfig(32, 16, 3, 4, kv_heads, 512)
    kept = _kept(shape, 2, mixed=name == "cuda") - 2 * 4 * 64 * shape.vocab_size
    parts = count_parameters(shape)
    copies = ASSUMPTIONS[name].cast * (parts["blocks"] + parts["lm_head"])
    expected = estimate_memory(shape, 2, ASSUMPTIONS[name])["blocks"] + copies
    assert kept == pytest.approx(expected, rel=0.004)


def _kept(shape, batch, mixed):
    """Bytes that autograd keeps for the backward pass, the model itself aside."""
    model = GPT(GPTConfig(**asdict(shape)))
    model.init_weights(torch.Generator().manual_seed(0))
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor

    ids = torch.zeros(batch, shape.sequence_len, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=mixed),
    ):
        loss = model(ids, ids)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in storages.values())


def test_everything_is_told_twice():
    sizing = Sizing(FOUR, 48, 954, 524288)
    told = json.loads(json.dumps(sizing.to_dict()))
    assert told["parameters"]["total"] == 37_748_736
    text = "\n".join(sizing.lines())
    for memory in told["memory_bytes"].values():
        assert sum(memory["components"].values()) == memory["total"]
        assert f"{memory['total'] / GB:.3f}" in text
    for stated in told["assumptions"].values():
        assert " ".join(stated.split()) in " ".join(text.split())


def test_free_memory_is_plausible():
    assert 50e6 < free_memory() < 1e14
