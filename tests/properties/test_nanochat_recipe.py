"""Recipes keep what they are given, and the schedule stays within its bounds."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nanochat.train.optim.learning_rates import lr_factor
from nanochat.train.recipe import GROUPS, Recipe

RATES = st.floats(min_value=1e-300, max_value=1e300)
FRACTIONS = st.floats(0, 1)


@given(RATES, RATES, st.integers(1, 2**53 - 1))
def test_values_are_kept_to_the_last_bit(matrix: Any, unembedding: Any, tokens: Any) -> None:
    values = {"matrix_lr": matrix, "unembedding_lr": unembedding, "num_tokens": tokens}
    recipe = Recipe().with_values(values)
    assert {name: getattr(recipe, name) for name in values} == values
    assert recipe.group_lrs()["matrix"] == matrix
    stored = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_mapping(stored) == recipe


@given(st.permutations([*GROUPS, "all", "head"]), st.data())
def test_groups_have_one_canonical_form(names: Any, data: Any) -> None:
    chosen = names[: data.draw(st.integers(0, len(names)))]
    recipe = Recipe.from_mapping({"trainable": chosen})
    assert recipe == Recipe.from_mapping({"trainable": ",".join(reversed(chosen))})
    assert list(recipe.trainable_param_groups) == sorted(recipe.trainable_param_groups)


@given(st.integers(1, 5000), st.data(), FRACTIONS, FRACTIONS)
def test_schedule_stays_between_zero_and_one(
    total: Any, data: Any, warmup: Any, final: Any
) -> None:
    step = data.draw(st.integers(0, total - 1))
    recipe = Recipe(warmup_frac=warmup, final_lr_frac=final)
    factor = lr_factor(step, total, recipe)
    assert 0 < factor <= 1 or factor == 0 == final
    warm = max(1, int(total * warmup))
    if step >= warm:
        assert final - 1e-12 <= factor <= 1
        assert factor <= lr_factor(step - 1, total, recipe) + 1e-12
    elif step:
        assert factor > lr_factor(step - 1, total, recipe)
    assert lr_factor(warm - 1, total, recipe) == 1
