"""Names that users mean: synonyms of other programs first, then similar letters."""

import dataclasses

import pytest

from nanochat.errors import NanochatError, nearest_name, unknown_name
from nanochat.train.recipe import Recipe

FIELDS = [field.name for field in dataclasses.fields(Recipe)]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("bs", "device_batch_size"),
        ("batch_size", "device_batch_size"),
        ("epochs", "num_iterations"),
        ("steps", "num_iterations"),
        ("wd", "weight_decay"),
        ("random_seed", "seed"),
        ("warmup-steps", "warmup_frac"),
        ("tokens", "num_tokens"),
        ("precision", "dtype"),
        ("grad_checkpointing", "gradient_checkpointing"),
        ("learning_rat", "learning_rate"),
        ("matrix-lr", "matrix_lr"),
    ],
)
def test_a_name_of_another_program_or_a_misspelt_one(given: str, meant: str) -> None:
    assert nearest_name(given, FIELDS) == meant


def test_only_allowed_names_are_suggested() -> None:
    assert nearest_name("lr", ["eta0", "eta1", "eta"]) == "eta"
    assert nearest_name("lr", ["model", "preset", "out"]) is None
    assert nearest_name("--batch", ["--data", "--batch-size"]) == "--batch-size"


def test_an_unknown_setting_names_the_one_that_is_meant() -> None:
    assert "unknown setting 'lr'; did you mean 'learning_rate'?" in str(
        unknown_name("setting", "lr", FIELDS)
    )
    with pytest.raises(NanochatError, match="'wd'; did you mean 'weight_decay'"):
        Recipe.from_mapping({"wd": 0.1})
