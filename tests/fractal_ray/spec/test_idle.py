"""Refusals of axes that change no run, and of recipe values that an axis replaces."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.dataset.header import write_header
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.spec.idle import check_new_dataset, idle_lines, idle_seeds
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec

ENDS = {
    "num_tokens": (10, 1000),
    "num_iterations": (1, 8),
    "target_examples_per_step": (0, 8),
    "device_batch_size": (2, 6),
    "weight_decay": (0.0, 1.0),
    "warmup_frac": (0.0, 0.3),
    "final_lr_frac": (0.0, 1.0),
}
ALL = {"trainable": "all"}


def spec_of(x: str, y: str, recipe: dict[str, Any]) -> SweepSpec:
    raw = raw_spec(stages=[{"grid": {"points": 2}}])
    raw["workload"]["recipe"] = {"dtype": "float32", **recipe}
    for side, param in (("x", x), ("y", y)):
        low, high = ENDS.get(param, (1e-3, 1.0))
        raw["axes"][side] = {"param": param, "scale": "linear", "min": low, "max": high}
    return parse_spec(raw)


def mlp(steps: int, x: str = "eta0", **changes: Any) -> SweepSpec:
    raw = raw_spec(stages=[{"grid": {"points": 2}}])
    raw["workload"] = {"kind": "mlp", "width": 2, "examples": 3, "steps": steps, **changes}
    raw["axes"] = {
        "x": {"param": x, "min": 0.1, "max": 10.0},
        "y": {"param": "eta1" if x == "eta0" else "eta", "min": 0.1, "max": 10.0},
    }
    return parse_spec(raw)


@pytest.mark.parametrize(
    ("x", "y", "recipe", "reason"),
    [
        ("embedding_lr", "matrix_lr", {}, "the group embedding is frozen; add embedding"),
        ("embedding_lr_mult", "matrix_lr", {}, "the group embedding is frozen"),
        ("unembedding_lr", "matrix_lr", {"trainable": "matrix"}, "unembedding is frozen"),
        ("matrix_lr", "unembedding_lr", {"trainable": "head"}, "the group matrix is frozen"),
        ("mlp_lr", "unembedding_lr", {"trainable": "head"}, "the group matrix is frozen"),
        (
            "embedding_lr_mult",
            "matrix_lr",
            {**ALL, "embedding_lr": 0.1},
            "recipe sets embedding_lr",
        ),
        ("unembedding_lr_mult", "unembedding_lr", {}, "the other axis sets unembedding_lr"),
        ("learning_rate", "matrix_lr", {"unembedding_lr": 0.1}, "(matrix, unembedding) has a rate"),
        ("learning_rate", "matrix_lr", {"trainable": "matrix"}, "(matrix) has a rate of its own"),
        ("matrix_lr", "mlp_lr", {"attention_lr": 0.1}, "attention_lr and mlp_lr set the rates"),
        ("weight_decay", "matrix_lr", {"trainable": "matrix"}, "matrix is trained alone"),
        ("num_tokens", "matrix_lr", {"num_iterations": 9}, "num_iterations sets the number"),
        ("num_tokens", "num_iterations", {}, "num_iterations sets the number"),
        ("target_examples_per_step", "matrix_lr", {}, "one batch of device_batch_size 8"),
        ("warmup_frac", "matrix_lr", {"num_iterations": 5}, "an equal number of the 5 steps"),
        ("final_lr_frac", "matrix_lr", {"num_iterations": 3}, "no step with a lower rate"),
        ("final_lr_frac", "matrix_lr", {"warmup_frac": 1}, "no step with a lower rate"),
        ("init_lr_frac", "num_tokens", {"trainable": "none"}, "no group of parameters"),
    ],
)
def test_idle_axes_are_named(x: str, y: str, recipe: dict[str, Any], reason: str) -> None:
    (line,) = idle_lines(spec_of(x, y, recipe))
    assert line.startswith(f"axes.x: {x} changes no run: ")
    assert reason in line
    swapped = idle_lines(spec_of(y, x, recipe))
    assert [line.replace("axes.x", "axes.y")] == swapped


def test_one_step_shows_nothing_of_its_update() -> None:
    lines = idle_lines(spec_of("weight_decay", "matrix_lr", {"num_iterations": 1}))
    assert [line.split(":")[0] for line in lines] == ["axes.x", "axes.y"]
    assert all("num_iterations 1 is recorded before its update" in line for line in lines)
    assert [line.split(" changes")[0] for line in idle_lines(mlp(1))] == [
        "axes.x: eta0",
        "axes.y: eta1",
    ]
    offset = idle_lines(mlp(1, "w0_offset"))
    assert [line.split(" changes")[0] for line in offset] == ["axes.y: eta"]
    assert idle_lines(mlp(2)) == []


@pytest.mark.parametrize(
    ("x", "y", "recipe"),
    [
        ("embedding_lr", "matrix_lr", ALL),
        ("embedding_lr_mult", "learning_rate", ALL),
        ("learning_rate", "matrix_lr", {}),
        ("matrix_lr", "mlp_lr", {}),
        ("weight_decay", "unembedding_lr", {}),
        ("warmup_frac", "num_iterations", {}),
        ("warmup_frac", "final_lr_frac", {"num_iterations": 8}),
        ("matrix_lr", "num_iterations", {}),
        ("init_lr_frac", "num_tokens", {}),
    ],
)
def test_axes_that_change_runs_are_accepted(x: str, y: str, recipe: dict[str, Any]) -> None:
    assert idle_lines(spec_of(x, y, recipe)) == []


@pytest.mark.parametrize(
    ("x", "recipe", "start"),
    [
        ("weight_decay", {}, ""),
        ("weight_decay", {"device_batch_size": 3}, ""),
        ("weight_decay", {"device_batch_size": 4}, "workload.recipe.device_batch_size is 4, and w"),
        ("weight_decay", {"device-batch-size": 4}, "workload.recipe.device_batch_size is 4, and w"),
        ("weight_decay", {"device_batch_size": 4, "target_examples_per_step": 8}, ""),
        ("weight_decay", {"device_batch_size": 4, "target_examples_per_step": 4}, "workload.recip"),
        ("device_batch_size", {}, "axes.x: device_batch_size goes up to 6, and workload.data.limi"),
        ("device_batch_size", {"target_examples_per_step": 24}, ""),
        ("target_examples_per_step", {"device_batch_size": 4}, ""),
    ],
)
def test_batches_beyond_the_limit_of_the_data_are_named(
    x: str, recipe: dict[str, Any], start: str
) -> None:
    raw = spec_of(x, "matrix_lr", recipe).model_dump(mode="json")
    raw["workload"]["data"]["limit"] = 3
    lines = idle_lines(parse_spec(raw))
    assert [line[: len(start)] for line in lines] == ([start] if start else [])
    raw["workload"]["data"]["limit"] = 6
    assert idle_lines(parse_spec(raw)) == []


@pytest.mark.parametrize("key", ["matrix_lr", "matrix-lr"])
@pytest.mark.parametrize("value", [0.02, -1])
def test_recipe_values_beside_an_axis_are_named(key: str, value: float) -> None:
    (line,) = idle_lines(spec_of("unembedding_lr", "matrix_lr", {key: value}))
    assert line.startswith(f"workload.recipe.{key} is {value}, and axes.y sweeps matrix_lr")
    assert "leave it out" in line


@pytest.mark.parametrize("path", sorted(Path("sweeps").rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_sweeps_have_no_idle_axis(path: Path) -> None:
    assert idle_lines(load_spec(path)) == []


def test_a_new_dataset_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    spec = spec_of("embedding_lr", "matrix_lr", {"matrix_lr": 0.1})
    spec = spec.model_copy(update={"storage": str(tmp_path / "new")})
    with pytest.raises(SweepError) as caught:
        Sweep(spec).run(engine="local")
    first, replaced, idle = str(caught.value).splitlines()
    assert first.startswith("disc has settings that change nothing")
    assert replaced.startswith("  workload.recipe.matrix_lr is 0.1")
    assert idle.startswith("  axes.x: embedding_lr changes no run")
    assert not (tmp_path / "new").exists()


def test_an_older_dataset_goes_on_with_one_note(tmp_path: Path) -> None:
    spec = spec_of("embedding_lr", "matrix_lr", {})
    location = str(tmp_path / "disc")
    write_header(Store(location), {"spec": spec.model_dump(mode="json")})
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("default")
        check_new_dataset(spec, location)
        check_new_dataset(spec, location)
    (note,) = notes
    assert location in str(note.message)
    assert "embedding_lr changes no run" in str(note.message)
    other = spec_of("embedding_lr_mult", "matrix_lr", {})
    with pytest.raises(SweepError, match="embedding_lr_mult changes no run"):
        check_new_dataset(other, location)
    fine = spec_of("unembedding_lr", "matrix_lr", {})
    check_new_dataset(fine, "s3://no-such-bucket-of-this-test/disc")  # is not read


CENTER = {"points": 3, "center": {"x": 0.1, "y": 0.1}}


@pytest.mark.parametrize(
    ("recipe", "stages", "lines"),
    [
        ({"seed": 7}, [], ["workload.recipe.seed is 7 and changes no run: it seeds the order"]),
        ({"seed": 7, "shuffle": True}, [], []),
        ({"shuffle": False}, [], []),
        ({}, [{"refine": {"levels": 1, "audit": 0}}], []),
        ({}, [{"refine": {"levels": 1, "seed": 3}}], []),
        (
            {},
            [{"refine": {"levels": 1, "audit": 0, "seed": 3}}],
            ["stages.1.refine.seed is 3 and changes no point: it draws the cells of the audit"],
        ),
        ({}, [{"zoom": CENTER}], []),
        (
            {},
            [{"zoom": {**CENTER, "seed": 0}}, {"zoom": {"points": 3, "factor": 2, "seed": 5}}],
            [
                "stages.1.zoom.seed is 0 and changes no point: pick: center draws nothing",
                "stages.2.zoom.seed is 5 and changes no point: pick: densest draws nothing",
            ],
        ),
        ({}, [{"zoom": {"points": 3, "factor": 2, "pick": "diverse", "seed": 5}}], []),
        ({}, [{"zoom": {"points": 3, "factor": 2, "pick": "boundary-point", "seed": 5}}], []),
        ({}, [{"transects": {"count": 2, "seed": 5}}, {"pairs": {"count": 2, "seed": 5}}], []),
    ],
)
def test_given_seeds_that_change_nothing_are_named(
    recipe: dict[str, Any], stages: list[dict[str, Any]], lines: list[str]
) -> None:
    raw = raw_spec(stages=[{"grid": {"points": 9}}, *stages], allow_unresolved=True)
    raw["workload"]["recipe"] |= recipe
    named = idle_seeds(parse_spec(raw))
    assert len(named) == len(lines)
    assert all(line.startswith(start) for line, start in zip(named, lines, strict=True))


def test_plan_names_an_idle_seed_once(tmp_path: Path) -> None:
    call = ["plan", "sweeps/quickstart.yaml", "--storage", str(tmp_path)]
    done = CliRunner().invoke(app, call)
    assert done.output.count("  note: workload.recipe.seed is 999") == 1
    used = CliRunner().invoke(app, [*call, "--set", "workload.recipe.shuffle=true"])
    assert used.exit_code == 0
    assert "recipe.seed" not in used.output
