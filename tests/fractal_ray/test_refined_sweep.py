"""A refined sweep from spec to analysis, on sets with known answers."""

from collections import Counter

import numpy as np
import pytest

from fractal_ray.analysis import frame_data
from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.status import read_status
from fractal_ray.analysis.summary import analyze
from fractal_ray.engine.thumbnail import Thumbnail
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import (
    POSSIBLE,
    UNKNOWN,
    Raster,
    boundary_cells,
    labels,
)
from fractal_ray.plane.outcome import Criterion, Outcome, RunRecord
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.spec.cost import estimate_cost
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.maps.known_sets import known_set
from tests.fractal_ray.sample_workloads import Disc

GRID = {"grid": {"points": 17}}


def _raw(storage, stages, **changes):
    return {
        "name": "refined",
        "storage": str(storage),
        "workload": {"kind": "map", "set": "weierstrass"},
        "axes": {
            "x": {"param": "x", "scale": "linear", "min": 0.0, "max": 1.0},
            "y": {"param": "y", "scale": "linear", "min": -0.5, "max": 0.5},
        },
        "stages": stages,
        **changes,
    }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    stages = [GRID, {"refine": {"levels": 4, "audit": 0.1}}]
    made = Sweep(parse_spec(_raw(tmp_path_factory.mktemp("storage"), stages)))
    progress = made.run(engine="local")
    assert (progress.finished, progress.gave_up) == (True, 0)
    assert progress.done == made.table().num_rows  # each point counts once, whatever the stage
    return made


def test_the_border_is_the_dense_one_at_a_fraction_of_the_runs(sweep):
    raster = sweep.raster()
    x, y = np.meshgrid(raster.x, raster.y)
    truth = known_set("weierstrass", {}).trained(x, y).astype(np.int8)
    found = boundary_cells(labels(raster, "trainable")).mixed
    wanted = boundary_cells(truth).mixed
    assert raster.outcome.shape == (257, 257)
    assert (found & wanted).sum() >= 0.99 * wanted.sum()
    assert raster.measured.sum() == sweep.table().num_rows < 0.4 * raster.outcome.size
    assert raster.inferred is not None
    assert np.array_equal(raster.known, raster.measured | raster.inferred)
    assert np.array_equal(labels(raster, "trainable")[raster.measured], truth[raster.measured])
    assert np.isnan(raster.loss[raster.inferred]).all()


class Stripes(Disc):
    """By x: not improved, diverged, not improved, trained; the border of one label is straight."""

    def record(self, point):
        at = np.log10(point.x) + 4  # 0 to 4
        losses = np.array([2.0, 1.0 if at > 3.3 else 3.0])
        diverged = 1 if 0.6 < at < 1.4 else None
        return RunRecord.from_curve(
            losses[:diverged], Criterion(window=1), diverged_step=diverged,
            final_loss=1.0, steps=2, tokens_seen=2, seconds=0.0,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("boundary", "row"),
    [
        ("trainable", [9, 9, 9, 9, 9, 9, 9, 9, 6, 6, 6, 6, 6, 6, 0, 0, 0]),
        ("stable", [6, 6, 6, 2, 2, 2, 6, 6, 6, 6, 6, 6, 6, 4, 4, 4, 0]),
        ("broken", [9, 9, 9, 9, 9, 9, 9, 9, 6, 6, 6, 6, 6, 6, 0, 0, 0]),
    ],
)
def test_an_outcome_that_no_run_implies_is_left_open(make_sweep, boundary, row):
    stages = [{"grid": {"points": 5}}, {"refine": {"levels": 2, "audit": 0}}]
    made = make_sweep(Stripes(), stages=stages, label={"boundary": boundary, "window": 1})
    made.run("local")
    raster = made.raster()
    assert (labels(raster, boundary) != UNKNOWN).all()
    assert raster.outcome[2].tolist() == row
    # Every node's code allows its true outcome, and a node that was run has an exact code.
    records = [made.workload().record(Point(0, 0, 0, 0, x, 1e-2)) for x in raster.x]
    truth = [made.rule.outcome(each.outcome, each.losses, 0.0, 0.0) for each in records]
    for codes, measured in zip(raster.outcome, raster.measured, strict=True):
        for each, code in zip(truth, codes, strict=True):
            assert {each, each.stored} & {*POSSIBLE[code]}
        assert all(len(POSSIBLE[code]) == 1 for code in codes[measured])


@pytest.mark.parametrize("boundary", ["trainable", "stable"])
def test_labels_that_a_refinement_followed_are_those_of_its_cells(boundary):
    rng = np.random.default_rng(0)
    axis = Axis("a", "linear", 0.0, 1.0)
    for _ in range(200):
        outcome = rng.choice([0, 1, 2, UNKNOWN], size=(9, 9), p=[0.4, 0.2, 0.35, 0.05])
        outcome[rng.integers(9) :, rng.integers(9) :] = rng.integers(3)
        asked = rng.random((9, 9)) < rng.choice([0.0, 0.2, 0.6])
        asked[::4, ::4] = True
        nodes = axis.values(8)
        raster = Raster(
            outcome.astype(np.int8), np.ones((9, 9)), nodes, nodes, "a", "b", "linear", "linear"
        )
        filled = frame_data._infer(raster, Frame(0, axis, axis, 2, 2), 2, boundary, asked)
        iy, ix = np.nonzero(asked)
        given = labels(raster, boundary)[iy, ix]
        wanted, _ = infer_labels(ix, iy, given, cells_x=2, cells_y=2, levels=2)
        assert np.array_equal(labels(filled, boundary), wanted)
        assert np.array_equal(filled.known, wanted != UNKNOWN)


def test_a_grid_below_it_is_still_a_grid(sweep):
    raster = sweep.raster(coarse=True)
    assert raster.outcome.shape == (17, 17)
    assert raster.inferred is None
    assert raster.known.all()


def test_the_same_command_runs_nothing_again(sweep):
    before = sweep.table().num_rows
    progress = Sweep(sweep.spec).run(engine="local")
    assert (progress.done, progress.reused, sweep.table().num_rows) == (before, before, before)


def test_a_sweep_cut_short_goes_on_to_the_same_points(sweep, tmp_path):
    short = Sweep(parse_spec(_raw(tmp_path, [GRID, {"refine": {"levels": 2, "audit": 0.1}}])))
    short.run(engine="local")
    assert short.table().num_rows < sweep.table().num_rows
    longer = Sweep(parse_spec(_raw(tmp_path, [GRID, {"refine": {"levels": 4, "audit": 0.1}}])))
    assert read_frame(longer).replayed is None
    longer.run(engine="local")
    assert set(sweep.table()["point_id"].to_pylist()) <= set(longer.table()["point_id"].to_pylist())


def test_analysis_tells_what_was_run_and_what_the_audit_saw(sweep):
    result, _ = analyze(sweep)
    assert result.measured_nodes == result.points
    assert result.unknown_nodes == 0
    assert result.audit is not None
    assert result.audit.audited > 0
    text = "\n".join(result.lines())
    assert f"lattice of 66,049 nodes: {result.points:,} run (" in text
    assert f"audit: {result.audit.surprises} of " in text
    assert "boundary cells corrected for that: " in text
    assert result.to_dict()["audit"]["skipped"] == result.audit.skipped


def test_status_counts_points_without_promising_a_number(sweep):
    status = read_status(sweep)
    assert (status.points, status.planned, status.others) == (sweep.table().num_rows, None, 0)
    assert status.lines()[0].startswith(f"refined: {status.points} points (")


def test_a_plan_prices_borders_of_several_dimensions(sweep):
    stage = estimate_cost(sweep.spec).stages[1]
    assert stage.by_dimension is not None
    assert list(stage.by_dimension) == [1.0, 1.3, 1.6]
    assert stage.runs == stage.by_dimension[1.3]
    assert sorted(stage.by_dimension.values()) == list(stage.by_dimension.values())


def test_a_border_that_crosses_once_costs_what_the_plan_says(tmp_path):
    raw = _raw(tmp_path, [GRID, {"refine": {"levels": 4}}])
    raw["workload"] = {"kind": "map", "set": "line"}
    raw["axes"] = {
        side: {"param": side, "scale": "linear", "min": -1.0, "max": 1.0} for side in "xy"
    }
    sweep = Sweep(parse_spec(raw))
    sweep.run(engine="local")
    spent = sweep.table().num_rows - 17 * 17
    planned = estimate_cost(sweep.spec).stages[1].by_dimension
    assert planned is not None
    assert planned[1.0] / 2 < spent < planned[1.0] * 2


def test_lines_and_pairs_join_the_dataset(tmp_path):
    stages = [
        GRID,
        {"refine": {"levels": 2}},
        {"transects": {"count": 3, "levels": 6, "dense": 4}},
        {"pairs": {"count": 20, "distances": [3, 6]}},
    ]
    sweep = Sweep(parse_spec(_raw(tmp_path, stages)))
    progress = sweep.run(engine="local")
    table = sweep.table()
    kinds = Counter(stage.split(":")[1] for stage in table["stage"].to_pylist())
    assert progress.done == table.num_rows == sum(kinds.values())
    assert set(kinds) == {"grid", "refine", "transects", "pairs"}
    assert kinds["pairs"] == 2 * 20 * 2
    assert kinds["transects"] >= 3 * (2**4 + 1)
    truth = known_set("weierstrass", {}).trained(table["x"].to_numpy(), table["y"].to_numpy())
    assert truth.tolist() == [outcome == "trained" for outcome in table["outcome"].to_pylist()]
    # The map is that of the last lattice, and nothing is run again.
    assert sweep.raster().outcome.shape == (65, 65)
    assert analyze(sweep)[0].audit is not None
    assert read_status(sweep).others == 0
    assert [stage.nodes is None for stage in estimate_cost(sweep.spec).stages] == [False] * 2 + [
        True
    ] * 2
    assert estimate_cost(sweep.spec).stages[3].runs == 80
    assert Sweep(sweep.spec).run(engine="local").reused == table.num_rows


def test_the_small_map_takes_points_that_are_no_nodes():
    frame = Frame(5, Axis("a", "log", 1e-4, 1.0), Axis("b", "linear", 0.0, 1.0), 3, 3)
    live = Thumbnail()
    for number, (x, y) in enumerate([(1e-4, 0.0), (1.0, 1.0), (1.1e-2, 0.4)]):
        live.put({5: frame}, Point(5, 40, 10**6 + number, 7, x, y), Outcome.DIVERGED)
    narrow = Axis("a", "log", 1e-3, float(np.nextafter(1e-3, 1)))
    assert narrow.fraction(narrow.max) == 1.0
    rows = np.array(live.rows(frame))
    assert np.argwhere(rows == 2).tolist() == [[0, 0], [1, 2], [3, 3]]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([GRID, {"pairs": {"distances": [3, 3]}}], r"distances must differ; given \[3, 3\]"),
        ([GRID, {"transects": {"levels": 0}}], "greater than or equal to 1"),
        ([{"pairs": {"count": 3}}], "the first stage must be a grid; given pairs"),
        ([{"refine": {"levels": 2}}], "the first stage must be a grid; given refine"),
        ([GRID, {"refine": {"levels": 2}}, {"refine": {"levels": 3}}], "must follow a grid"),
        ([GRID, {"refine": {"levels": 10}}], "10 levels make 16,384 cells a side; at most 8,192"),
        ([GRID, {"refine": {"levels": 0}}], "greater than or equal to 1"),
        ([GRID, {"refine": {"levels": 1, "halo": 3}}], "stages.1.refine.halo"),
        ([GRID, {"refine": {"levels": 1, "audit": 2}}], "less than or equal to 1"),
        ([GRID, {"refine": {"level": 1}}], "stages.1.refine.level: unknown key; did you mean"),
        ([{**GRID, "refine": {"levels": 1}}], "exactly one of grid, refine, zoom, transects"),
        ([{}], "pairs; given none"),
    ],
)
def test_mistakes_are_named(tmp_path, stages, words):
    with pytest.raises(SweepError, match=words):
        parse_spec(_raw(tmp_path, stages))


def test_a_lattice_finer_than_its_numbers_is_refused(tmp_path):
    raw = _raw(tmp_path, [GRID, {"refine": {"levels": 4}}])
    raw["axes"]["x"] |= {"min": 1.0, "max": 1.0 + 2**-46}
    with pytest.raises(SweepError, match=r"x: 257 nodes are 65 different float64"):
        parse_spec(raw)
    assert parse_spec({**raw, "allow_unresolved": True}).plan.level(1) == 4


def test_a_learning_rate_is_as_fine_as_float32():
    # The window of arXiv 2501.04286 in which 150 rates are one float32.
    changes = ["axes.x.min=0.1020022", "axes.x.max=0.10200220149", "axes.x.scale=linear"]
    changes += ["stages.0.grid.points=150"]
    with pytest.raises(SweepError, match="unembedding_lr: 150 nodes are 1 different float32"):
        load_spec("sweeps/quickstart.yaml", changes)
    assert load_spec("sweeps/quickstart.yaml", [*changes, "allow_unresolved=true"])


@pytest.mark.parametrize("stage", [{"transects": {}}, {"pairs": {}}])
def test_axes_of_whole_numbers_have_no_lines(stage):
    changes = [f"stages=[{{grid: {{points: 3}}}}, {stage}]", "axes.x.param=num_tokens"]
    changes += ["axes.x.min=100", "axes.x.max=10000"]
    with pytest.raises(SweepError, match=f"{next(iter(stage))} needs axes without gaps"):
        load_spec("sweeps/quickstart.yaml", changes)
