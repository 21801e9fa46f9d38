"""The model against numbers that nanochat itself gave for the same weights."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nanochat.errors import NanochatError
from nanochat.model.checkpoint import Checkpoint
from nanochat.model.gpt import GPT, GPTConfig


def test_logits_match_nanochat(model: GPT, golden_arrays: dict[str, NDArray[Any]]) -> None:
    logits = model(torch.from_numpy(golden_arrays["x"]))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.detach().numpy(), golden_arrays["logits"], rtol=0, atol=1e-4)


def test_loss_and_gradients_match_nanochat(
    model: GPT, golden_arrays: dict[str, NDArray[Any]], fixtures: dict[str, Any]
) -> None:
    x, y = (torch.from_numpy(golden_arrays[name]) for name in "xy")
    loss = model(x, y)
    loss.backward()
    assert loss.item() == pytest.approx(fixtures["loss"], rel=1e-5)
    for name, weight in model.named_parameters():
        assert weight.grad.norm().item() == pytest.approx(fixtures["grad_norm"][name], rel=1e-3)
        total = weight.grad.double().sum().item()
        assert total == pytest.approx(fixtures["grad_sum"][name], abs=1e-4, rel=1e-3), name


def test_greedy_tokens_match_nanochat(model: GPT, fixtures: dict[str, Any]) -> None:
    prompt, expected = fixtures["completion_prompt"], fixtures["greedy_tokens"]
    assert model.generate_greedy(prompt, len(expected)) == expected


def test_state_dict_has_the_published_keys(model: GPT, fixtures: dict[str, Any]) -> None:
    assert set(model.state_dict()) == set(fixtures["after_one_step"])


def test_unsupervised_positions_do_not_count(
    model: GPT, golden_arrays: dict[str, NDArray[Any]]
) -> None:
    x, y = (torch.from_numpy(golden_arrays[name]) for name in "xy")
    each = model(x, y, loss_reduction="none")
    supervised = y.flatten() != -1
    assert (each[~supervised] == 0).all()
    assert each[supervised].mean().item() == pytest.approx(model(x, y).item(), rel=1e-6)


def test_the_future_is_not_seen(model: GPT) -> None:
    x = torch.arange(20)[None]
    changed = x.clone()
    changed[0, 10:] += 100
    torch.testing.assert_close(model(x)[:, :10], model(changed)[:, :10])


def test_padded_vocabulary_rows_are_cropped(
    checkpoint: Checkpoint, model: GPT, golden_arrays: dict[str, NDArray[Any]]
) -> None:
    padded = GPT(checkpoint.config, vocab_rows=576)
    state = dict(checkpoint.state)
    for key in ("transformer.wte.weight", "lm_head.weight"):
        state[key] = torch.cat([state[key], torch.full((64, 64), 1e6)])
    padded.load_state_dict(state)
    x = torch.from_numpy(golden_arrays["x"])
    torch.testing.assert_close(padded(x), model(x))


def test_depth_decides_the_shape() -> None:
    config = GPTConfig.from_depth(20, vocab_size=65536, sequence_len=2048)
    assert dataclasses.astuple(config) == (2048, 65536, 20, 10, 10, 1280)
    with torch.device("meta"):
        count = sum(weight.numel() for weight in GPT(config).parameters())
    assert count == 560_988_160  # as published for d20


def test_width_and_heads_can_be_given() -> None:
    config = GPTConfig.from_depth(
        4, vocab_size=24576, sequence_len=64, model_dim=512, head_dim=64, n_kv_head=2
    )
    assert (config.n_embd, config.n_head, config.n_kv_head, config.head_dim) == (512, 8, 2, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 3}, "n_embd must be n_head times an even head size"),
        ({"n_embd": 62}, "n_embd must be"),
        ({"n_kv_head": 3, "n_head": 4}, "n_kv_head must divide the 4 heads, not 3"),
        ({"n_layer": 0}, "n_layer must be from 1 to 1,000,000,000, not 0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    checkpoint: Checkpoint, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(NanochatError, match=message):
        dataclasses.replace(checkpoint.config, **change)


def test_text_beyond_the_rotary_table_is_refused(model: GPT) -> None:
    with pytest.raises(NanochatError, match="reaches 1280"):
        model(torch.zeros(1, 1281, dtype=torch.long))


def test_initial_weights_use_their_own_generator(checkpoint: Checkpoint) -> None:
    before = torch.get_rng_state()
    first, second = GPT(checkpoint.config), GPT(checkpoint.config)
    for model in (first, second):
        model.init_weights(torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.get_rng_state())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not first.lm_head.weight.any()
    assert first.state_dict()["transformer.h.0.mlp.c_fc.weight"].std().item() == pytest.approx(
        64**-0.5, rel=0.05
    )
    assert first.wte.weight.std().item() == pytest.approx(1, rel=0.05)
