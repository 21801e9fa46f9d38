"""Answers of `fractal-ray plan` to specs that cannot be run."""

import pytest
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.errors import SweepError

FINE_TUNE = "sweeps/quickstart.yaml"
NETWORK = "sweeps/paper/tanh.yaml"


@pytest.mark.parametrize(
    ("spec", "setting", "message"),
    [
        (FINE_TUNE, "workload.model=gpt2", "model 'gpt2': no such folder (a model is a folder, "),
        (FINE_TUNE, "workload.model=README.md", "model 'README.md': a file; take its folder, ."),
        (FINE_TUNE, "workload.tokenizer_artifact=gpt2", "model 'gpt2': no such folder"),
        (FINE_TUNE, "workload.data.source=alpaca", "there is no alpaca (a source is one of: "),
        (FINE_TUNE, "workload.data.source=README.md", "README.md: its name must end in .jsonl"),
        (NETWORK, "workload.draw=papr", "'papr' is no draw; did you mean 'paper'?; allowed: "),
    ],
)
def test_inputs_that_can_be_on_no_machine_are_refused(
    spec: str, setting: str, message: str
) -> None:
    done = CliRunner().invoke(app, ["plan", spec, "--set", setting])
    assert isinstance(done.exception, SweepError)
    assert message in str(done.exception)
    assert not done.stdout


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        (FINE_TUNE, "workload.model=/data/models/d20"),
        (FINE_TUNE, "workload.data.source=rows.jsonl"),
        (NETWORK, "workload.draw=draw.npz"),
    ],
)
def test_inputs_that_another_machine_may_have_are_planned(spec: str, setting: str) -> None:
    done = CliRunner().invoke(app, ["plan", spec, "--set", setting])
    assert done.exit_code == 0, done.output
