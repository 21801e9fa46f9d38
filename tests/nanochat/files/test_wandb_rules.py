"""Rules of W&B, held against the installed wandb, and errors for settings that it refuses."""

from typing import Any

import pytest
import wandb
from wandb.errors import UsageError

from nanochat.files.artifacts import list_artifact
from nanochat.files.wandb_rules import (
    LONGEST_NAME,
    LONGEST_TAG,
    NOT_IN_PROJECTS,
    name_fault,
    refused_setting,
)

SECRET = "hunter2"


def error_of(environment: dict[str, str], **settings: Any) -> Exception:
    """Return the error with which wandb refuses these variables, or these settings."""
    try:
        wandb.Settings(**settings).update_from_env_vars(environment)
    except Exception as error:
        return error
    raise AssertionError(f"wandb takes {environment or settings}")


def test_the_limits_are_those_of_wandb() -> None:
    longest = "n" * LONGEST_NAME
    wandb.Artifact(longest, type="model")
    wandb.Settings(project=longest, run_tags=("t" * LONGEST_TAG,))
    with pytest.raises(ValueError, match="longer than 128 characters"):
        wandb.Artifact(f"{longest}n", type="model")
    assert "exceeded 128 characters" in str(error_of({}, project=f"{longest}n"))
    assert "between 1 and 64 characters" in str(error_of({}, run_tags=("t" * (LONGEST_TAG + 1),)))
    for character in NOT_IN_PROJECTS:
        error_of({}, project=f"a{character}b")


def test_a_name_is_measured_in_the_form_that_wandb_gets() -> None:
    assert name_fault("--run", "n" * 116, form="NAME-ft-artifact") is None
    fault = name_fault("--run", "n" * 117, form="NAME-ft-artifact")
    assert fault is not None
    assert fault.endswith(
        "117 characters; W&B takes 116 at most, for it gets NAME-ft-artifact; shorten it"
    )
    assert name_fault("WANDB_PROJECT", "a b") is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("WANDB_MODE", "", "Input should be 'online', 'offline'"),
        ("WANDB_MODE", "disable", "Input should be 'online', 'offline'"),
        ("WANDB_INIT_TIMEOUT", "abc", "Input should be a valid number"),
        ("WANDB_TAGS", "0" * 80, "is 80 characters"),
        ("WANDB_TAGS", "a,,b", "Tag at index 1 is empty"),
        ("WANDB_BASE_URL", "nowhere", "valid URL"),
        ("WANDB_RESUME", "maybe", "Input should be 'allow', 'must'"),
        ("WANDB_HTTP_TIMEOUT", "x", "Input should be a valid"),
        ("WANDB__STATS_SAMPLING_INTERVAL", "0", "less than 0.1 seconds"),
        ("WANDB_RUN_ID", "a/b", "Run ID cannot contain"),
    ],
)
def test_the_refused_variable_and_its_value_are_named(name: str, value: str, reason: str) -> None:
    environment = {"HOME": "/", "WANDB_NOTES": "none", name: value}
    line = refused_setting(error_of(environment), environment)
    assert line is not None
    assert line.startswith(f"{name} is {value!r}, which wandb refuses (")
    assert reason in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_API_KEY", f" {SECRET} "),
        ("WANDB_BASE_URL", f"htp://me:{SECRET}@host"),
        ("WANDB__EXTRA_HTTP_HEADERS", f"Bearer {SECRET}"),
    ],
)
def test_keys_are_not_shown(name: str, value: str) -> None:
    line = refused_setting(error_of({name: value}), {name: value})
    assert line == f"wandb refuses the value of {name}, which is not shown"


def test_tags_of_fractal_llm_are_named_by_their_variable() -> None:
    environment = {"FINETUNE_WANDB_TAGS": "t" * 65}
    error = error_of({}, run_tags=("t" * 65,))
    line = refused_setting(error, environment)
    assert line is not None
    assert line.startswith("FINETUNE_WANDB_TAGS is 'ttt")
    assert (refused_setting(error, {}) or "").startswith("wandb refuses run_tags (Tag 'ttt")


def test_other_errors_are_no_refused_settings() -> None:
    environment = {"WANDB_MODE": "offline", "HOME": "disable"}
    assert refused_setting(UsageError("No API key configured"), environment) is None
    assert refused_setting(ValueError("no such artifact"), {"WANDB_MODE": "disable"}) is None


def test_an_artifact_names_the_refused_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "abc")

    def api() -> Any:
        raise error_of({"WANDB_INIT_TIMEOUT": "abc"})

    monkeypatch.setattr("wandb.Api", api)
    with pytest.raises(ValueError, match=r"'wandb:e/p/n:v7': WANDB_INIT_TIMEOUT is 'abc', which"):
        list_artifact("wandb:e/p/n:v7")
