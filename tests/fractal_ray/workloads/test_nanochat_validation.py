"""The validation loss of fine-tunes in a sweep: its rows, its value, and the errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_ray.engine.rerun import rerun
from fractal_ray.engine.workload_of import workload_of
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Prepared
from fractal_ray.workloads.nanochat.workload import NanochatWorkload
from nanochat.errors import NanochatError
from tests.fractal_ray.conftest import raw_spec

GOLDEN = Path(__file__).parents[2] / "golden" / "nanochat_tiny"
SPLIT = {"split": "validation", "batches": 3}


def raw_of(validation: Any = None, **changes: Any) -> dict[str, Any]:
    raw = raw_spec(stages=[{"grid": {"points": 2}}], label={"window": 1}, **changes)
    raw["workload"]["model"] = str(GOLDEN)
    raw["workload"]["data"]["limit"] = 60
    raw["workload"]["recipe"] = {"num_iterations": 4, "dtype": "float32", "device_batch_size": 4}
    raw["axes"]["x"] |= {"min": 1e-30, "max": 1e30}
    if validation is not None:
        raw["workload"]["data"]["validation"] = validation
    return raw


def make(validation: Any = None, **changes: Any) -> NanochatWorkload:
    workload = workload_of(parse_spec(raw_of(validation, **changes)))
    assert isinstance(workload, NanochatWorkload)
    return workload


def point(x: float, y: float) -> Point:
    return Point(0, 0, 0, 0, x, y)


GRID = [point(x, y) for x in (1e-30, 0.05, 1e29) for y in (1e-30, 0.3)]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return make(SPLIT).prepare()


@pytest.fixture(scope="module")
def alone(prepared: Prepared) -> list[float]:
    """Return the validation losses of runs one by one."""
    runner = make(SPLIT, resources={"points_per_trial": 1}).open(prepared.shared, "cpu")
    return [record.val_loss for record in runner.evaluate(GRID)]


def test_it_is_off_unless_it_is_given(prepared: Prepared) -> None:
    plain = make().prepare()
    assert plain.shared.validation is None
    assert plain.data_facts == {}
    (record,) = make().open(plain.shared, "cpu").evaluate(GRID[:1])
    assert np.isnan(record.val_loss)
    assert make().baseline(plain.shared, "cpu", print).val_loss is None
    dumped = parse_spec(raw_of()).model_dump(mode="json")["workload"]["data"]
    assert "validation" not in dumped
    # A split changes no point.
    assert (plain.fingerprint, make().recipe) == (prepared.fingerprint, make(SPLIT).recipe)


def test_the_untouched_model_has_the_loss_of_runs_without_updates(
    prepared: Prepared, alone: list[float]
) -> None:
    baseline = make(SPLIT).baseline(prepared.shared, "cpu", print)
    assert baseline.val_loss == pytest.approx(alone[0], rel=1e-6)
    assert alone[0] != alone[2]
    assert np.isnan(alone[4:]).all()  # diverged
    facts = prepared.data_facts["validation"]
    assert (facts["rows"], facts["batches"]) == (12, 3)


@pytest.mark.parametrize("together", [2, 6, 32])
def test_points_side_by_side_have_the_losses_of_points_one_by_one(
    prepared: Prepared, alone: list[float], together: int
) -> None:
    workload = make(SPLIT, resources={"points_per_trial": together})
    records = list(workload.open(prepared.shared, "cpu").evaluate(GRID))
    assert max(record.side_by_side for record in records) == min(together, 6)
    assert np.array_equal([record.val_loss for record in records], alone, equal_nan=True)
    # Survivors of a stack are moved to the first places, in their order.
    order = [4, 2, 5, 1, 4, 0]
    mixed = list(workload.open(prepared.shared, "cpu").evaluate([GRID[i] for i in order]))
    expected = [alone[i] for i in order]
    assert np.array_equal([record.val_loss for record in mixed], expected, equal_nan=True)


def test_batches_do_not_depend_on_a_swept_batch_size(prepared: Prepared) -> None:
    size = {"param": "device_batch_size", "scale": "linear", "min": 2, "max": 8}
    raw = raw_of(SPLIT)
    raw["axes"]["x"] = size
    del raw["workload"]["recipe"]["device_batch_size"]
    raw["workload"]["recipe"]["unembedding_lr"] = 1e-30
    workload = workload_of(parse_spec(raw))
    records = workload.open(prepared.shared, "cpu").evaluate([point(2, 1e-30), point(8, 1e-30)])
    first, second = (record.val_loss for record in records)
    assert first == pytest.approx(second, rel=1e-6)


def test_a_model_broken_by_its_last_update_has_an_infinite_loss(prepared: Prepared) -> None:
    raw = raw_of(SPLIT)
    raw["workload"]["recipe"]["num_iterations"] = 1
    runner = workload_of(parse_spec(raw)).open(prepared.shared, "cpu")
    (record,) = runner.evaluate([point(1e30, 1e30)])
    assert (record.outcome, record.val_loss) == ("not_improved", np.inf)


def test_a_share_is_taken_out_of_the_training(prepared: Prepared) -> None:
    held = make({"share": 0.2}).prepare()
    training, validation = held.shared.examples, held.shared.validation
    assert validation is not None
    assert len(training) + len(validation) == len(prepared.shared.examples) == 60
    assert held.fingerprint != prepared.fingerprint
    rows = {
        examples.ids[examples.offsets[row] : examples.offsets[row + 1]].tobytes()
        for examples in (training, validation)
        for row in range(len(examples))
    }
    assert len(rows) == 60
    fewer = raw_of({"share": 0.2})
    fewer["workload"]["data"]["limit"] = 40
    first = workload_of(parse_spec(fewer)).prepare().shared.validation
    assert validation.ids[: len(first.ids)].tolist() == first.ids.tolist()


@pytest.mark.parametrize(
    ("validation", "line"),
    [
        ({}, "takes one of split, file, share; given none of them"),
        ({"batches": 2}, "takes one of split, file, share; given none of them"),
        ({"split": "validation", "share": 0.1}, "takes one of .*; given split and share"),
        ({"share": 0}, "workload.data.validation.share: .*greater than 0"),
        ({"share": 1.0}, "workload.data.validation.share: .*less than 1"),
        ({"split": "validation", "batches": 0}, "workload.data.validation.batches"),
        ({"split": "train"}, "validation.split 'train' is trained on; name another split"),
        ({"shares": 0.1}, "shares"),
    ],
)
def test_mistakes_in_the_spec_are_one_line(validation: Any, line: str) -> None:
    with pytest.raises(SweepError, match=line) as caught:
        parse_spec(raw_of(validation))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("validation", "line"),
    [
        ({"split": "other"}, "workload.data.validation.split: .* has no other.jsonl"),
        ({"file": "none.jsonl"}, "workload.data.validation.file: there is no none.jsonl"),
        ({"file": "{empty}"}, r"workload.data.validation.file: .*empty.jsonl: no conversations"),
        ({"file": "{rows}"}, "workload.data.validation.file: these are the training data"),
        ({"split": "validation"}, "rows.jsonl is one file, .* set workload.data.validation.share"),
        ({"share": 1e-9}, "workload.data.validation.share 1e-09 leaves none of 9 .* to hold out"),
        ({"share": 1 - 1e-9}, "workload.data.validation.share 1 leaves none of 9 .* to train on"),
    ],
)
def test_missing_validation_data_are_one_line(
    tmp_path: Path, validation: dict[str, Any], line: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    turns = [
        [{"role": "user", "content": f"Say {n}"}, {"role": "assistant", "content": f"{n}"}]
        for n in range(9)
    ]
    rows.write_text("".join(f"{json.dumps({'messages': turn})}\n" for turn in turns))
    (tmp_path / "empty.jsonl").write_text("")
    places = {"{rows}": str(rows), "{empty}": str(tmp_path / "empty.jsonl")}
    raw = raw_of({key: places.get(str(v), v) for key, v in validation.items()})
    if validation != {"split": "other"}:
        raw["workload"]["data"]["source"] = str(rows)
    with pytest.raises((SweepError, NanochatError), match=line) as caught:
        workload_of(parse_spec(raw)).prepare()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("validation", [SPLIT, {"share": 0.2}], ids=["split", "share"])
def test_a_sweep_keeps_the_losses_and_a_rerun_compares_them(
    tmp_path: Path, validation: dict[str, Any]
) -> None:
    raw = raw_of(validation, storage=str(tmp_path))
    raw["axes"]["x"]["max"] = 0.1
    sweep = Sweep(parse_spec(raw))
    sweep.run(engine="local")
    rows = sweep.table().to_pylist()
    assert all(np.isfinite(row["val_loss"]) for row in rows)
    done = rerun(sweep, rows[-1]["point_id"], tmp_path / "model", lambda line: None)
    assert (done.deviation, done.val_loss) == (0.0, rows[-1]["val_loss"])
    assert done.val_loss_before == done.val_loss
    header = sweep.header()
    assert header is not None
    kept = header["data"]["validation"]
    # Other batches are refused; without any, the dataset goes on and still knows its own.
    raw["workload"]["data"]["validation"] = {**validation, "batches": 1}
    with pytest.raises(SweepError, match=r"has validation losses of .* they cannot be compared"):
        Sweep(parse_spec(raw)).run(engine="local")
    if "share" not in validation:
        del raw["workload"]["data"]["validation"]
        raw["stages"] = [{"grid": {"points": 3}}]
        Sweep(parse_spec(raw)).run(engine="local")
        assert (Sweep(parse_spec(raw)).header() or {})["data"]["validation"] == kept


def test_plan_says_how_long_it_takes() -> None:
    spec = parse_spec(raw_of({"file": "held_out.jsonl", "batches": 12}))
    assert spec.workload.notes_on_runs(spec.planned_runs)[-1] == (
        "validation: 12 batches of 4 rows (held_out.jsonl) after each run, about the time of 4"
        " training steps"
    )
    plain = parse_spec(raw_of())
    assert plain.workload.notes_on_runs(plain.planned_runs) == []
    assert ("workload.data.validation.file", "held_out.jsonl") in list(spec.workload.files())
    wrong = parse_spec(raw_of({"file": "held_out.txt"}))
    with pytest.raises(NanochatError, match=r"held_out\.txt"):
        wrong.workload.check_inputs()
