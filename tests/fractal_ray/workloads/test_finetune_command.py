"""The command to paste: `nanochat finetune` reads from it the run of the sweep."""

import shlex
from typing import Any

import pytest

import nanochat.cli.finetune
from fractal_ray.workloads.nanochat.spec import NanochatSpec
from nanochat.cli.main import main
from nanochat.errors import NanochatError
from nanochat.finetune_run.settings import Settings, parse_settings
from nanochat.train.recipe import Recipe


def read_as_typed(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, Recipe]:
    """Return the settings that the command line passes on; nothing is loaded."""
    read: list[tuple[Settings, Recipe]] = []

    def stop(given: dict[str, Any], environment: Any) -> None:
        read.append(parse_settings(given, {}))
        raise NanochatError("stop")

    monkeypatch.setattr(nanochat.cli.finetune, "parse_settings", stop)
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit):
        main()
    return read[0]


@pytest.mark.parametrize(
    "section",
    [
        {
            "model": "preset:tiny",
            "data": {"source": "stdlib_qa", "max_seq_len": 64},
            "recipe": {"trainable": ["matrix", "unembedding"], "num-tokens": 4_000, "seed": 7},
        },
        {
            "model": "/models/it's here",
            "model_step": 5,
            "model_tag": "d4",
            "source_stage": "mid",
            "tokenizer_artifact": "/tokenizer",
            "data": {
                "source": "hf:a/b@v1",
                "split": "more",
                "limit": 30,
                "skip_bad_rows": 2,
                "validation": {"share": 0.05},
            },
            "recipe": {
                "trainable_param_groups": "all",
                "shuffle": True,
                "deterministic": False,
                "num_iterations": -1,
                "warmup_frac": 0.0,
            },
        },
    ],
)
def test_the_command_names_the_run_of_a_point(
    section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = NanochatSpec(**section)
    values = {"unembedding_lr": "5.95e-3", "num_tokens": "123456"}
    command = spec.finetune_command(values)
    settings, recipe = read_as_typed(command, monkeypatch)
    swept = {"unembedding_lr": 5.95e-3, "num_tokens": 123_456}
    assert recipe == spec.fixed_recipe.with_values(swept)
    assert settings.model_source == spec.to_source()
    assert settings.training_data == spec.data.to_source()
    share = spec.data.validation.share if spec.data.validation else 0.0
    assert settings.val_share == share
