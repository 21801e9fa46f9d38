"""Settings of a single fine-tune: names, defaults, refusals."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from nanochat.data.source import DataSource
from nanochat.errors import NanochatError
from nanochat.finetune_run.settings import RECIPE_HELP, SETTING_HELP, Settings, parse_settings
from nanochat.sources.load import ModelSource
from nanochat.train.recipe import Recipe

PRESET = {"preset": "tiny"}


def test_every_setting_has_help_and_nothing_else_has() -> None:
    assert set(SETTING_HELP) == {field.name for field in dataclasses.fields(Settings)}
    assert set(RECIPE_HELP) == {field.name for field in dataclasses.fields(Recipe)}


def test_defaults_are_those_of_the_source() -> None:
    settings, recipe = parse_settings({"model-id": "folder"})
    assert recipe == Recipe()
    assert settings.data_source == "hf:morgan/docvqa-nanochat"
    assert (settings.max_seq_len, settings.eval_every, settings.eval_batches) == (1024, 200, 4)
    assert (settings.trainable_window_steps, settings.trainable_loss_ratio_threshold) == (20, 1.0)
    assert (settings.run, settings.run_name, settings.logged) == ("dummy", "dummy", False)
    assert (settings.wandb_tags, settings.grid_i, settings.grid_j) == ("finetune", 0, 0)
    assert not (settings.saved or settings.visualize)
    assert parse_settings(PRESET)[0].data_source == "stdlib_qa"


def test_text_and_either_kind_of_number_are_read() -> None:
    given = {**PRESET, "learning_rate": 1, "num-tokens": "5e5", "eval_every": "1e1", "step": "7"}
    settings, recipe = parse_settings(given)
    assert (recipe.learning_rate, recipe.num_tokens) == (1.0, 500_000)
    assert (settings.eval_every, settings.model_step) == (10, 7)


def test_names_of_the_source_are_understood() -> None:
    given = {"model_id": "wandb:e/p/n:v7", "dataset_id": "a/b", "dataset_revision": "abc"}
    settings, _ = parse_settings(given)
    assert (settings.model, settings.data_source) == ("wandb:e/p/n:v7", "hf:a/b@abc")
    assert parse_settings(PRESET)[0].model == "preset:tiny"
    assert parse_settings({**PRESET, "trainable": "head"})[1].trainable_param_groups == (
        "unembedding",
    )


def test_environment_stands_in_for_what_is_not_given() -> None:
    environment = {"MODEL_ARTIFACT": "folder", "DATASET_ID": "a/b", "MAX_SEQ_LEN": "64"}
    settings, _ = parse_settings({}, environment | {"WANDB_RUN": "night", "TOKENIZER_ARTIFACT": ""})
    assert (settings.model, settings.data_source) == ("folder", "hf:a/b")
    assert (settings.max_seq_len, settings.run_name) == (64, "night-ft")
    given = {**PRESET, "data": "stdlib_qa", "max_seq_len": 32}
    settings, _ = parse_settings(given, environment)
    assert (settings.model, settings.data_source, settings.max_seq_len) == (
        "preset:tiny",
        "stdlib_qa",
        32,
    )


def test_a_revision_in_the_environment_belongs_to_the_data_there() -> None:
    environment = {"DATASET_ID": "a/b", "DATASET_REVISION": "abc"}
    assert parse_settings({"model": "x"}, environment)[0].data_source == "hf:a/b@abc"
    for given in ("talks.jsonl", "hf:c/d"):
        settings, _ = parse_settings({"model": "x", "data": given}, environment)
        assert settings.data_source == given
    with pytest.raises(NanochatError, match=r"whole number .*not 'long' .*: MAX_SEQ_LEN"):
        parse_settings(PRESET, {"MAX_SEQ_LEN": "long"})


def test_debug_is_a_quick_try_that_keeps_the_model() -> None:
    settings, recipe = parse_settings({**PRESET, "debug": True})
    assert (recipe.num_tokens, settings.saved) == (2000, True)
    assert (settings.run_name, settings.logged) == ("debug-finetune-ft", False)
    assert parse_settings({**PRESET, "debug": True, "num_tokens": 9})[1].num_tokens == 9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "which model. --model FOLDER"),
        ({**PRESET, "model": "x"}, "model is given twice .once as model"),
        ({**PRESET, "learning_rat": 1}, "unknown setting 'learning_rat'; did you mean 'learning_r"),
        ({**PRESET, "grid": True}, "a sweep: fractal-ray run"),
        ({**PRESET, "lr_min": 1}, "lr_min is a setting of a grid"),
        ({**PRESET, "eval_every": -1}, "eval_every must be at least 0, not -1"),
        ({**PRESET, "max_seq_len": 1}, "max_seq_len must be at least 2"),
        ({**PRESET, "limit": 0}, "limit must be at least 1, or -1"),
        ({**PRESET, "source_stage": "sfx"}, "unknown source_stage 'sfx'; did you mean 'sft'"),
        ({**PRESET, "device": "gpu"}, "unknown device 'gpu'"),
        ({**PRESET, "debug": "yes"}, "debug must be true or false, not 'yes'"),
        ({**PRESET, "dataset_revision": "x"}, "needs data from the hub"),
        ({**PRESET, "run": "a b"}, "run must be letters"),
        (
            {**PRESET, "run": "a" * 117},
            r"run \(--run or WANDB_RUN\) 'a{99}…' has 117 characters; W&B takes 116 at most, for",
        ),
        ({**PRESET, "wandb_tags": "a," + "b" * 65}, "the tag wandb_tags 'b+' has 65 .* 64 at most"),
        ({**PRESET, "grid_sweep_id": "b" * 65}, "the tag grid_sweep_id 'b+' has 65 characters"),
        ({**PRESET, "trainable_loss_ratio_threshold": 0}, "must be above 0, not 0.0"),
        ({**PRESET, "matrix_lr": 0}, "matrix_lr must be above 0, or -1 to derive it, not 0.0"),
        ({**PRESET, "val_share": 1}, "val_share must be at least 0 and below 1, not 1.0; 0.05"),
        ({**PRESET, "val_share": 0.1, "val_data": "x"}, "val_share 0.1 and val_data x both name"),
        ({**PRESET, "trainable": "matrx"}, "unknown parameter group 'matrx'; did you mean"),
    ],
)
def test_bad_settings_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(NanochatError, match=message) as caught:
        parse_settings(given)
    assert "\n" not in str(caught.value)


def test_names_are_checked_where_a_run_is_logged() -> None:
    assert parse_settings({**PRESET, "run": "a" * 116})[0].logged
    with pytest.raises(NanochatError, match=r"'a{99}…' has 117 characters"):
        parse_settings(PRESET, {"WANDB_RUN": "a" * 117})
    for project, fault in (("p" * 129, "129 characters; W&B takes 128 at"), ("a/b", "'/'; W&B t")):
        environment = {"WANDB_PROJECT": project}
        assert not parse_settings(PRESET, environment)[0].logged
        with pytest.raises(NanochatError, match=f"WANDB_PROJECT 'p*a?/?b?.*' has {fault}"):
            parse_settings({**PRESET, "run": "night"}, environment)


def test_settings_load_no_torch() -> None:
    code = "import nanochat.finetune_run.settings, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (ModelSource("folder"), DataSource("hf:a/b@abc")),
        (
            ModelSource("folder", step=0, tag="d4", stage="mid", tokenizer="other"),
            DataSource("stdlib_qa", "validation", limit=5, max_seq_len=64),
        ),
    ],
)
def test_sources_survive_settings(model: ModelSource, data: DataSource) -> None:
    settings = Settings.of_sources(model, data, eval_every=0)
    assert (settings.model_source, settings.training_data) == (model, data)
    assert settings.eval_every == 0
