"""Options that a command does not have."""

import pytest
from typer.testing import CliRunner

from nanochat.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["finetune", "--lr", "3"], "No such option: --lr; did you mean --learning-rate?"),
        (["finetune", "--batch-size=3"], "--batch-size; did you mean --device-batch-size?"),
        (["finetune", "--steps", "3"], "--steps; did you mean --num-iterations?"),
        (["repro-check", "--wd", "0"], "--wd; did you mean --weight-decay?"),
        (["size", "--bs", "3"], "--bs; did you mean --batch-size?"),
        (["data", "docvqa", "--output", "x"], "--output; did you mean --out-path?"),
        (["upload", "--modle", "x"], "--modle; did you mean --model?"),
    ],
)
def test_the_nearest_option_of_the_command(arguments: list[str], advice: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert advice in done.output


def test_no_advice_where_no_option_is_near() -> None:
    done = CliRunner().invoke(app, ["pretrain", "--lr", "3"])
    assert done.exit_code == 2
    assert "No such option: --lr\n" in done.output


def test_hidden_options_are_not_suggested() -> None:
    # `--lr-min` is read only to say that a grid is a sweep.
    assert "--lr-min" not in CliRunner().invoke(app, ["finetune", "--lr-mim", "3"]).output
