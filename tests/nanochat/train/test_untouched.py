"""Losses of the untouched model: those that a fine-tune records while nothing is updated."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from nanochat.data.examples import Examples
from nanochat.model.checkpoint import Checkpoint, build_model
from nanochat.model.gpt import GPT
from nanochat.train.batches import make_batches
from nanochat.train.finetune import finetune
from nanochat.train.forward_loss import batch_losses, mean_losses, untouched_model
from nanochat.train.recipe import Recipe
from nanochat.train.untouched import Order, losses_of_batches, untouched_curve

STILL = Recipe(learning_rate=1e-30, matrix_lr=1e-30, weight_decay=0.0, dtype="float32")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_iterations": 5},
        {"num_tokens": 1500},
        {"num_iterations": 4, "device_batch_size": 3, "target_examples_per_step": 9},
        {"num_iterations": 6, "device_batch_size": 40},
        {"num_iterations": 6, "device_batch_size": 25, "shuffle": True, "seed": 4},
        {"num_iterations": 3, "dtype": "bfloat16"},
        {"num_iterations": 3, "dtype": "float16"},
    ],
    ids=str,
)
def test_it_is_the_curve_of_a_fine_tune_without_updates(
    model: GPT, checkpoint: Checkpoint, examples: Examples, pad_id: int, changes: dict[str, Any]
) -> None:
    recipe = dataclasses.replace(STILL, **changes)
    batches = make_batches(examples.take(np.arange(60)), recipe, pad_id)
    result = finetune(model, batches, recipe)
    weights = {key: value.float().numpy() for key, value in checkpoint.state.items()}
    order = Order.of_recipe(batches, recipe)
    dtype = getattr(torch, recipe.dtype)
    calls: list[tuple[int, int]] = []
    losses = losses_of_batches(
        untouched_model(checkpoint.config, weights),
        [order],
        dtype,
        {},
        lambda done, total: calls.append((done, total)),
    )
    curve = untouched_curve(order, losses)
    assert curve.dtype == np.float32
    np.testing.assert_allclose(curve, result.losses, rtol=1e-5 if "32" in recipe.dtype else 1e-2)
    # Without shuffling, batches of later epochs are those of the first.
    passes = recipe.accumulation * len(result.losses)
    total = passes if recipe.shuffle else min(passes, batches.per_epoch)
    assert calls == [(done, total) for done in range(total)]


def test_orders_share_their_batches(model: GPT, examples: Examples, pad_id: int) -> None:
    recipe = dataclasses.replace(STILL, num_iterations=2, device_batch_size=4)
    twice = dataclasses.replace(recipe, target_examples_per_step=8)
    batches = make_batches(examples, recipe, pad_id)
    orders = [Order.of_recipe(batches, each) for each in (recipe, twice)]
    known = {(4, None, 1): 7.0}
    totals: set[int] = set()
    losses = losses_of_batches(
        model, orders, torch.float32, known, lambda done, total: totals.add(total)
    )
    assert totals == {4}
    first, second = (untouched_curve(order, losses) for order in orders)
    assert first[1] == 7.0
    assert second[0] == pytest.approx((first[0] + 7.0) / 2)


def test_the_mean_of_batches_counts_tokens(
    model: GPT, checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    """Compare batches of unequal numbers of tokens with one batch of all rows; and with copies."""
    recipe = dataclasses.replace(STILL, device_batch_size=3)
    some = examples.take(np.arange(8))
    batches = make_batches(some, recipe, pad_id)
    parts = [batches.batch(index) for index in range(batches.per_epoch)]
    whole = make_batches(some, dataclasses.replace(recipe, device_batch_size=8), pad_id).batch(0)
    mean = mean_losses(model, parts, torch.float32)
    assert mean.shape == (1,)
    assert float(mean) == pytest.approx(float(batch_losses(model, whole, torch.float32)), rel=1e-6)
    single = build_model(checkpoint.config, checkpoint.state)
    single.stack(1, ("matrix", "unembedding"))
    model.stack(3, ("matrix", "unembedding"))
    copies = mean_losses(model, parts, torch.float32)
    assert copies.tolist() == 3 * mean_losses(single, parts, torch.float32).tolist()
