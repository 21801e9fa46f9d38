"""Defaults, spellings and refusals of the recipe."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nanochat.errors import NanochatError
from nanochat.train.recipe import Recipe


def test_defaults_are_those_of_the_source() -> None:
    assert Recipe().to_dict() == {
        "dtype": "bfloat16",
        "device_batch_size": 8,
        "target_examples_per_step": 0,
        "learning_rate": 3e-4,
        "matrix_lr": -1.0,
        "embedding_lr": -1.0,
        "unembedding_lr": -1.0,
        "embedding_lr_mult": 10.0,
        "unembedding_lr_mult": 0.2,
        "trainable_param_groups": ["matrix", "unembedding"],
        "weight_decay": 0.1,
        "init_lr_frac": 1.0,
        "warmup_frac": 0.06,
        "final_lr_frac": 0.0,
        "num_tokens": 200_000,
        "num_iterations": -1,
        "seed": 999,
        "deterministic": True,
        "shuffle": False,
        "gradient_checkpointing": False,
    }


def test_rates_are_derived_unless_given() -> None:
    recipe = Recipe(learning_rate=0.01, unembedding_lr=0.5)
    assert recipe.group_lrs() == {"embedding": 0.1, "matrix": 0.01, "unembedding": 0.5}


def test_parts_of_matrix_may_have_rates_of_their_own() -> None:
    recipe = Recipe(matrix_lr=0.02, mlp_lr=0.3)
    assert recipe.group_lrs() == {
        "embedding": pytest.approx(3e-3),
        "matrix": 0.02,
        "unembedding": pytest.approx(6e-5),
        "attention": 0.02,
        "mlp": 0.3,
    }


def test_rates_that_are_not_given_do_not_rename_points() -> None:
    assert Recipe(attention_lr=-1).to_dict() == Recipe().to_dict()
    for part in ("attention_lr", "mlp_lr"):
        split = Recipe.from_mapping({part: 0.1})
        assert set(split.to_dict()) - set(Recipe().to_dict()) == {part}
        assert Recipe.from_mapping(split.to_dict()) == split


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        ("unembedding , matrix", ("matrix", "unembedding")),
        (["wte", "blocks"], ("embedding", "matrix")),
        ("all", ("embedding", "matrix", "unembedding")),
        ("*", ("embedding", "matrix", "unembedding")),
        ("none", ()),
        ("", ()),
        ([], ()),
        ("lm_head", ("unembedding",)),
        ("Trunk", ("matrix",)),
    ],
)
def test_groups_have_aliases(given: Any, groups: Any) -> None:
    assert Recipe.from_mapping({"trainable": given}).trainable_param_groups == groups


def test_numbers_come_in_either_kind_and_keys_with_dashes() -> None:
    recipe = Recipe.from_mapping({"num-tokens": 5e5, "matrix-lr": 1, "seed": "7", "warmup_frac": 0})
    assert (recipe.num_tokens, recipe.matrix_lr, recipe.seed) == (500_000, 1.0, 7)
    assert type(recipe.num_tokens) is int
    assert type(recipe.matrix_lr) is float


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matrx_lr": 1}, "unknown setting 'matrx_lr'; did you mean 'matrix_lr'\\?.*num_tokens"),
        ({"matrix_lr": 0}, "matrix_lr must be above 0, or -1 to derive it, not 0.0"),
        ({"matrix_lr": -2}, "matrix_lr must be above 0"),
        ({"mlp_lr": 0}, "mlp_lr must be above 0, or -1"),
        ({"learning_rate": -1}, "learning_rate must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, not nan"),
        ({"weight_decay": math.inf}, "weight_decay must be a finite number"),
        ({"num_tokens": 0}, "num_tokens must be at least 1, not 0"),
        ({"num_tokens": 1.5}, "num_tokens must be a whole number below 2.53, not 1.5"),
        ({"num_tokens": 1e29}, "num_tokens must be a whole number below 2.53"),
        ({"seed": 2**63}, "seed must be a whole number below 2.53"),
        ({"num_tokens": True}, "num_tokens must be a whole number"),
        ({"num_iterations": 0}, "num_iterations must be at least 1, or -1"),
        ({"device_batch_size": 0}, "device_batch_size must be at least 1"),
        ({"target_examples_per_step": 12}, "a multiple of device_batch_size \\(8\\), not 12"),
        ({"warmup_frac": 1.1}, "warmup_frac must be between 0 and 1"),
        ({"dtype": "fp16"}, "dtype must be one of bfloat16, float16, float32, not 'fp16'"),
        ({"dtype": 16}, "dtype must be text"),
        ({"shuffle": "yes"}, "shuffle must be true or false"),
        ({"trainable": "heads"}, "unknown parameter group 'heads'; did you mean 'head'"),
        ({"trainable": 3}, "trainable_param_groups must be names"),
        ({"seed": None}, "seed must be a whole number"),
        ({"trainable": "all", "trainable-param-groups": "all"}, "given twice"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NanochatError, match=message) as caught:
        Recipe.from_mapping(settings)
    assert "\n" not in str(caught.value)


def test_numeric_fields_are_what_can_be_swept() -> None:
    fields = Recipe.numeric_fields()
    assert fields["matrix_lr"] is float
    assert fields["num_tokens"] is int
    assert not {"dtype", "deterministic", "shuffle", "trainable_param_groups"} & set(fields)


def test_with_values_checks_like_construction() -> None:
    recipe = Recipe()
    assert recipe.with_values({"num_tokens": np.float64(2e4)}).num_tokens == 20_000
    for values in ({"matrix_lr": 0.0}, {"matrix_lr": math.nan}, {"matrixlr": 1.0}):
        with pytest.raises(NanochatError):
            recipe.with_values(values)


def test_only_what_changes_batches_is_in_their_key() -> None:
    recipe = Recipe()
    assert recipe.batch_key() == recipe.with_values({"seed": 1, "matrix_lr": 1}).batch_key()
    assert recipe.batch_key() != recipe.with_values({"device_batch_size": 4}).batch_key()
    shuffled = Recipe(shuffle=True)
    assert shuffled.batch_key() != shuffled.with_values({"seed": 1}).batch_key()


def test_light_modules_load_no_torch() -> None:
    code = (
        "import sys, nanochat.train.recipe, nanochat.errors, nanochat.cli.main;"
        "import nanochat.sources.load as s;"
        "s.check_source('preset:tiny'); s.check_source('hf:karpathy/nanochat-d34@main');"
        "heavy = {'torch', 'datasets', 'tiktoken', 'rustbpe', 'huggingface_hub', 'ray', 'wandb'};"
        "print(*heavy & set(sys.modules), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
