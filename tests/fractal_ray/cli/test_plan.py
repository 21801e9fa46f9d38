"""Answers of `fractal-ray plan` to specs that cannot be run."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.dataset.baseline_file import write_baseline
from fractal_ray.dataset.header import write_header
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.baseline import Baseline
from fractal_ray.spec.yaml_file import load_spec

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


def test_rates_have_their_effective_values() -> None:
    text = CliRunner().invoke(app, ["plan", FINE_TUNE]).stdout
    assert "  x: unembedding_lr, log from 0.001 to 1.0 (effective 0.004 to 4)\n" in text
    assert "  y: matrix_lr, log from 0.001 to 10.0\n" in text
    folder = ["plan", FINE_TUNE, "--set", "workload.model=/models/d20"]
    text = CliRunner().invoke(app, folder).stdout
    assert "to 1.0 (nominal; effective: x (width / 768)^-1/2)\n" in text
    text = CliRunner().invoke(app, ["plan", "sweeps/lr_tokens.yaml"]).stdout
    groups = "matrix 0.0001 to 100, unembedding 8e-05 to 80"
    assert f"  y: learning_rate, log from 0.0001 to 100.0 (effective {groups})\n" in text


@pytest.mark.parametrize(
    ("spec", "settings", "line"),
    [
        (FINE_TUNE, [], "steps: at least 8 a run (num_tokens over rows of at most 63 "),
        ("sweeps/lr_tokens.yaml", [], "steps: at least 1 to 16 a run "),
        (FINE_TUNE, ["workload.recipe.target_examples_per_step=16"], "steps: at least 4 a run "),
        (FINE_TUNE, ["workload.recipe.num_iterations=30"], None),
        (NETWORK, [], None),
    ],
)
def test_a_budget_of_tokens_has_a_least_number_of_steps(
    spec: str, settings: list[str], line: str | None, tmp_path: Path
) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(app, ["plan", spec, "--storage", str(tmp_path), *words])
    lines = [each for each in done.stdout.splitlines() if each.startswith("  steps: ")]
    assert len(lines) == (line is not None)
    assert line is None or line in lines[0]


def test_the_steps_that_an_earlier_run_counted_are_planned(tmp_path: Path) -> None:
    spec = load_spec(FINE_TUNE, (f"storage={tmp_path}",))
    store = Store(str(tmp_path / spec.name))
    write_header(store, {"spec": spec.model_dump(mode="json")})
    curves = {(): np.full(14, 7.5, np.float32)}
    write_baseline(store, Baseline(curves=curves, width=48))
    words = ["plan", FINE_TUNE, "--storage", str(tmp_path)]
    line = f"  steps: at most 14 a run in {store.location}\n"
    assert line in CliRunner().invoke(app, words).stdout
    other = [*words, "--set", "workload.data.max_seq_len=65"]
    assert "steps: at most" not in CliRunner().invoke(app, other).stdout
