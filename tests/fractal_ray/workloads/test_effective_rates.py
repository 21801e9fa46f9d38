"""Rates that the optimizers apply at a point of a sweep of fine-tunes."""

from typing import Any

import pytest

from fractal_ray.workloads.nanochat.spec import NanochatSpec
from nanochat.train.presets import get_preset
from nanochat.train.recipe import Recipe

LR = 0.0311
WIDTH = get_preset("tiny").n_embd


def rates(values: dict[str, float], **recipe: Any) -> dict[str, float]:
    section = {"model": "preset:tiny", "data": {"source": "stdlib_qa"}, "recipe": recipe}
    return NanochatSpec.model_validate(section).effective_rates(values, None)


def applied(**recipe: Any) -> dict[str, float]:
    return Recipe.from_mapping(recipe).effective_lrs(WIDTH)


@pytest.mark.parametrize(
    ("recipe", "groups"),
    [
        ({}, ["matrix", "unembedding"]),
        ({"trainable": "all", "embedding_lr_mult": 3.0}, ["embedding", "matrix", "unembedding"]),
        ({"trainable": "unembedding"}, ["unembedding"]),
        ({"matrix_lr": 0.5}, ["unembedding"]),
        ({"attention_lr": 0.5}, ["unembedding", "mlp"]),
        ({"matrix_lr": 0.5, "attention_lr": 0.5}, ["unembedding"]),
        # No AdamW group derives from it, so it is applied as given.
        ({"unembedding_lr": 0.5}, []),
        ({"trainable": "matrix"}, []),
    ],
)
def test_a_base_rate_sets_the_trained_groups_that_derive_from_it(
    recipe: dict[str, Any], groups: list[str]
) -> None:
    full = applied(**recipe, learning_rate=LR)
    effective = rates({"num_tokens": 4000.0, "learning_rate": LR}, **recipe)
    assert effective == {group: full[group] for group in groups}
    assert list(effective) == groups


def test_the_shipped_sweep_of_tokens_has_the_rates_of_its_rerun() -> None:
    effective = rates({"num_tokens": 16_000.0, "learning_rate": LR})
    assert {name: f"{rate:.3g}" for name, rate in effective.items()} == {
        "matrix": "0.0311",
        "unembedding": "0.0249",
    }


def test_rates_of_groups_keep_the_names_of_their_axes() -> None:
    full = applied(learning_rate=LR, matrix_lr=0.5)
    assert rates({"matrix_lr": 0.5, "learning_rate": LR}) == {
        "matrix_lr": 0.5,
        "unembedding": full["unembedding"],
    }
    assert rates({"unembedding_lr": 0.25, "matrix_lr": 0.5}) == {
        "unembedding_lr": 1.0,
        "matrix_lr": 0.5,
    }
    assert rates({"matrix_lr": 0.5, "warmup_frac": 0.1}) == {}


def test_a_swept_multiplier_sets_its_group() -> None:
    full = applied(unembedding_lr_mult=0.7)
    values = {"unembedding_lr_mult": 0.7, "device_batch_size": 3.0}
    assert rates(values) == {"unembedding": full["unembedding"]}
