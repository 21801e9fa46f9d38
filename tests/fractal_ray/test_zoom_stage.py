"""The stage zoom from spec to dataset, on sets with known answers."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fractal_ray.analysis.status import frame_line, read_frames, read_status
from fractal_ray.analysis.summary import analyze, notes_on_zooms
from fractal_ray.cli.main import app
from fractal_ray.dataset.frames_file import read_zooms, to_bytes
from fractal_ray.engine.budget import Budget
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import boundary_cells, labels
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.plane.zoom import Zoom, zoom_in
from fractal_ray.planners.base import Planner
from fractal_ray.planners.bisect import BisectPlanner
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.side_by_side import SideBySide
from fractal_ray.planners.windows import densest, diverse
from fractal_ray.spec.cost import estimate_cost
from fractal_ray.spec.planning import make_program
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.workload import MapRunner, MapWorkload

GRID = {"grid": {"points": 17}}
REFINE = {"refine": {"levels": 3, "audit": 0.05}}


def _spec(storage: Path, *stages: dict[str, Any], **changes: Any) -> SweepSpec:
    return parse_spec(
        {
            "name": "zoomed",
            "storage": str(storage),
            "workload": {"kind": "map", "set": "weierstrass"},
            "axes": {
                "x": {"param": "x", "scale": "linear", "min": 0.0, "max": 1.0},
                "y": {"param": "y", "scale": "linear", "min": -0.5, "max": 0.5},
            },
            "stages": list(stages),
            **changes,
        }
    )


def _zoom(**settings: Any) -> dict[str, Any]:
    return {"zoom": {"points": 17, "factor": 8, **settings}}


def _chain(storage: Path, **changes: Any) -> SweepSpec:
    return _spec(storage, GRID, REFINE, _zoom(windows=2, depth=2, **changes), REFINE)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    made = Sweep(_chain(tmp_path_factory.mktemp("storage")))
    progress = made.run(engine="local")
    assert (progress.finished, progress.gave_up, progress.spent) == (True, 0, "")
    return made


def _zooms(sweep: Sweep) -> list[Zoom]:
    return read_zooms(sweep.store())


def test_each_frame_of_a_chain_is_cut_from_the_one_before(sweep: Sweep) -> None:
    zooms = {zoom.frame.id: zoom for zoom in _zooms(sweep)}
    assert {number: zoom.parent_id for number, zoom in zooms.items()} == {
        2000: 0,
        2001: 0,
        2002: 2000,
        2003: 2001,
    }
    for number, lattice in sweep.frames.items():
        if number == 0:
            continue
        parent = sweep.frames[zooms[number].parent_id].frame
        for inner, outer in ((lattice.frame.x, parent.x), (lattice.frame.y, parent.y)):
            assert outer.min <= inner.min < inner.max <= outer.max
            assert inner.max - inner.min == pytest.approx((outer.max - outer.min) / 8)
        assert (lattice.level, lattice.refinement) == (3, 3)


def test_every_frame_shows_the_border_that_is_there(sweep: Sweep) -> None:
    table = sweep.table()
    for number in sweep.frames:
        raster = sweep.raster(table, frame=number)
        truth = known_set("weierstrass").trained(*np.meshgrid(raster.x, raster.y))
        wanted = boundary_cells(truth.astype(np.int8)).mixed
        found = boundary_cells(labels(raster, "trainable")).mixed
        assert raster.outcome.shape == (129, 129)
        assert wanted.sum() > 100
        assert (found & wanted).sum() >= 0.98 * wanted.sum()


def test_the_densest_window_holds_the_most_border(sweep: Sweep) -> None:
    cells = boundary_cells(labels(sweep.raster(frame=0), "trainable")).mixed
    tables = np.pad(cells, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = tables[16:, 16:] - tables[:-16, 16:] - tables[16:, :-16] + tables[:-16, :-16]
    first = _zooms(sweep)[0]
    column, row = (round(share * 128) - 8 for share in (first.fx, first.fy))
    assert sums[row, column] == sums.max()


def test_the_same_command_runs_nothing_and_chooses_nothing_again(sweep: Sweep) -> None:
    before = sweep.store().read_text("frames.json")
    progress = Sweep(sweep.spec).run(engine="local")
    assert progress.done == progress.reused
    assert sweep.store().read_text("frames.json") == before


def test_the_file_holds_frames_bit_for_bit(sweep: Sweep) -> None:
    zooms = _zooms(sweep)
    assert to_bytes(zooms).decode() == sweep.store().read_text("frames.json")
    written = json.loads(to_bytes(zooms))
    assert written["zooms"][0]["rule"] == "densest"
    assert [Zoom.from_json(zoom) for zoom in written["zooms"]] == zooms


def test_analysis_status_and_figures_know_the_frames(sweep: Sweep) -> None:
    last, _ = analyze(sweep)
    first, _ = analyze(sweep, frame=2000)
    assert (last.frame, first.frame) == (2003, 2000)
    assert last.audit is not None
    assert "of these, frame 2003:" in last.lines()
    assert not [warning for warning in last.warnings if "frames" in warning]
    state = read_status(sweep)
    assert (state.planned, state.others, state.points) == (None, 0, sweep.table().num_rows)
    listed = read_frames(sweep)
    assert [each["frame"] for each in listed] == [0, 2000, 2001, 2002, 2003]
    assert sum(each["points"] for each in listed) >= sweep.table().num_rows
    assert frame_line(listed[1]).startswith("frame 2000 in 0 (densest): x 0.")
    with pytest.raises(SweepError, match=r"no frame 7; .* has 0, 2000, 2001, 2002, 2003"):
        sweep.raster(frame=7)


def test_the_plan_counts_all_frames(sweep: Sweep) -> None:
    stages = estimate_cost(sweep.spec).stages
    assert [(stage.name, stage.frames) for stage in stages] == [
        ("grid", 1),
        ("refine", 1),
        ("zoom", 4),
        ("refine", 4),
    ]
    assert stages[2].runs == 4 * 17 * 17
    assert stages[3].by_dimension is not None
    assert stages[1].by_dimension is not None
    assert stages[3].by_dimension[1.3] == pytest.approx(4 * stages[1].by_dimension[1.3], rel=1e-3)


def _drive(planner: Planner, rng: random.Random) -> set[Point]:
    """Answer with the truth, in an order of chance."""
    weierstrass = known_set("weierstrass")
    out: list[Point] = []
    asked: set[Point] = set()
    while not planner.done:
        new = planner.ask(rng.randrange(1, 200))
        asked.update(new)
        out += new
        rng.shuffle(out)
        told, out = out[: (some := rng.randrange(1, len(out) + 1))], out[some:]
        trained = weierstrass.trained(*(np.array([getattr(p, s) for p in told]) for s in "xy"))
        outcomes = [Outcome.TRAINED if yes else Outcome.DIVERGED for yes in trained]
        planner.tell(list(zip(told, outcomes, strict=True)))
    return asked


@settings(max_examples=8)
@given(st.integers(0, 2**32), st.sampled_from(["densest", "diverse", "boundary-point"]))
def test_frames_and_points_do_not_depend_on_the_order_of_answers(seed: int, pick: str) -> None:
    grid, refine = {"grid": {"points": 9}}, {"refine": {"levels": 2}}
    zoom = _zoom(points=9, factor=4, windows=2, depth=2, pick=pick)
    spec = _spec(Path("nowhere"), grid, refine, zoom, refine, {"pairs": {"count": 3}})
    one, other = make_program(spec), make_program(spec)
    assert _drive(one, random.Random(0)) == _drive(other, random.Random(seed))
    assert one.zooms == other.zooms
    assert len(one.zooms) == 4


class _Broken(MapWorkload):
    """A workload whose points in the right half fail, as on a broken machine."""

    def open(self, shared: None, device: str) -> MapRunner:
        return _BrokenRunner(known_set("weierstrass"))


class _BrokenRunner(MapRunner):
    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        if any(point.x > 0.5 for point in points):
            raise OSError("a broken machine")
        return super().evaluate(points)


def test_a_point_that_failed_and_succeeds_later_moves_no_frame(tmp_path: Path) -> None:
    spec = _spec(tmp_path, GRID, _zoom(pick="diverse", windows=2))
    first = Sweep(spec, _Broken("weierstrass")).run(engine="local", keep_going=True)
    assert first.gave_up > 0
    chosen = _zooms(Sweep(spec))
    assert len(chosen) == 2
    again = Sweep(spec)
    progress = again.run(engine="local")
    assert progress.gave_up == 0
    assert _zooms(again) == chosen
    fresh = Sweep(_spec(tmp_path, GRID, _zoom(pick="diverse", windows=2), name="fresh"))
    fresh.run(engine="local")
    assert _zooms(fresh) != chosen


def test_another_zoom_in_the_same_folder_is_refused_and_a_longer_chain_is_not(
    sweep: Sweep, tmp_path: Path
) -> None:
    spec = _chain(tmp_path)
    Sweep(spec).run(engine="local")
    with pytest.raises(SweepError, match=r"stage 2, a zoom, .* differs: seed was 0, now 1"):
        Sweep(_chain(tmp_path, seed=1)).run(engine="local")
    with pytest.raises(SweepError, match="that stage is gone"):
        Sweep(_spec(tmp_path, GRID, REFINE)).run(engine="local")
    longer = Sweep(_spec(tmp_path, GRID, REFINE, _zoom(windows=2, depth=3), REFINE))
    longer.run(engine="local")
    assert _zooms(longer)[:4] == _zooms(sweep)
    assert [zoom.parent_id for zoom in _zooms(longer)[4:]] == [2002, 2003]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    sweep = Sweep(_chain(tmp_path))
    sweep.run(engine="local")
    sweep.store().write_file("frames.json", b'{"zooms": [{"frame": 3}]}')
    with pytest.raises(SweepError, match=r"frames\.json is damaged \(.*\); restore it"):
        sweep.raster()


def test_a_border_point_is_found_in_fifty_runs_and_forty_frames_show_it(tmp_path: Path) -> None:
    zoom = _zoom(points=9, factor=2, depth=40, pick="boundary-point")
    sweep = Sweep(_spec(tmp_path, GRID, zoom))
    sweep.run(engine="local")
    table = sweep.table()
    runs = Counter(table["stage"].to_pylist())
    assert 40 <= runs["1:bisect"] <= 64
    zooms = _zooms(sweep)
    assert [zoom.parent_id for zoom in zooms] == [0, *range(1000, 1039)]
    shown = 0
    for zoom in zooms:
        given = labels(sweep.raster(table, frame=zoom.frame.id), "trainable")
        shown += boundary_cells(given).n_mixed > 0
    assert shown >= 36  # a spike of this border may be thinner than a cell
    width = zooms[-1].frame.x.max - zooms[-1].frame.x.min
    assert width == pytest.approx(2.0**-40, rel=1e-2)
    assert read_status(sweep).others == 0
    assert estimate_cost(sweep.spec).stages[1].runs == 40 * 81 + 50


def test_a_sequence_outwards_ends_as_wide_as_it_began(tmp_path: Path) -> None:
    zoom = _zoom(factor=2, depth=6, pick={"center": {"x": 0.3, "y": 0.1}}, direction="out")
    sweep = Sweep(_spec(tmp_path, GRID, zoom))
    sweep.run(engine="local")
    zooms = _zooms(sweep)
    widths = [zoom.frame.x.max - zoom.frame.x.min for zoom in zooms]
    assert widths == pytest.approx([2.0**-power for power in range(6, -1, -1)])
    assert {(zoom.rule, zoom.parent_id) for zoom in zooms} == {("center", 0)}
    assert (zooms[0].x, zooms[0].y) == (0.3, 0.1)
    assert len(zooms) == estimate_cost(sweep.spec).stages[1].frames == 7
    # The whole frame was run before: its points are not run again.
    assert Counter(sweep.table()["frame"].to_pylist())[1006] == 0


def test_a_zoom_cuts_from_the_zoom_before_it(tmp_path: Path) -> None:
    stages = [GRID, _zoom(windows=2, factor=4), _zoom(windows=2, factor=4)]
    sweep = Sweep(_spec(tmp_path, *stages))
    sweep.run(engine="local")
    assert [zoom.parent_id for zoom in _zooms(sweep)] == [0, 0, 1000, 1000, 1001, 1001]
    assert estimate_cost(sweep.spec).stages[2].frames == 4


def test_lines_lie_on_each_frame(tmp_path: Path) -> None:
    lines = {"transects": {"count": 2, "levels": 5, "dense": 4}}
    sweep = Sweep(_spec(tmp_path, GRID, _zoom(windows=2), lines))
    sweep.run(engine="local")
    frames = Counter(sweep.table()["frame"].to_pylist())
    assert min(frames[2000], frames[2001]) >= 2 * 17
    at = np.array(sweep.table()["frame"].to_pylist()) == 2001
    frame = sweep.frame(1001).frame
    x = sweep.table()["x"].to_numpy()[at]
    assert frame.x.min <= x.min() < x.max() <= frame.x.max


def test_where_no_border_is_there_is_no_frame(tmp_path: Path) -> None:
    inside = {
        "workload": {"kind": "map", "set": "disc"},
        "axes": {side: {"param": side, "scale": "linear", "min": 0, "max": 0.1} for side in "xy"},
    }
    sweep = Sweep(_spec(tmp_path, GRID, REFINE, _zoom(depth=3), REFINE, **inside))
    progress = sweep.run(engine="local")
    assert progress.finished
    assert list(sweep.frames) == [0]
    assert "stage 2, a zoom, has 0 of up to 3 frames" in "\n".join(analyze(sweep)[0].lines())


def test_a_budget_is_kept_to_the_point_and_leads_to_the_same_end(
    sweep: Sweep, tmp_path: Path
) -> None:
    spec = _chain(tmp_path)
    total = sweep.table().num_rows
    for points in (100, 289, 3000, total - 1):
        progress = Sweep(spec).run(engine="local", budget=Budget(points))
        assert (progress.finished, progress.spent) == (True, f"{points:,} points")
        assert Sweep(spec).table().num_rows == points
    progress = Sweep(spec).run(engine="local", budget=Budget(total))
    assert (progress.finished, progress.spent) == (True, "")
    ends = [set(each.table()["point_id"].to_pylist()) for each in (sweep, Sweep(spec))]
    assert ends[0] == ends[1]
    assert _zooms(Sweep(spec)) == _zooms(sweep)


MISTAKES = [
    ([_zoom(points=1)], r"stages\.1\.zoom\.points: must be at least 2"),
    ([_zoom(factor=1)], r"stages\.1\.zoom\.factor: input should be greater than 1"),
    ([_zoom(pick="dense")], r"stages\.1\.zoom\.pick: .* given 'dense'"),
    ([_zoom(pick={"center": {"x": 1.0}})], r"stages\.1\.zoom\.center\.y: missing"),
    ([_zoom(center={"x": 2, "y": 0})], r"stages\.1: the centre's x \(x\) is 2\.0; the frame goes"),
    ([_zoom(pick="center")], r"pick: center and center: \{x, y\} go together"),
    ([_zoom(center={"x": 0, "y": 0}, windows=2)], "a center has one window; given windows: 2"),
    ([_zoom(direction="out")], "direction: out needs a point that is known before"),
    ([_zoom(factor=17)], r"factor 17 makes .* known at 16 cells .* at most 16"),
    ([REFINE, _zoom(factor=17, depth=2)], r"stages\.2: factor 17 .* own frames, .* at 16 cells"),
    ([_zoom(windows=50, depth=19)], r"stages\.1: windows and depth make 950 frames; at most 900"),
    ([_zoom(depth=17)], r"8\^17 times narrower .* \(x in float64, 16 cells; y .* depth 16 is"),
    ([_zoom(factor=2, pick="boundary-point", depth=60)], "depth 49 is resolved"),
    ([_zoom(center=[0, 0])], r"stages\.1\.zoom\.center: takes a mapping of x, y; given \[0, 0\]"),
    ([_zoom(center={"x": 0, "y": 0}, pick={"center": {"x": 0, "y": 0}})], "center is given twice"),
    ([_zoom(points=9000)], r"stages\.1: 9,000 points a side; at most 8,193"),
    (
        [_zoom(windows=101, factor=16), _zoom(pick="boundary-point")],
        r"stages\.2: boundary-point looks for points in each of 101 frames; at most 100",
    ),
    ([_zoom(), _zoom(center={"x": 0.1, "y": 0.1})], r"stages\.2: a center lies on the axes"),
    (
        [_zoom(center={"x": 0.1, "y": 0.1}, direction="out"), _zoom()],
        r"stages\.2: stage 1 zooms out, .* a zoom cannot follow it",
    ),
]


@pytest.mark.parametrize(("stages", "message"), MISTAKES)
def test_mistakes_are_named(tmp_path: Path, stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(SweepError, match=message):
        _spec(tmp_path, GRID, *stages)


def test_whole_numbers_are_not_zoomed(tmp_path: Path) -> None:
    changes = {
        "workload": {"kind": "nanochat", "model": "preset:tiny", "data": {"source": "toy"}},
        "axes": {
            "x": {"param": "num_tokens", "scale": "log", "min": 64, "max": 4096},
            "y": {"param": "matrix_lr", "min": 1e-4, "max": 1},
        },
    }
    with pytest.raises(SweepError, match=r"stages\.1: zoom needs axes without gaps"):
        _spec(tmp_path, GRID, _zoom(), **changes)


def test_a_chain_deeper_than_its_arithmetic_runs_when_told_to(tmp_path: Path) -> None:
    zoom = _zoom(points=3, factor=2, depth=60, pick="boundary-point")
    sweep = Sweep(_spec(tmp_path, GRID, zoom, allow_unresolved=True))
    assert sweep.run(engine="local").finished
    widths = [zoom.frame.x.max - zoom.frame.x.min for zoom in _zooms(sweep)]
    assert 40 < len(widths) < 60  # it ends where a frame has one float64 only
    assert min(widths) > 0


def _frame(number: int) -> Frame:
    axis = Axis("x", "linear", 0.0, 1.0)
    return Frame(number, axis, axis, 2, 2)


def test_planners_side_by_side_are_asked_in_turn_and_told_their_own() -> None:
    both = SideBySide([GridPlanner(_frame(4)), GridPlanner(_frame(7))])
    assert (both.backlog, both.done, both.frame.id) == (18, False, 4)
    points = both.ask(12)
    assert [point.frame for point in points] == [4] * 9 + [7] * 3
    both.tell([(point, Outcome.TRAINED) for point in reversed(points)])
    assert (both.frame.id, both.backlog) == (7, 6)
    both.tell([(point, Outcome.TRAINED) for point in both.ask(100)])
    assert both.done
    assert SideBySide([]).done


def _plan(file: Path) -> str:
    result = CliRunner().invoke(app, ["plan", str(file)])
    assert result.exit_code == 0
    return result.output


def test_a_plan_counts_the_border_of_a_grid_that_was_run(tmp_path: Path) -> None:
    spec = _spec(tmp_path, GRID, REFINE, _zoom(depth=2), REFINE)
    file = tmp_path / "spec.yaml"
    file.write_text(spec.model_dump_json(exclude_none=True))
    before = _plan(file)
    assert "a border that crosses the frame once takes" in before
    assert "stage 2 zoom: up to 2 frames of 17 x 17 nodes, 578 points to run" in before
    assert "the deepest frames of stage 2, wherever they lie, resolve level 43" in before
    sweep = Sweep(spec)
    sweep.run(engine="local")
    cells = boundary_cells(labels(sweep.raster(frame=0, coarse=True), "trainable")).n_mixed
    assert f"from the {cells:,} boundary cells of the grid, run before: " in _plan(file)
    spent = Counter(sweep.table()["stage"].to_pylist())["1:refine"]
    priced = estimate_cost(spec, crossed=cells).stages[1].by_dimension
    assert priced is not None
    assert priced[1.3] < spent < 1.2 * priced[1.6]  # D = 1.415, and an estimate


def test_a_budget_is_a_limit_of_points_or_of_hours() -> None:
    assert Budget().room(10**9, 1e9) is None
    assert [Budget(10).room(points, 0.0) for points in (0, 9, 10, 12)] == [10, 1, 0, 0]
    hours = Budget(gpu_hours=2.0, gpu=0.5)
    assert hours.room(10**6, 4 * 3600 - 1) is None
    assert hours.room(0, 4 * 3600) == 0
    assert Budget(3, 2.0, 0.5).text() == "3 points and 2 GPU-hours"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(0), "--budget-points must be at least 1; given 0"),
        (Budget(None, -1.0, 1.0), "--budget-gpu-hours must be above 0; given -1"),
        (Budget(None, float("nan"), 1.0), "--budget-gpu-hours must be above 0; given nan"),
        (Budget(None, 1.0, 0.0), r"this sweep's slots take no GPU .*--budget-points"),
    ],
)
def test_budgets_that_cannot_be_meant(budget: Budget, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        budget.check()


def _change(content: dict[str, Any], *path: Any, to: Any) -> bytes:
    content = json.loads(json.dumps(content))
    at: Any = content
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return json.dumps(content).encode()


def _copy(sweep: Sweep, folder: Path) -> Sweep:
    shutil.copytree(sweep.location, folder / "zoomed")
    return Sweep(_chain(folder))


DAMAGES = [
    (("schema_version",), 99),
    (("zooms", 0, "frame"), "2000"),
    (("zooms", 0, "frame"), 2000.5),
    (("zooms", 0, "frame"), 7),
    (("zooms", 1, "frame"), 2000),
    (("zooms", 0, "cells"), ["16", 16]),
    (("zooms", 0, "cells"), [0, 16]),
    (("zooms", 0, "axes", "x", "low"), "NaN"),
    (("zooms", 0, "axes", "x", "low"), "5"),
    (("zooms", 0, "axes", "x", "min"), 0.5),
    (("zooms", 2, "parent"), 7000),
    (("zooms",), None),
]


@pytest.mark.parametrize(("path", "to"), DAMAGES)
def test_no_damage_to_the_file_is_a_traceback(
    sweep: Sweep, tmp_path: Path, path: tuple[Any, ...], to: Any
) -> None:
    copy = _copy(sweep, tmp_path)
    content = json.loads(copy.store().read_text("frames.json") or "")
    copy.store().write_file("frames.json", _change(content, *path, to=to))
    with pytest.raises(SweepError, match=r"frames\.json is damaged \("):
        _ = copy.frames


def test_a_file_that_is_no_text_or_of_another_spec_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    copy = _copy(sweep, tmp_path)
    content = json.loads(copy.store().read_text("frames.json") or "")
    copy.store().write_file("frames.json", b"\xff\xfe\x00")
    with pytest.raises(SweepError, match=r"frames\.json is not UTF-8 text \("):
        _ = copy.frames
    copy.store().write_file("frames.json", _change(content, "zooms", 0, "cells", to=[8, 16]))
    with pytest.raises(SweepError, match="frame 2000 has other axes or cells than stage 2"):
        copy.run(engine="local")


def test_without_the_file_another_zoom_is_refused_all_the_same(
    sweep: Sweep, tmp_path: Path
) -> None:
    copy = _copy(sweep, tmp_path)
    (tmp_path / "zoomed" / "frames.json").unlink()
    other = _spec(tmp_path, GRID, REFINE, _zoom(windows=2, depth=2, factor=4), REFINE)
    with pytest.raises(SweepError, match=r"stage 2, a zoom, .* differs: factor was 8\.0, now 4\.0"):
        Sweep(other).run(engine="local")
    copy.run(engine="local")
    assert _zooms(copy) == _zooms(sweep)  # chosen again, from the same labels


def test_the_depth_of_an_earlier_zoom_stays_once_a_later_one_has_frames(tmp_path: Path) -> None:
    later = _zoom(pick="boundary-point", factor=4)
    sweep = Sweep(_spec(tmp_path, GRID, _zoom(factor=4), later))
    sweep.run(engine="local")
    with pytest.raises(SweepError, match=r"stage 1, a zoom, .* differs: depth was 1, now 2"):
        Sweep(_spec(tmp_path, GRID, _zoom(factor=4, depth=2), later)).run(engine="local")
    before = sweep.table().num_rows
    sweep.run(engine="local")
    assert sweep.table().num_rows == before


def test_frames_chosen_by_another_label_are_said(sweep: Sweep) -> None:
    other = Sweep.open(sweep.location, ("label.boundary=stable", "label.window=7"))
    (said,) = notes_on_zooms(other.spec, _zooms(other))
    assert said.startswith("4 of 4 frames were chosen where the border of another label ran:")
    assert said.endswith("boundary 'trainable', window 20")
    assert notes_on_zooms(sweep.spec, _zooms(sweep)) == []


def test_runs_of_inner_frames_do_not_change_what_an_outer_frame_shows(
    sweep: Sweep, tmp_path: Path
) -> None:
    alone = Sweep(_spec(tmp_path, GRID, REFINE))
    alone.run(engine="local")
    outer, _ = analyze(sweep, frame=0)
    by_itself, _ = analyze(alone)
    for name in ("boundary_cells", "measured_nodes", "unknown_nodes", "audit"):
        assert getattr(outer, name) == getattr(by_itself, name), name
    assert outer.audit is not None
    assert outer.boundary_cells == outer.audit.found[-1]


def test_points_that_failed_once_leave_no_holes(tmp_path: Path) -> None:
    stages = (GRID, REFINE)
    Sweep(_spec(tmp_path, *stages), _Broken("weierstrass")).run(engine="local", keep_going=True)
    healed = Sweep(_spec(tmp_path, *stages))
    assert healed.run(engine="local").gave_up == 0
    assert healed.raster().known.all()


def test_a_learning_rate_is_bisected_to_the_last_float32() -> None:
    rates = Axis("unembedding_lr", "log", 1e-3, 1.0), Axis("matrix_lr", "log", 1e-3, 1.0)
    frame = Frame(0, *rates, 8, 8)
    planner = BisectPlanner(
        frame,
        [(frame.point(0, 2, 2), frame.point(0, 2, 6))],
        lambda outcome: outcome is Outcome.TRAINED,
        arithmetics=("float32", "float32"),
    )
    seen = []
    while not planner.done:
        (point,) = planner.ask(5)
        seen.append(float(np.float32(point.y)))
        outcome = Outcome.TRAINED if point.y < 0.0123 else Outcome.DIVERGED
        planner.tell([(point, outcome)])
    assert len(set(seen)) == len(seen) <= 26
    (bracket,) = planner.brackets()
    low, high = (np.float32(y) for y in bracket.y)
    assert np.nextafter(low, np.float32(1)) == high


@given(
    st.integers(4, 24),
    st.integers(4, 24),
    st.floats(1.1, 20),
    st.integers(0, 2**32),
    st.sampled_from(["densest", "diverse"]),
)
def test_every_window_holds_a_boundary_cell_and_none_overlap(
    ny: int, nx: int, factor: float, seed: int, pick: str
) -> None:
    assume(factor <= min(nx, ny))
    given = (np.random.default_rng(seed).random((ny + 1, nx + 1)) < 0.05).astype(np.int8)
    mixed = boundary_cells(given).mixed
    unit = Axis("x", "linear", 0.0, 1.0)
    frame = Frame(0, unit, unit, nx, ny)
    centres = densest(given, factor, 4) if pick == "densest" else diverse(given, factor, 4, seed)
    assert bool(centres) == bool(mixed.any())
    rows, columns = np.nonzero(mixed)
    boxes: list[tuple[float, ...]] = []
    for centre in centres:
        (made,) = zoom_in(frame, centre, factor, cells=(2, 2), first_id=1000, rule=pick)
        left, right, low, high = (
            made.frame.x.min,
            made.frame.x.max,
            made.frame.y.min,
            made.frame.y.max,
        )
        inside = (
            (columns / nx >= left - 1e-9)
            & ((columns + 1) / nx <= right + 1e-9)
            & (rows / ny >= low - 1e-9)
            & ((rows + 1) / ny <= high + 1e-9)
        )
        assert inside.any()
        for other in boxes:
            beside = left >= other[1] - 1e-9 or other[0] >= right - 1e-9
            assert beside or low >= other[3] - 1e-9 or other[2] >= high - 1e-9
        boxes.append((left, right, low, high))
