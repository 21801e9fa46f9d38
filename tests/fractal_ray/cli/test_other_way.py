"""Options that a command of fractal-ray does not have."""

import pytest
from typer.testing import CliRunner

from fractal_ray.cli.main import app


def _answer(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert done.exit_code == 2
    return done.output


def test_a_setting_of_the_fine_tunes_is_changed_by_set() -> None:
    assert "--set workload.recipe.learning_rate=VALUE" in _answer("run", "spec.yaml", "--lr", "3")
    assert "--set workload.recipe.weight_decay=VALUE" in _answer("plan", "spec.yaml", "--wd=3")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["plot", "folder", "--output", "x"], "--output; did you mean --out?"),
        (["report", "folder", "--out", "x"], "--out; did you mean --output?"),
        (["run", "spec.yaml", "--override", "a=1"], "--override; did you mean --set?"),
        (["jobs", "list", "--adress", "x"], "--adress; did you mean --address?"),
    ],
)
def test_the_nearest_option_of_the_command(arguments: list[str], advice: str) -> None:
    assert advice in _answer(*arguments)


def test_no_advice_where_set_is_no_option() -> None:
    assert "--set" not in _answer("compact", "folder", "--lr", "3")
