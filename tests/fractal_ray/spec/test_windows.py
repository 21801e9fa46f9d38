"""The label window against the steps of the runs: what is refused, noted and planned."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.dataset.header import write_header
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.spec.idle import check_new_dataset, refused_lines
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.windows import planned_steps, window_note
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from tests.fractal_ray.conftest import raw_spec

STEPS = {"param": "num_iterations", "scale": "linear", "min": 1, "max": 9}


def spec_of(window: int, recipe: dict[str, Any], **axes: dict[str, Any]) -> SweepSpec:
    raw = raw_spec(stages=[{"grid": {"points": [5, 3]}}], label={"window": window})
    raw["workload"]["recipe"] = {"dtype": "float32", **recipe}
    raw["axes"] |= axes
    return parse_spec(raw)


def mlp(window: int, steps: int) -> SweepSpec:
    raw = raw_spec(stages=[{"grid": {"points": 3}}], label={"window": window})
    raw["workload"] = {"kind": "mlp", "width": 2, "examples": 3, "steps": steps}
    raw["axes"] = {
        "x": {"param": "eta0", "min": 0.1, "max": 1.0},
        "y": {"param": "eta1", "min": 0.1, "max": 1.0},
    }
    return parse_spec(raw)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            spec_of(8, {"num_iterations": 15}),
            (
                "label.window is 8, more than half of the 15 steps of a run; set label.window: 7 or"
                " less, or workload.recipe.num_iterations, for 16 steps or more"
            ),
        ),
        (
            mlp(8, 15),
            (
                "label.window is 8, more than half of the 15 steps of a run; set label.window: 7 or"
                " less, or workload.steps, for 16 steps or more"
            ),
        ),
        (
            spec_of(
                1,
                {"num_iterations": 1},
                x={"param": "device_batch_size", "scale": "linear", "min": 1, "max": 9},
            ),
            (
                "a run has 1 step, and its one loss is computed before the update; set"
                " workload.recipe.num_iterations, for 2 steps or more"
            ),
        ),
    ],
)
def test_a_window_of_more_than_half_of_the_steps_is_refused(spec: SweepSpec, line: str) -> None:
    assert refused_lines(spec)[-1] == line


def test_half_of_the_steps_is_accepted() -> None:
    assert refused_lines(spec_of(8, {"num_iterations": 16})) == []
    assert refused_lines(mlp(8, 16)) == []
    # The data decide: the first check of a run compares them.
    assert refused_lines(spec_of(500, {"num_tokens": 100})) == []


def test_a_new_dataset_is_refused_and_an_older_one_goes_on(tmp_path: Path) -> None:
    spec = spec_of(8, {"num_iterations": 15})
    with pytest.raises(SweepError) as caught:
        check_new_dataset(spec, str(tmp_path / "disc"))
    first, line = str(caught.value).splitlines()
    assert first == "disc has a label window that is too long; nothing was run:"
    assert line.startswith("  label.window is 8")
    # It was begun with another window.
    header = {"spec": spec_of(2, {"num_iterations": 15}).model_dump(mode="json")}
    write_header(Store(str(tmp_path / "disc")), header)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("default")
        check_new_dataset(spec, str(tmp_path / "disc"))
    (note,) = notes
    assert "label.window is 8, more than half of the 15 steps" in str(note.message)


def test_an_axis_that_changes_the_steps_gives_a_note() -> None:
    spec = spec_of(2, {}, x=STEPS)
    assert refused_lines(spec) == []
    # 1, 3, 5, 7 and 9 steps, 3 nodes each
    assert window_note(spec) == (
        "label.window 2 is more than half of the steps of 6 of the 15 points of the grid"
        " (num_iterations changes the steps); 3 have one step and no loss after an update"
        " (too_short)"
    )
    longer = spec_of(2, {}, x={**STEPS, "min": 3, "max": 11})
    assert window_note(longer) == (
        "label.window 2 is more than half of the steps of 3 of the 15 points of the grid"
        " (num_iterations changes the steps)"
    )
    assert window_note(spec_of(1, {}, x={**STEPS, "min": 3})) is None
    assert window_note(spec_of(1, {"num_iterations": 9})) is None
    data = window_note(spec_of(2, {}))
    assert data is not None
    assert "when run has read the data (workload.recipe.num_tokens decides it)" in data
    sets = load_spec(Path("sweeps/weierstrass.yaml"))
    assert (window_note(sets), refused_lines(sets)) == (None, [])


def test_planned_steps_of_points() -> None:
    steps = planned_steps(spec_of(2, {}, y=STEPS), np.array([0.1, 0.2]), np.array([[3.0], [5.0]]))
    assert steps is not None
    assert steps.tolist() == [[3, 3], [5, 5]]
    fixed = planned_steps(spec_of(2, {"num_iterations": 7}), [0.1, 0.2], 0.1)
    assert fixed is not None
    assert fixed.tolist() == [7, 7]
    net = planned_steps(mlp(1, 4), 1.0, [0.1, 0.2, 0.3])
    assert net is not None
    assert net.tolist() == [4, 4, 4]
    assert planned_steps(spec_of(2, {}), 0.1, 0.1) is None


def test_plan_refuses_and_notes(tmp_path: Path) -> None:
    call = ["plan", "sweeps/quickstart.yaml", "--storage", str(tmp_path)]
    done = CliRunner().invoke(app, call)
    assert done.output.count("  note: label.window 5 is compared with the number of steps") == 1
    steps = [*call, "--set", "workload.recipe.num_iterations=9"]
    refused = CliRunner().invoke(app, steps)
    assert refused.exit_code != 0
    assert "label.window is 5, more than half of the 9 steps" in str(refused.exception)


@pytest.mark.parametrize("path", sorted(Path("sweeps").rglob("*.yaml")), ids=lambda p: p.stem)
def test_windows_of_shipped_sweeps_fit(path: Path) -> None:
    assert refused_lines(load_spec(path)) == []


def test_the_sweep_of_rate_and_tokens_follows_a_border_without_a_window() -> None:
    """Its label window is more than half of the steps of half of its runs."""
    spec = load_spec("sweeps/lr_tokens.yaml")
    assert spec.label.boundary == "broken"
    shipped = load_spec("notebooks/data/lr-tokens.yaml")
    assert spec.model_dump(exclude={"storage"}) == shipped.model_dump(exclude={"storage"})
