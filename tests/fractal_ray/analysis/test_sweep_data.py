"""The command that runs a sweep, in the messages of commands that need its runs."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.cli.main import app
from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import load_spec

SPEC = "sweeps/weierstrass.yaml"


@pytest.mark.parametrize("command", [["verify"], ["verify", "--plan"], ["report"]])
def test_a_spec_that_was_not_run_is_answered_with_the_whole_command(
    command: list[str], tmp_path: Path
) -> None:
    storage = str(tmp_path / "my results")
    options = ["--set", "axes.x.max=1.5", "--storage", storage]
    done = CliRunner().invoke(app, [*command, SPEC, *options])
    assert isinstance(done.exception, SweepError)
    _, colon, run = str(done.exception).partition("; run it first: ")
    assert colon
    assert shlex.split(run) == ["fractal-ray", "run", SPEC, *options]


def test_the_folder_of_a_dataset_is_run_by_its_path() -> None:
    folder = "notebooks/data/first-map"
    sweep = SweepData.open(folder, ("label.threshold=0.5",))
    assert sweep.run_command == f"fractal-ray run {folder} --set label.threshold=0.5"


def test_a_sweep_made_in_python_has_no_path(tmp_path: Path) -> None:
    sweep = SweepData(load_spec(SPEC), str(tmp_path))
    assert sweep.run_command == "fractal-ray run SPEC.yaml"
