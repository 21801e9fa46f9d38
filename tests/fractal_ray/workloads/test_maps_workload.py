"""The workload `map`: from points to rows, and rows whose answers no later label can flip."""

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_ray.analysis.summary import analyze
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.dataset.store import Store
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.local import run_local
from fractal_ray.errors import SweepError
from fractal_ray.figures.maps import three_panel
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import BOUNDARIES
from fractal_ray.plane.identity import PointIdentity
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import STORED, Criterion, Outcome
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.program import Program
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.workload import MapWorkload

PLANE = Frame(0, Axis("x", "linear", -2.0, 2.0), Axis("y", "linear", -1.5, 1.5), 16, 12)


def grid(frame: Frame, zooms: list[Zoom]) -> Program:
    return Program([("0:grid", lambda: GridPlanner(frame))])


def run_map(workload: MapWorkload, folder: Path, frame: Frame = PLANE) -> Any:
    """Run a grid over `frame` in this process; return the dataset's rows."""
    prepared = workload.prepare()
    spec = DispatcherSpec(
        program=functools.partial(grid, frame),
        location=str(folder),
        metadata={},
        fingerprint=prepared.fingerprint,
        recipe=dict(workload.recipe),
        x_param="x",
        y_param="y",
        rule=LabelRule(Criterion(), "trainable"),
    )
    run_local(Dispatcher(spec), workload, prepared, device="cpu", view=lambda progress: None)
    return Store(str(folder)).read()


def column(table: Any, name: str) -> list[Any]:
    return table.column(name).to_pylist()


def test_a_sweep_of_the_plane_holds_the_sets_answers(tmp_path: Path) -> None:
    table = run_map(MapWorkload("basilica"), tmp_path)
    assert table.num_rows == 17 * 13
    x, y = table.column("x").to_numpy(), table.column("y").to_numpy()
    steps = known_set("basilica").diverged_step(x, y).tolist()
    assert column(table, "diverged_step") == [None if step < 0 else step for step in steps]
    assert column(table, "outcome") == ["trained" if step < 0 else "diverged" for step in steps]
    assert {"trained", "diverged"} == set(column(table, "outcome"))
    assert column(table, "reason") == [
        "" if step < 0 else f"escapes at step {step}" for step in steps
    ]
    assert all(seconds >= 0 for seconds in column(table, "seconds"))


@pytest.mark.parametrize("name", ["basilica", "newton"])
def test_no_window_or_threshold_changes_an_answer(name: str, tmp_path: Path) -> None:
    table = run_map(MapWorkload(name), tmp_path)
    stored = [Outcome(text) for text in column(table, "outcome")]
    for criterion in (Criterion(1, 1e-9), Criterion(1000, 1e9)):
        assert outcomes(table, LabelRule(criterion, "trainable")) == stored


def test_newton_fills_all_three_outcomes(tmp_path: Path) -> None:
    table = run_map(MapWorkload("newton"), tmp_path)
    assert set(column(table, "outcome")) == {outcome.value for outcome in STORED}


def test_logarithmic_axes_are_values_of_the_same_plane(tmp_path: Path) -> None:
    frame = Frame(0, Axis("x", "log", 1e-3, 10.0), Axis("y", "linear", -1.0, 1.0), 8, 8)
    table = run_map(MapWorkload("disc", {"radius": 0.5}), tmp_path, frame)
    inside = np.hypot(table.column("x").to_numpy(), table.column("y").to_numpy()) < 0.5
    assert [outcome == "trained" for outcome in column(table, "outcome")] == inside.tolist()


def test_recipe_holds_every_parameter_and_names_the_points() -> None:
    plain, moved = MapWorkload("noise"), MapWorkload("noise", {"seed": 3})
    assert plain.recipe == {"set": "noise", "p": 0.5, "seed": 0}
    assert moved.recipe == {"set": "noise", "p": 0.5, "seed": 3}
    assert MapWorkload("noise", {"p": 0.5}).recipe == plain.recipe
    point = Point(0, 0, 0, 0, 0.25, -0.5)
    names = {
        PointIdentity(w.prepare().fingerprint, w.recipe, "x", "y")(point)
        for w in (plain, moved, MapWorkload("noise", {"p": 0.4}), MapWorkload("fbm"))
    }
    assert len(names) == 4


def test_a_worker_gets_it_pickled() -> None:
    workload = pickle.loads(pickle.dumps(MapWorkload("fbm", {"hurst": 0.3, "seed": 9})))
    assert workload.recipe == {"set": "fbm", "hurst": 0.3, "seed": 9}
    runner = workload.open(pickle.loads(pickle.dumps(workload.prepare())).shared, "cpu")
    points = list(PLANE.points())
    x, y = np.array([(point.x, point.y) for point in points]).T
    trained = known_set("fbm", {"hurst": 0.3, "seed": 9}).trained(x, y)
    records = list(runner.evaluate(points))
    assert [record.outcome is Outcome.TRAINED for record in records] == trained.tolist()
    assert runner.device == "cpu"
    assert list(runner.evaluate([])) == []


def test_mistakes_come_before_anything_runs() -> None:
    with pytest.raises(SweepError, match="did you mean 'rabbit'"):
        MapWorkload("rabit")
    with pytest.raises(SweepError, match="no parameter 'radus'"):
        MapWorkload("disc", {"radus": 1})
    with pytest.raises(ValueError, match=r"set resources\.gpu: 0"):
        MapWorkload("disc").open(None, "cuda")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_analysis_and_figure_take_rows_without_losses(
    boundary: str, make_sweep: Callable[..., Sweep]
) -> None:
    axis = {"scale": "linear", "min": 0.01, "max": 1.3}
    sweep = make_sweep(
        MapWorkload("disc"),
        axes={"x": {"param": "unembedding_lr", **axis}, "y": {"param": "matrix_lr", **axis}},
        stages=[{"grid": {"points": 193}}],
        label={"boundary": boundary, "threshold": 0.01},
    )
    sweep.run("local")
    found, raster = analyze(sweep, force=True)
    trained = known_set("disc").trained(*np.meshgrid(raster.x, raster.y))
    assert found.outcomes == {
        "trained": trained.sum(),
        "not_improved": 0,
        "diverged": (~trained).sum(),
    }
    assert found.dimension == pytest.approx(1, abs=0.08)
    assert three_panel(raster, title="disc", label=boundary).axes
