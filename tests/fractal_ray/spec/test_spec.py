"""The plan language: refused specs and the messages that refuse them."""

import re
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.dataset.rows import PARTITION, POINTS_SCHEMA
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis
from fractal_ray.spec.axes import FIXED_COLUMNS
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.spec.yaml_loader import parse_yaml
from fractal_ray.workloads.nanochat.spec import NanochatSpec
from tests.fractal_ray.conftest import raw_spec


def axes(**x: Any) -> dict[str, Any]:
    y = {"param": "matrix_lr", "min": 1e-4, "max": 1.0}
    return {"x": {"param": "unembedding_lr", "min": 1e-4, "max": 1.0, **x}, "y": y}


def workload(**changes: Any) -> dict[str, Any]:
    return {"model": "preset:tiny", "data": {"source": "stdlib_qa"}, **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axis": {}}, ["axis: unknown key", "did you mean 'axes'", "workload"]),
        ({"axes": axes(maximum=1)}, ["axes.x.maximum: unknown key", "'max'", "scale"]),
        ({"axes": axes(min=2.0)}, ["axes.x: min must be below max", "min is 2, max is 1"]),
        ({"axes": axes(min=1.0)}, ["axes.x: min must be below max"]),
        ({"axes": axes(min=0)}, ["axes.x: a log axis needs min > 0; min is 0"]),
        (
            {"axes": axes(min=-1, scale="linear")},
            ["axes.x: unembedding_lr must stay above 0; min is -1"],
        ),
        ({"axes": axes(param="matrixlr")}, ["axes.x.param", "'matrixlr'", "'matrix_lr'"]),
        ({"axes": axes(param="dtype")}, ["'dtype' is not a numeric recipe field"]),
        ({"axes": axes(param="matrix_lr")}, ["x and y both sweep 'matrix_lr'"]),
        ({"axes": axes(param="num_tokens", min=1.5, max=9)}, ["num_tokens takes whole numbers"]),
        ({"axes": axes(param="seed", min=1, max=9)}, ["recipe.shuffle: true"]),
        ({"axes": axes(scale="logarithmic")}, ["axes.x.scale", "'log'", "'logarithmic'"]),
        ({"axes": axes(max="many")}, ["axes.x.max", "'many'"]),
        ({"axes": axes(max=float("inf"))}, ["axes.x.max"]),
        ({"stages": []}, ["stages"]),
        ({"stages": [{"grd": {"points": 3}}]}, ["stages.0.grd: unknown key", "'grid'"]),
        ({"stages": [{"grid": {"points": 1}}]}, ["stages.0.grid.points: must be at least 2"]),
        (
            {"stages": [{"grid": {"points": "one"}}]},
            ["stages.0.grid.points: takes a whole", "'one'"],
        ),
        ({"stages": [{"grid": {"points": [3]}}]}, ["[along x, along y]; given [3]"]),
        ({"stages": [{"grid": {"points": [2, 3, 4]}}]}, ["[along x, along y]; given [2, 3, 4]"]),
        ({"stages": [{"grid": {"point": 3}}]}, ["stages.0.grid.point: unknown key", "'points'"]),
        ({"workload": workload(modl="x")}, ["workload.modl: unknown key", "'model'"]),
        ({"workload": workload(recipe={"matrx_lr": 1})}, ["workload.recipe", "'matrix_lr'"]),
        ({"workload": workload(recipe={"num_tokens": 0})}, ["num_tokens", "0"]),
        ({"workload": workload(recipe={"trainable": "heads"})}, ["heads"]),
        (
            {"workload": workload(model="s3:x")},
            ["workload.model", "'s3:x': unknown scheme", "preset:NAME"],
        ),
        ({"workload": workload(kind="cnn")}, ["workload.kind", "'cnn'"]),
        ({"label": {"threshold": 0}}, ["label.threshold", "0"]),
        ({"label": {"boundary": "converged"}}, ["label.boundary", "'trainable'", "'converged'"]),
        ({"resources": {"gpu": 1.5}}, ["resources.gpu: gpu above 1 must be a whole number"]),
        ({"resources": {"slots": 0}}, ["resources.slots"]),
        (
            {"resources": {"points_per_trial": 0}},
            ["resources.points_per_trial: points_per_trial must be at least 1 or auto; given 0"],
        ),
        (
            {"resources": {"points_per_trial": 4}, "trials": "points"},
            ["resources.points_per_trial is 4, and with trials: points", "take trials: slots"],
        ),
        ({"points_per_tile": 0}, ["points_per_tile must be at least 1 or auto"]),
        (
            {
                "axes": axes(param="device_batch_size", min=2, max=4),
                "workload": workload(
                    recipe={"device_batch_size": 4, "target_examples_per_step": 4}
                ),
            },
            ["target_examples_per_step must be a multiple of device_batch_size"],
        ),
        ({"name": "a/b"}, ["name becomes a folder", "'a/b'"]),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SweepError) as caught:
        parse_spec(raw_spec(**changes))
    for word in words:
        assert word in str(caught.value)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(SweepError) as caught:
        parse_spec(raw_spec(stagess=[], label={"window": 0}, axes=axes(min=0)))
    assert len(str(caught.value).splitlines()) == 4


def test_a_bad_stage_is_one_mistake() -> None:
    with pytest.raises(SweepError) as caught:
        parse_spec(raw_spec(stages=[{"grid": {"points": "one"}}]))
    assert len(str(caught.value).splitlines()) == 2


def test_numbers_without_a_dot_are_numbers() -> None:
    assert parse_yaml("[1e-6, 1E+3, 2_500, 3e5, .5e1, 1.5e-3]") == [
        1e-6,
        1e3,
        2500,
        3e5,
        5.0,
        1.5e-3,
    ]
    assert parse_yaml("[e1, 1e, hf:x, 1e-6x]") == ["e1", "1e", "hf:x", "1e-6x"]


def test_integer_axes_round() -> None:
    spec = parse_spec(raw_spec(axes=axes(param="num_tokens", min=10, max=1000)))
    values = spec.plan.frame(0).x.values(8)
    assert all(value == int(value) for value in values)


@pytest.mark.parametrize("path", sorted(Path("sweeps").rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_sweeps_are_valid(path: Path) -> None:
    assert load_spec(path).stages


def test_overrides(tmp_path: Path) -> None:
    spec = load_spec(
        "sweeps/quickstart.yaml",
        ["axes.x.max=1e-2", "stages.0.grid.points=[3, 4]", "workload.recipe.seed=5", "name=other"],
    )
    assert spec.axes.x.max == 1e-2
    assert spec.stages[0].grid.shape == (3, 4)
    assert spec.workload.recipe["seed"] == 5
    assert spec.name == "other"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("axes.x.max", "--set takes key=value"),
        ("axes.x.mxa=3", "did you mean 'max'"),
        ("axes.x.low=3", "did you mean 'min'"),
        ("axes.x.param=lr", "axes.x.param: 'lr' .* did you mean 'learning_rate'"),
        ("workload.recipe.lr=3", "setting 'lr'; did you mean 'learning_rate'"),
        ("workload.lr=3", "workload.lr: unknown key; did you mean workload.recipe.learning_rate"),
        ("stages.4.grid.points=3", "not one of the list's places 0..0"),
        ("stages.²=3", "not one of the list's places 0..0"),
        ("name.x=3", "below a plain value"),
        ("axes.x.max=[", "not a valid YAML value"),
    ],
)
def test_bad_overrides(override: str, words: str) -> None:
    with pytest.raises(SweepError, match=words.replace("[", r"\[")):
        load_spec("sweeps/quickstart.yaml", [override])


def test_files_that_are_no_spec(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"nothing at .*: no spec.*here: .*paper/tanh\.yaml, "):
        load_spec(tmp_path / "xyz.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1,\nb: 2")
    with pytest.raises(SweepError, match="not valid YAML"):
        load_spec(bad)
    bad.write_bytes(b"name: caf\xe9")
    with pytest.raises(SweepError, match=r"bad\.yaml is not UTF-8 text \(byte \d+ is 0xe9\)"):
        load_spec(bad)
    bad.write_text("- 1\n")
    with pytest.raises(SweepError, match="must hold a mapping"):
        load_spec(bad)


def map_spec(**changes: Any) -> dict[str, Any]:
    plane = {"scale": "linear", "min": -2.0, "max": 2.0}
    raw = {
        "name": "basin",
        "workload": {"kind": "map", "set": "weierstrass", "parameters": {"stretch_y": 1.4}},
        "axes": {"x": {"param": "x", **plane}, "y": {"param": "y", **plane}},
        "stages": [{"grid": {"points": 9}}],
    }
    return {**raw, **changes}


def test_a_map_spans_its_own_plane() -> None:
    spec = parse_spec(map_spec())
    assert spec.workload.kind == "map"
    assert spec.plan.axis("x") == Axis("x", "linear", -2.0, 2.0)
    assert spec.workload.title == "the set weierstrass with stretch_y 1.4"
    assert parse_spec(spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"workload": {"kind": "mop", "set": "disc"}}, "workload.kind: 'mop' is no workload; did"),
        ({"workload": {"kind": "map"}}, "workload.set: missing"),
        ({"workload": {"kind": "map", "sett": "disc"}}, "workload.sett: unknown key; did you"),
        ({"workload": {"kind": "map", "set": "dics"}}, "workload: unknown set 'dics'; did you"),
        (
            {"workload": {"kind": "map", "set": "disc", "parameters": {"radius": -1}}},
            "workload: the set disc: radius must be above 0; given -1",
        ),
        ({"resources": {"gpu": 1}}, "evaluated on the CPU; resources.gpu must be 0, not 1"),
        (
            {"resources": {"points_per_trial": 1}},
            "resources.points_per_trial is 1, and a workload map computes all points of a tile at",
        ),
        ({"axes": axes()}, "axes.x.param: a map has its own plane, so the param of axis x is x"),
    ],
)
def test_mistakes_in_a_map_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SweepError, match=re.escape(says)):
        parse_spec(map_spec(**changes))


def test_points_per_trial_is_for_fine_tunes() -> None:
    given = parse_spec(raw_spec(resources={"points_per_trial": 8}))
    assert given.resources.points_per_trial == 8
    assert parse_spec(raw_spec()).resources.points_per_trial == "auto"
    alone = parse_spec(raw_spec(resources={"points_per_trial": 1}, trials="points"))
    assert alone.resources.points_per_trial == 1
    rates = {"scale": "log", "min": 1e-3, "max": 10.0}
    net = {
        "workload": {"kind": "mlp"},
        "axes": {"x": {"param": "eta0", **rates}, "y": {"param": "eta1", **rates}},
    }
    assert parse_spec(raw_spec(**net, resources={"points_per_trial": "auto"}))
    with pytest.raises(SweepError, match="is 2, and a workload mlp computes all points of a tile"):
        parse_spec(raw_spec(**net, resources={"points_per_trial": 2}))


def kernels_spec(*names: str, recipe: dict[str, Any] | None = None, **changes: Any) -> dict:
    workload = raw_spec()["workload"]
    workload |= {"kernels": list(names), "recipe": {**workload.get("recipe", {}), **(recipe or {})}}
    return raw_spec(workload=workload, **changes)


def test_kernels_are_named_in_a_spec() -> None:
    spec = parse_spec(kernels_spec("compile", "compile"))
    assert isinstance(spec.workload, NanochatSpec)
    assert str(spec.workload.chosen_kernels) == "compile"
    assert spec.workload.model_dump()["kernels"] == ("compile",)
    one = raw_spec(workload=raw_spec()["workload"] | {"kernels": "compile"})
    assert parse_spec(one).workload == spec.workload
    # A spec stored before kernels existed equals today's spec without kernels.
    assert "kernels" not in parse_spec(raw_spec()).workload.model_dump()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (kernels_spec("full_logits", "compile"), "full_logits computes as nanochat 8f979a8"),
        (kernels_spec("fast"), "'full_logits', 'compile' or 'cuda_graphs'"),
        (kernels_spec("cuda_graphs", resources={"gpu": 0}), "resources.gpu is 0"),
        (
            raw_spec(resources={"points_per_trial": 4}, points_per_tile=3),
            "points_per_trial is 4, and a tile has points_per_tile = 3",
        ),
        (raw_spec(resources={"points_per_trial": 9999}), "must be at most 256; given 9999"),
        (
            kernels_spec("cuda_graphs", recipe={"dtype": "float16"}, resources={"gpu": 1}),
            "loss scaling of dtype float16",
        ),
        (
            kernels_spec("full_logits", resources={"points_per_trial": 2}),
            "points cannot advance together",
        ),
        (
            kernels_spec(recipe={"dtype": "float16"}, resources={"points_per_trial": 2}),
            "points cannot advance together",
        ),
    ],
)
def test_kernels_that_do_not_go_together_are_refused(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(SweepError, match=re.escape(says)):
        parse_spec(raw)


def test_no_parameter_has_the_name_of_a_fixed_column() -> None:
    columns = {*POINTS_SCHEMA.names, *PARTITION.names}
    assert columns - {"x", "y", "seed"} == FIXED_COLUMNS
    with pytest.raises(SweepError, match=r"axes: x\.param: 'val_loss' is the name of a column"):
        parse_spec(raw_spec(axes=axes(param="val_loss")))
