"""Copies that advance together: each is, to the bit, the run that it would be alone."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data.examples import Examples
from nanochat.errors import NanochatError
from nanochat.model.checkpoint import Checkpoint, build_model
from nanochat.model.cuda_graphs import WARM_UP, RecordedSteps
from nanochat.model.gpt import GPT, GPTConfig
from nanochat.train.batches import Batches, make_batches
from nanochat.train.finetune import finetune, finetune_side_by_side
from nanochat.train.kernels import Kernels, bucket
from nanochat.train.loss_curves import Curves, LossReader
from nanochat.train.recipe import Recipe
from nanochat.train.stepper import Stepper

PLAIN = Recipe(dtype="float32", num_iterations=6, device_batch_size=4)
WILD = {"matrix_lr": 1e30, "unembedding_lr": 1e30}
RATES = [
    {"matrix_lr": 0.02, "unembedding_lr": 0.01},
    WILD,
    {"matrix_lr": 0.3, "unembedding_lr": 1e-4, "weight_decay": 0.0},
    {"matrix_lr": 1e-5, "unembedding_lr": 0.3, "warmup_frac": 0.5, "final_lr_frac": 0.2},
    {"learning_rate": 0.01, "mlp_lr": 0.5, "init_lr_frac": 0.5},
]


def stack_of(checkpoint: Checkpoint, recipes: Sequence[Recipe], groups: Any = None) -> Any:
    model = build_model(checkpoint.config, checkpoint.state)
    model.stack(len(recipes), groups or recipes[0].trainable_param_groups)
    return Stepper(model, recipes)


def restore(stepper: Stepper, checkpoint: Checkpoint) -> None:
    with torch.no_grad():
        for name, weight in stepper.model.named_parameters():
            weight.copy_(checkpoint.state[name].float())


def equal(one: Any, other: Any) -> None:
    assert np.array_equal(one.losses, other.losses)
    assert (one.diverged_step, one.steps, one.tokens_seen, one.planned_steps) == (
        other.diverged_step,
        other.steps,
        other.tokens_seen,
        other.planned_steps,
    )
    assert one.final_loss == other.final_loss or not np.isfinite(one.final_loss)


def alone(checkpoint: Checkpoint, batches: Batches, recipe: Recipe) -> Any:
    model = build_model(checkpoint.config, checkpoint.state)
    return finetune(model, batches, recipe), model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("groups", ["matrix,unembedding", "all", "head", "matrix", "embedding"])
def test_each_is_the_run_it_would_be_alone(
    checkpoint: Checkpoint, examples: Examples, pad_id: int, groups: str, dtype: str
) -> None:
    fixed = dataclasses.replace(PLAIN, trainable_param_groups=groups, dtype=dtype)
    recipes = [fixed.with_values(rates) for rates in RATES]
    batches = make_batches(examples, fixed, pad_id)
    together = finetune_side_by_side(stack_of(checkpoint, recipes), batches, recipes)
    for recipe, result in zip(recipes, together, strict=True):
        equal(result, alone(checkpoint, batches, recipe)[0])


def test_weights_are_those_of_a_run_alone(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    recipes = [PLAIN.with_values(rates) for rates in RATES if rates != WILD]
    batches = make_batches(examples, PLAIN, pad_id)
    stepper = stack_of(checkpoint, recipes)
    finetune_side_by_side(stepper, batches, recipes)
    for copy, recipe in enumerate(recipes):
        _, model = alone(checkpoint, batches, recipe)
        for one, other in zip(stepper.model.parameters(), model.parameters(), strict=True):
            assert torch.equal(one[copy] if one.dim() == 3 else one, other)


def test_a_stack_is_used_again_and_by_fewer(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    recipes = [PLAIN.with_values(rates) for rates in RATES]
    batches = make_batches(examples, PLAIN, pad_id)
    stepper = stack_of(checkpoint, recipes)
    for some in (recipes, recipes[::-1], recipes[2:4], recipes[1:2], recipes):
        stepper.reset(some)
        restore(stepper, checkpoint)
        for recipe, result in zip(some, finetune_side_by_side(stepper, batches, some), strict=True):
            equal(result, alone(checkpoint, batches, recipe)[0])


def test_those_that_diverged_are_left_behind(
    checkpoint: Checkpoint, examples: Examples, pad_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, until one is left: the others never notice."""
    kept = []
    keep = Stepper.keep
    monkeypatch.setattr(Stepper, "keep", lambda self, *a: (kept.append(a[0]), keep(self, *a)))
    recipes = [PLAIN.with_values(rates) for rates in (WILD, RATES[0], WILD, RATES[2], WILD)]
    batches = make_batches(examples, PLAIN, pad_id)
    together = finetune_side_by_side(stack_of(checkpoint, recipes), batches, recipes)
    assert kept == [[1, 3]]
    assert [result.diverged_step is None for result in together] == [False, True] * 2 + [False]
    for recipe, result in zip(recipes, together, strict=True):
        equal(result, alone(checkpoint, batches, recipe)[0])


def test_accumulation_and_an_epochs_short_last_batch(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    few = examples.take(np.arange(7))
    fixed = dataclasses.replace(PLAIN, target_examples_per_step=12)
    recipes = [fixed.with_values(rates) for rates in RATES]
    batches = make_batches(few, fixed, pad_id)
    together = finetune_side_by_side(stack_of(checkpoint, recipes), batches, recipes)
    for recipe, result in zip(recipes, together, strict=True):
        equal(result, alone(checkpoint, batches, recipe)[0])


def test_the_time_is_shared_out(checkpoint: Checkpoint, examples: Examples, pad_id: int) -> None:
    recipes = [PLAIN.with_values(rates) for rates in RATES]
    stepper = stack_of(checkpoint, recipes)
    results = finetune_side_by_side(stepper, make_batches(examples, PLAIN, pad_id), recipes)
    assert all(result.seconds > 0 for result in results)
    assert results[1].seconds < results[0].seconds == pytest.approx(results[2].seconds)


def test_recipes_that_differ_in_more_than_rates_are_refused(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    recipes = [PLAIN, dataclasses.replace(PLAIN, num_iterations=7)]
    with pytest.raises(NanochatError, match="differ in more than rates"):
        finetune_side_by_side(
            stack_of(checkpoint, recipes), make_batches(examples, PLAIN, pad_id), recipes
        )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([1.0, 2.0, np.nan, np.inf]), min_size=3, max_size=3)),
    st.integers(0, 5),
)
def test_what_is_recorded_does_not_depend_on_the_lag(steps: Any, lag: Any) -> None:
    def curves_at(lag: Any) -> Any:
        reader, curves = LossReader(lag, torch.device("cpu")), Curves(3)
        for losses in steps:
            for read in reader.read(torch.tensor(losses)):
                curves.add(range(3), read)
        for read in reader.rest():
            curves.add(range(3), read)
        return curves

    at_once, late = curves_at(0), curves_at(lag)
    assert (at_once.losses, at_once.diverged) == (late.losses, late.diverged)
    assert str(at_once.final) == str(late.final)
    for copy in range(3):
        finite = [bool(np.isfinite(losses[copy])) for losses in steps]
        first = finite.index(False) if False in finite else None
        assert at_once.diverged[copy] == first
        assert len(at_once.losses[copy]) == (len(steps) if first is None else first)


@pytest.mark.parametrize("lag", [1, 4, 50])
def test_a_late_look_at_the_loss_changes_nothing(
    checkpoint: Checkpoint, examples: Examples, pad_id: int, lag: int
) -> None:
    recipes = [PLAIN.with_values(rates) for rates in RATES]
    batches = make_batches(examples, PLAIN, pad_id)
    stepper = stack_of(checkpoint, recipes)
    for recipe, result in zip(
        recipes, finetune_side_by_side(stepper, batches, recipes, lag=lag), strict=True
    ):
        equal(result, alone(checkpoint, batches, recipe)[0])


def test_all_diverged_ends_within_the_lag(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    recipes = [dataclasses.replace(PLAIN, num_iterations=500, **WILD)] * 2
    stepper = stack_of(checkpoint, recipes)
    steps = []
    stepper.step = lambda *a, step=stepper.step: (steps.append(1), step(*a))[1]
    results = finetune_side_by_side(stepper, make_batches(examples, PLAIN, pad_id), recipes, lag=4)
    assert len(steps) <= results[0].diverged_step + 6


@given(st.integers(0, 1 << 24))
def test_buckets_are_few_and_near(size: Any) -> None:
    found = bucket(size)
    assert found >= size
    assert found == 32 or 2 * found <= 3 * size
    assert bucket(found) == found


def test_batches_of_repeating_shapes_have_the_same_loss(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    """Seven rows in fours: the last batch of an epoch is filled up, with nothing supervised."""
    few = examples.take(np.arange(7))
    kernels = Kernels(compile=True)
    plain, padded = (make_batches(few, PLAIN, pad_id, kernels=k) for k in (Kernels(), kernels))
    shapes = {padded.batch(index).inputs.shape for index in range(4)}
    assert {rows for rows, _ in shapes} == {4}
    assert all(length == bucket(length) for _, length in shapes)
    model = build_model(checkpoint.config, checkpoint.state)
    stepper = Stepper(model, [PLAIN])
    for index in range(4):
        assert padded.supervised(index) == plain.supervised(index)
        losses, grads = [], []
        for batches in (plain, padded):
            losses.append(stepper.accumulate([batches.batch(index)]).item())
            grads.append(model.blocks[0].attn.c_q.weight.grad.clone())
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
        torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-7)


def test_batches_for_other_kernels_are_refused(model: GPT, examples: Examples, pad_id: int) -> None:
    batches = make_batches(examples, PLAIN, pad_id, kernels=Kernels(compile=True))
    with pytest.raises(NanochatError, match="other kernels"):
        finetune(model, batches, PLAIN)


def test_recorded_steps_are_the_steps(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    """What records is stood in for: a replay runs the step on the tensors it was recorded with."""
    replays = []

    def capture(step: Any) -> Callable[..., Any]:
        return lambda: (replays.append(1), step())

    recipe = PLAIN.with_values({**RATES[3], "num_iterations": 12})
    few = examples.take(np.arange(9))
    kernels = Kernels(compile=True)  # repeating shapes, computed plainly below
    batches = make_batches(few, recipe, pad_id, kernels=kernels)
    curves = []
    for recorded in (False, True):
        model = build_model(checkpoint.config, checkpoint.state)
        stepper = Stepper(model, [recipe])
        stepper.kernels = kernels
        if recorded:
            from nanochat.train.optim.groups import build_optimizers

            stepper.optimizers = build_optimizers(model, recipe, recorded=True)
            stepper._recorded = RecordedSteps(stepper._whole_step, capture)
        for _ in range(2):
            stepper.reset([recipe])
            restore(stepper, checkpoint)
            curves.append(finetune_side_by_side(stepper, batches, [recipe], lag=4)[0].losses)
    assert len(replays) > 24 - 4 * WARM_UP - 1
    assert np.array_equal(curves[0], curves[1])
    assert np.array_equal(curves[2], curves[3])
    # AdamW's rates are float32 where they are tensors.
    np.testing.assert_allclose(curves[2], curves[0], rtol=1e-4)


def test_recording_needs_a_gpu(model: GPT) -> None:
    with pytest.raises(NanochatError, match="cuda_graphs records steps of a GPU"):
        Stepper(model, [PLAIN], Kernels(cuda_graphs=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of torch about itself
def test_compiled_steps_are_near_the_plain_ones(
    checkpoint: Checkpoint, examples: Examples, pad_id: int
) -> None:
    """Minutes of a C++ compiler; rates are not compiled in: the second point compiles nothing."""
    kernels = Kernels(compile=True)
    few = examples.take(np.arange(8))
    batches = make_batches(few, PLAIN, pad_id, kernels=kernels)
    plain = make_batches(few, PLAIN, pad_id)
    model = build_model(checkpoint.config, checkpoint.state)
    stepper = Stepper(model, [PLAIN], kernels)
    for rates in (RATES[0], RATES[2], RATES[3]):
        recipe = PLAIN.with_values(rates)
        stepper.reset([recipe])
        restore(stepper, checkpoint)
        compiles = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        found = finetune_side_by_side(stepper, batches, [recipe])[0]
        if rates is not RATES[0]:
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiles
        expected = alone(checkpoint, plain, recipe)[0]
        # Fused, Muon's products are no longer rounded to bfloat16 between one another.
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whatever_the_number_also_where_products_are_larger(dtype: str) -> None:
    """At this width one product of several copies' heads would round differently from one's."""
    config = GPTConfig(64, 1000, 2, 4, 2, 128)
    model = GPT(config)
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
    state = {name: weight.clone() for name, weight in model.named_parameters()}
    draw = np.random.default_rng(0)
    lengths = draw.integers(20, 60, 12)
    examples = Examples(
        draw.integers(1000, size=lengths.sum(), dtype=np.int32),
        (draw.random(lengths.sum()) < 0.6).astype(np.uint8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
    fixed = dataclasses.replace(PLAIN, dtype=dtype)
    rates = [rates for rates in RATES if rates != WILD]
    recipes = [fixed.with_values(each) for each in rates * 2]
    batches = make_batches(examples, fixed, 0)
    found = {}
    for together in (1, 2, 4, 8):
        stacked = GPT(config)
        stacked.load_state_dict(state, strict=False)
        stacked.stack(together, fixed.trainable_param_groups)
        stepper = Stepper(stacked, recipes[:together])
        found[together] = []
        for start in range(0, len(recipes), together):
            some = recipes[start : start + together]
            stepper.reset(some)
            with torch.no_grad():
                for name, weight in stacked.named_parameters():
                    weight.copy_(state[name])
            found[together] += finetune_side_by_side(stepper, batches, some)
    for results in found.values():
        for one, other in zip(results, found[1], strict=True):
            equal(one, other)


def test_what_was_recorded_is_dropped_where_the_decay_changes(checkpoint: Checkpoint) -> None:
    """A recording holds numbers as they were; rates are tensors, the decay is none."""
    model = build_model(checkpoint.config, checkpoint.state)
    stepper = Stepper(model, [PLAIN])
    stepper._recorded = recorded = RecordedSteps(stepper._whole_step, lambda step: step)
    stepper.reset([PLAIN.with_values({"matrix_lr": 0.5})])
    assert stepper._recorded is recorded
    stepper.reset([PLAIN.with_values({"weight_decay": 0.5})])
    assert stepper._recorded is not recorded
    assert stepper._recorded.capture is recorded.capture


def test_rows_are_not_padded_beyond_the_models_reach(examples: Examples, pad_id: int) -> None:
    batches = make_batches(examples, PLAIN, pad_id, kernels=Kernels(compile=True), reach=130)
    lengths = {batches.batch(index).inputs.size(1) for index in range(20)}
    assert max(lengths) == 128
    tight = make_batches(examples, PLAIN, pad_id, kernels=Kernels(compile=True), reach=127)
    assert max(tight.batch(index).inputs.size(1) for index in range(20)) == 127


def test_a_stepper_has_one_dtype_and_one_set_of_groups(model: GPT, checkpoint: Checkpoint) -> None:
    stepper = Stepper(model, [PLAIN])
    for other in ({"dtype": "bfloat16"}, {"trainable_param_groups": "head"}):
        with pytest.raises(NanochatError, match="one dtype and one set of groups"):
            stepper.reset([dataclasses.replace(PLAIN, **other)])
    with pytest.raises(NanochatError, match="cannot advance side by side"):
        stack_of(checkpoint, [dataclasses.replace(PLAIN, dtype="float16")] * 2)
