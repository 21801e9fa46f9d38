"""Optimizers against one step made by nanochat, and the schedule against its formula."""

from typing import Any

import pytest
import torch
from numpy.typing import NDArray

from nanochat.model.gpt import GPT
from nanochat.train.optim.groups import build_optimizers
from nanochat.train.optim.learning_rates import lr_factor, set_lr_factor
from nanochat.train.optim.muon import Muon, orthogonalize
from nanochat.train.recipe import Recipe


def test_one_step_matches_nanochat(
    model: GPT, golden_arrays: dict[str, NDArray[Any]], fixtures: dict[str, Any]
) -> None:
    x, y = (torch.from_numpy(golden_arrays[name]) for name in "xy")
    recipe = Recipe(
        **fixtures["step_lr"], trainable_param_groups=("embedding", "matrix", "unembedding")
    )
    optimizers = build_optimizers(model, recipe)
    model(x, y).backward()
    for optimizer in optimizers:
        optimizer.step()
    for name, weight in model.named_parameters():
        expected = fixtures["after_one_step"][name]
        assert weight.double().norm().item() == pytest.approx(expected["norm"], rel=1e-4), name
        assert weight.double().sum().item() == pytest.approx(expected["sum"], rel=1e-3, abs=0.05)
    assert model(x, y).item() == pytest.approx(fixtures["loss_after_one_step"], rel=1e-3)


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (3, 48, 48)])
def test_singular_values_come_near_one(shape: Any) -> None:
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(update).float())
    assert orthogonalize(update).shape == update.shape
    assert values.max() < 1.4
    assert values.median() > 0.6


def test_muon_scales_tall_matrices_and_skips_what_has_no_gradient() -> None:
    tall, idle = (torch.nn.Parameter(torch.zeros(64, 16)) for _ in range(2))
    tall.grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    Muon([tall, idle], lr=0.1).step()
    # 16 singular values near 1, times 0.1 * sqrt(64 / 16).
    assert tall.norm().item() == pytest.approx(0.2 * 4, rel=0.25)
    assert not idle.any()


@pytest.mark.parametrize("groups", ["all", "head", "matrix", "embedding,matrix", "none"])
def test_only_chosen_groups_are_trained(
    model: GPT, golden_arrays: dict[str, NDArray[Any]], groups: str
) -> None:
    x, y = (torch.from_numpy(golden_arrays[name]) for name in "xy")
    recipe = Recipe(trainable_param_groups=groups, learning_rate=0.01)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizers = build_optimizers(model, recipe)
    if optimizers:
        model(x, y).backward()
    for optimizer in optimizers:
        optimizer.step()
    for name, weight in model.named_parameters():
        group = {"lm": "unembedding", "wte": "embedding"}.get(
            name.removeprefix("transformer.")[: 2 if name.startswith("lm") else 3], "matrix"
        )
        trained = group in recipe.trainable_param_groups
        assert weight.requires_grad is trained, name
        assert torch.equal(weight, before[name]) is not trained, name


def test_rates_and_order_of_the_groups(model: GPT) -> None:
    recipe = Recipe(
        learning_rate=1e-3,
        init_lr_frac=0.5,
        trainable_param_groups=("embedding", "matrix", "unembedding"),
    )
    adamw, muon = build_optimizers(model, recipe)
    scale = (64 / 768) ** -0.5
    head, embedding = adamw.param_groups
    assert head["params"] == [model.lm_head.weight]
    assert head["lr"] == pytest.approx(0.5 * 0.2e-3 * scale)
    assert embedding["params"] == [model.wte.weight]
    assert embedding["lr"] == pytest.approx(0.5 * 10e-3 * scale)
    assert all(group["lr"] == pytest.approx(0.5e-3) for group in muon.param_groups)
    set_lr_factor([adamw, muon], 0.1)
    assert head["lr"] == pytest.approx(0.1 * head["initial_lr"])


def _after_a_step(model: GPT, golden_arrays: dict[str, NDArray[Any]], **rates: Any) -> Any:
    x, y = (torch.from_numpy(golden_arrays[name]) for name in "xy")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizers = build_optimizers(model, Recipe(trainable_param_groups=("matrix",), **rates))
    model.zero_grad()
    model(x, y).backward()
    for optimizer in optimizers:
        optimizer.step()
    after = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    model.load_state_dict(before, strict=False)
    return {name: after[name] - before[name] for name in after}


def test_attention_and_mlp_may_have_rates_of_their_own(
    model: GPT, golden_arrays: dict[str, NDArray[Any]]
) -> None:
    whole = _after_a_step(model, golden_arrays, matrix_lr=0.02)
    same = _after_a_step(model, golden_arrays, attention_lr=0.02, mlp_lr=0.02)
    assert all(torch.equal(same[name], moved) for name, moved in whole.items())
    split = _after_a_step(model, golden_arrays, matrix_lr=0.02, mlp_lr=0.04)
    for name, moved in whole.items():
        times = 2 if ".mlp." in name else 1
        assert torch.allclose(split[name], times * moved, atol=1e-6), name
    assert any(moved.any() for name, moved in whole.items() if ".mlp." in name)
    assert any(moved.any() for name, moved in whole.items() if ".attn." in name)


def test_schedule_warms_up_then_follows_a_cosine() -> None:
    recipe = Recipe(warmup_frac=0.2, final_lr_frac=0.1)
    factors = [lr_factor(step, 10, recipe) for step in range(10)]
    assert factors[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert factors[6] == pytest.approx(0.1 + 0.9 / 2)
    assert factors == [*factors[:2], *sorted(factors[2:], reverse=True)]
    assert lr_factor(10, 10, recipe) == pytest.approx(0.1)


def test_no_anneal_keeps_the_full_rate() -> None:
    recipe = Recipe(final_lr_frac=1.0)
    assert [lr_factor(step, 7, recipe) for step in range(7)] == [1.0] * 7
