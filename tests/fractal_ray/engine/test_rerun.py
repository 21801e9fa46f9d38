"""A point run again: the same losses, and its model."""

import json

import numpy as np
import pyarrow as pa
import pytest

from fractal_ray.engine.rerun import _deviation, find_row, rerun
from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from nanochat.sources.load import load_model

TABLE = pa.table(
    {
        "point_id": ["aa11", "aa22", "bb33"],
        "x": [1e-6, 1e-3, 1.0],
        "y": [0.1, 0.1, 0.4],
    }
)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("aa22", "aa22"),
        ("bb", "bb33"),
        ("BB3", "bb33"),
        ("2e-3,0.1", "aa22"),  # nearest by ratio, though 1e-6 is nearer to it than 1 is
        ("0.05,0.1", "aa22"),
        ("0.9, 0.3", "bb33"),
        ("-1,0.1", "aa11"),
    ],
)
def test_a_point_is_named_by_its_id_or_its_place(point, expected):
    assert find_row(TABLE, point)["point_id"] == expected


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("aa", "2 of the 3 points have an id that starts so; give more digits"),
        ("cc", "0 of the 3 points"),
        ("1,2,3", "takes an id or X,Y"),
        ("a,b", "takes an id or X,Y"),
        ("nan,1", "takes an id or X,Y"),
    ],
)
def test_unclear_points_are_refused(point, message):
    with pytest.raises(SweepError, match=message):
        find_row(TABLE, point)


def test_a_point_of_one_value_is_found_without_a_warning():
    assert find_row(TABLE.slice(0, 1), "1,0.5")["point_id"] == "aa11"
    assert find_row(TABLE.slice(0, 2), "1,0.5")["point_id"] == "aa22"


def test_the_deviation_of_losses_that_cannot_be_divided():
    losses = np.array([2.0, 0.0, np.inf], np.float32)
    assert _deviation(losses, [1.0, 0.0, np.inf]) == 1.0
    assert _deviation(losses, [2.0, 1.0, np.inf]) == 1.0
    assert _deviation(losses, [2.0, 0.0, 3.0]) == np.inf
    assert _deviation(np.array([3e38], np.float32), [1e-30]) == pytest.approx(3e68)


def test_an_empty_dataset_says_how_to_fill_it():
    with pytest.raises(SweepError, match="fractal-ray run"):
        find_row(TABLE.slice(0, 0), "aa")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Run four points on the tiny preset."""
    raw = {
        "name": "four",
        "storage": str(tmp_path_factory.mktemp("storage")),
        "workload": {
            "kind": "nanochat",
            "model": "preset:tiny",
            "data": {"source": "stdlib_qa", "max_seq_len": 64, "limit": 200},
            "recipe": {"num_tokens": 600, "dtype": "float32"},
        },
        "axes": {
            "x": {"param": "unembedding_lr", "min": 1e-3, "max": 1e30},
            "y": {"param": "matrix_lr", "min": 1e-3, "max": 1e-1},
        },
        "stages": [{"grid": {"points": 2}}],
        "label": {"window": 1},
    }
    sweep = Sweep(parse_spec(raw))
    sweep.run(engine="local")
    return sweep, raw


def test_the_losses_are_the_same_and_the_model_is_kept(swept, tmp_path):
    sweep, _ = swept
    row = next(row for row in sweep.table().to_pylist() if row["x"] < 1)
    done = rerun(sweep, row["point_id"][:12], tmp_path, lambda line: None)
    assert (done.point_id, done.x, done.y, done.deviation) == (
        row["point_id"],
        row["x"],
        row["y"],
        0.0,
    )
    result = json.loads(done.result.read_text())["result"]
    assert result["losses"] == pytest.approx(row["losses"], abs=0)
    assert result["converged"] == (row["outcome"] == "trained")
    checkpoint, _ = load_model(str(done.model))
    assert checkpoint.step == row["steps"]
    assert checkpoint.meta["unembedding_lr"] == row["x"]


def test_a_point_that_diverged_leaves_no_model(swept, tmp_path):
    sweep, _ = swept
    row = next(row for row in sweep.table().to_pylist() if row["outcome"] == "diverged")
    done = rerun(sweep, row["point_id"], tmp_path, lambda line: None)
    assert (done.deviation, done.model) == (0.0, None)


@pytest.mark.parametrize(
    "change",
    [
        "workload.recipe.weight_decay=5",
        "workload.recipe.num_tokens=900",
        "axes.x.param=embedding_lr",
    ],
)
def test_another_recipe_is_refused(swept, tmp_path, change):
    _, raw = swept
    with pytest.raises(SweepError, match="give this point another id"):
        rerun(Sweep(parse_spec(raw, [change])), "0.001,0.001", tmp_path, lambda line: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("1e31,0.01", r"unembedding_lr 1e\+31 is outside .*\(0.001 to 1e\+30\); the nearest"),
        ("-1,0.01", "unembedding_lr -1 is outside"),
        ("0.001,5", r"matrix_lr 5 is outside of the sweep .*; the nearest point is 0.001,0.1 "),
        ("0.001,9e-4", "matrix_lr 0.0009 is outside"),
    ],
)
def test_values_outside_of_the_axes_are_refused(swept, tmp_path, point, message):
    """Train no corner for values beyond it."""
    sweep, _ = swept
    with pytest.raises(SweepError, match=message):
        rerun(sweep, point, tmp_path, lambda line: None)
    assert not list(tmp_path.iterdir())


def test_values_rounded_at_an_end_are_inside(swept, tmp_path):
    sweep, _ = swept
    done = rerun(sweep, "0.0009999,0.10001", tmp_path, lambda line: None)
    assert (done.x, done.y) == (0.001, 0.1)


def test_a_map_keeps_no_model(tmp_path):
    sweep = Sweep.open("sweeps/weierstrass.yaml", [f"storage={tmp_path}"])
    with pytest.raises(SweepError, match="only points of nanochat and of functions"):
        rerun(sweep, "0,0", tmp_path, lambda line: None)


def test_other_data_are_not_taken_for_the_same(swept, tmp_path):
    _, raw = swept
    changed = Sweep(parse_spec(raw, ["workload.data.limit=100"]))
    with pytest.raises(SweepError, match="differ from those of the dataset"):
        rerun(changed, "0.001,0.001", tmp_path, lambda line: None)
    assert not list(tmp_path.iterdir())
