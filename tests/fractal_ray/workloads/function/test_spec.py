"""The section of a function in a spec: names, types and keys that are refused."""

from typing import Any

import pytest

from fractal_ray.errors import SweepError
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.workloads.function.spec import FunctionSpec
from tests.fractal_ray.conftest import raw_spec

AXES = {
    "x": {"param": "lr", "scale": "log", "min": 1e-3, "max": 1.0},
    "y": {"param": "layers", "scale": "linear", "min": 1, "max": 5, "type": "int"},
}


def parse(axes: Any = None, **workload: Any) -> SweepSpec:
    """Return the spec of a function."""
    section = {"kind": "function", "call": "train.py:train", **workload}
    raw = {"name": "own", "workload": section, "axes": axes or AXES}
    return parse_spec({**raw, "stages": [{"grid": {"points": 5}}]})


REFUSED = {
    "call without name": ({"call": "train.py"}, "workload.call: takes FILE.py:NAME or MODULE:NAME"),
    "call with a space": ({"call": "train.py:two words"}, "workload.call: takes FILE.py"),
    "seed in settings": ({"settings": {"seed": 1}}, "settings: the seed has a key of its own"),
    "null setting": ({"settings": {"a": None}}, "settings: a takes a text, a number"),
    "nan setting": ({"settings": {"a": [float("nan")]}}, "settings: a takes a text, a number"),
    "reserved": ({"settings": {"seed_per_point": 1}}, "is a name that fractal-ray uses"),
    "metric column": ({"metrics": {"losses": "min"}}, "'losses' is the name of a column"),
    "metric name": ({"metrics": {"top 1": "max"}}, "a metric is a name of letters"),
    "metric val_loss": ({"metrics": {"val_loss": "max"}}, "val_loss is a loss"),
    "direction": ({"metrics": {"acc": "up"}}, "metrics.acc: input should be 'min' or 'max'"),
    "wide error": ({"diverges_on": ["RuntimeError"]}, "every bug could be a RuntimeError"),
    "memory": ({"diverges_on": ["torch.OutOfMemoryError"]}, "a failure of the machine"),
    "no error": ({"diverges_on": [3]}, "takes a list of exceptions"),
    "negative seed": ({"seed": -1}, "workload.seed: input should be greater"),
    "unknown key": ({"setting": {}}, "workload.setting: unknown key; did you mean 'settings'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_key_is_refused(kind: str) -> None:
    workload, message = REFUSED[kind]
    with pytest.raises(SweepError, match=message):
        parse(**workload)


AXIS_MISTAKES = {
    "column": ({"param": "losses"}, "'losses' is the name of a column of every dataset"),
    "reserved": ({"param": "seed_per_point"}, "is a name that fractal-ray uses"),
    "seed below 0": ({"param": "seed", "scale": "linear", "min": -1, "max": 3}, "from 0 to"),
    "type": ({"type": "integer"}, "axes.x.type: input should be 'float' or 'int'"),
}


@pytest.mark.parametrize("kind", AXIS_MISTAKES)
def test_a_wrong_axis_is_refused(kind: str) -> None:
    axis, message = AXIS_MISTAKES[kind]
    with pytest.raises(SweepError, match=message):
        parse({"x": {**AXES["x"], **axis}, "y": AXES["y"]})


def test_a_third_axis_is_refused() -> None:
    with pytest.raises(SweepError, match=r"axes\.z: unknown key.*allowed: x, y"):
        parse({**AXES, "z": AXES["x"]})


def test_a_missing_axis_is_named_with_a_way_out() -> None:
    with pytest.raises(SweepError, match=r"axes\.y: missing; a sweep has two axes .*, seed may be"):
        parse({"x": AXES["x"]})


def test_other_workloads_have_types_of_their_own() -> None:
    raw = raw_spec()
    raw["axes"]["x"]["type"] = "int"
    with pytest.raises(SweepError, match=r"axes\.x\.type: a parameter of the workload \w+ has a"):
        parse_spec(raw)


def test_an_axis_of_whole_numbers_has_whole_values() -> None:
    spec = parse()
    assert spec.plan.axis("y").values(4).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert spec.plan.axis("y").integer
    assert "type" not in spec.axes.x.model_dump()
    assert spec.label.boundary == "broken"


def test_a_spec_survives_its_json() -> None:
    spec = parse(
        files=["data.csv"],
        diverges_on=[{"ValueError": "Floating-point"}, "OverflowError"],
        settings={"a": [1, {"b": True}]},
        metrics={"val_loss": "min"},
    )
    raw = spec.model_dump(mode="json")
    assert raw["workload"]["files"] == ["data.csv"]
    assert parse_spec(raw) == spec
    assert parse_spec(raw, context={"folder": "elsewhere"}) == spec
    assert parse_spec(raw, ["workload.seed=1"]) != spec


def test_an_axis_that_a_setting_names_is_refused_for_a_new_dataset() -> None:
    spec = parse(settings={"lr": 0.1})
    (line,) = spec.workload.idle_values(spec.planned_runs)
    assert line == "workload.settings.lr: axes.x sweeps it; leave it out"


def test_the_files_of_a_job_are_those_of_the_spec() -> None:
    spec = parse_spec(parse(files=["data"]).model_dump(mode="json"), context={"folder": "sweeps"})
    assert isinstance(spec.workload, FunctionSpec)
    assert dict(spec.workload.files()) == {
        "workload.call": "sweeps/train.py",
        "workload.files.0": "sweeps/data",
    }
