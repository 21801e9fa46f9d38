"""Sweeps and their folders: identity, whose data it is, rasters, relabelling, cost, analysis."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import fractal_ray.analysis.status
from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.status import failure_groups, read_status
from fractal_ray.analysis.summary import analyze
from fractal_ray.analysis.verify.kept_sheet import gather, sample_of, sheet_path
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.boundary import OUTCOME_CODES
from fractal_ray.plane.identity import PointIdentity
from fractal_ray.plane.outcome import Outcome
from fractal_ray.spec.cost import estimate_cost
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Prepared
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.sample_workloads import Disc, Flaky

Maker = Callable[..., Sweep]


def point(x: float, y: float) -> Point:
    return Point(0, 0, 0, 0, x, y)


class TestIdentity:
    recipe: ClassVar = {"matrix_lr": -1.0, "unembedding_lr": -1.0, "num_tokens": 1000, "seed": 1}

    def test_axes_may_be_swapped(self) -> None:
        one = PointIdentity("f", self.recipe, "matrix_lr", "unembedding_lr")
        two = PointIdentity("f", self.recipe, "unembedding_lr", "matrix_lr")
        assert one(point(0.1, 0.2)) == two(point(0.2, 0.1)) != one(point(0.2, 0.1))

    def test_a_fixed_setting_and_a_swept_one_are_the_same(self) -> None:
        one = PointIdentity("f", {**self.recipe, "seed": 4}, "matrix_lr", "unembedding_lr")
        two = PointIdentity("f", {**self.recipe, "unembedding_lr": 0.2}, "matrix_lr", "seed")
        assert one(point(0.1, 0.2)) == two(point(0.1, 4.0))

    def test_everything_counts(self) -> None:
        base = PointIdentity("f", self.recipe, "matrix_lr", "unembedding_lr")
        seeded = PointIdentity("f", {**self.recipe, "seed": 2}, "matrix_lr", "unembedding_lr")
        other = PointIdentity("g", self.recipe, "matrix_lr", "unembedding_lr")
        next_up = point(np.nextafter(0.1, 1), 0.2)
        ids = [
            base(point(0.1, 0.2)),
            base(next_up),
            seeded(point(0.1, 0.2)),
            other(point(0.1, 0.2)),
        ]
        assert len(set(ids)) == 4

    def test_it_never_changes(self) -> None:
        identity = PointIdentity("f", self.recipe, "matrix_lr", "unembedding_lr")
        assert identity(point(0.1, 0.2)) == "53ba7d89be2c4d0fd96febcdbb79e775"


def test_a_folder_of_another_sweep_is_named_and_left_alone(make_sweep: Maker) -> None:
    make_sweep().run("local")
    axes = raw_spec()["axes"]
    other = make_sweep(axes={**axes, "x": {**axes["x"], "max": 2.0}})
    before = {p: p.read_bytes() for p in Path(other.location).rglob("*") if p.is_file()}
    with pytest.raises(SweepError) as caught:
        other.run("local")
    assert other.location in str(caught.value)
    assert "axes.x.max is 1.0 there, 2.0 here" in str(caught.value)
    assert before == {p: p.read_bytes() for p in Path(other.location).rglob("*") if p.is_file()}


def test_another_model_is_another_sweep(make_sweep: Maker) -> None:
    class Other(Disc):
        def prepare(self) -> Prepared:
            return dataclasses.replace(super().prepare(), fingerprint="other")

    make_sweep().run("local")
    with pytest.raises(SweepError, match="the arithmetic of this version differ"):
        make_sweep(Other()).run("local")


def test_a_dataset_without_its_header_is_not_taken(make_sweep: Maker) -> None:
    sweep = make_sweep()
    sweep.run("local")
    (Path(sweep.location) / "sweep.json").unlink()
    with pytest.raises(SweepError, match=r"without sweep\.json"):
        make_sweep().run("local")


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"spec": 3}', '{"spec": {}, "axe'])
def test_a_damaged_header_is_named(make_sweep: Maker, text: str) -> None:
    sweep = make_sweep()
    sweep.run("local")
    (Path(sweep.location) / "sweep.json").write_text(text)
    for use in (lambda: make_sweep().run("local"), lambda: Sweep.open(sweep.location)):
        with pytest.raises(SweepError, match=r"sweep\.json is damaged"):
            use()


def test_storage_that_is_a_file(make_sweep: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match=r"cannot write to .*file"):
        make_sweep(storage=str(tmp_path / "file")).run("local")


def test_a_uri_is_a_place_like_any_other(make_sweep: Maker, tmp_path: Path) -> None:
    sweep = make_sweep(storage=f"file://{tmp_path}/far")
    assert sweep.run("local").done == 81
    assert Sweep.open(f"file://{tmp_path}/far/disc").table().num_rows == 81
    assert (tmp_path / "far" / "disc" / "sweep.json").is_file()


def test_stages_label_and_resources_may_change(make_sweep: Maker) -> None:
    make_sweep(stages=[{"grid": {"points": 3}}]).run("local")
    progress = make_sweep(
        stages=[{"grid": {"points": 3}}, {"grid": {"points": 5}}],
        label={"threshold": 0.9},
        points_per_tile=2,
    ).run("local")
    # The finer lattice shares the 9 runs of the first stage.
    assert (progress.reused, progress.done, progress.shared_nodes) == (9, 25, 9)


@pytest.mark.parametrize("tile", ["auto", 1, 50])
def test_rows_name_the_stage_that_asked_first(make_sweep: Maker, tile: str | int) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": n}} for n in (2, 3, 5)], points_per_tile=tile)
    sweep.run("local")
    stages = sweep.table().column("stage").to_pylist()
    counts = {stage: stages.count(stage) for stage in stages}
    assert counts == {"0:grid": 4, "1:grid": 5, "2:grid": 16}


def test_raster_shows_the_disc(make_sweep: Maker) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": [17, 9]}}])
    sweep.run("local")
    raster = sweep.raster()
    assert raster.outcome.shape == (9, 17)
    radius = np.hypot(np.log10(raster.x)[None, :] + 2, np.log10(raster.y)[:, None] + 2)
    assert np.array_equal(raster.outcome == OUTCOME_CODES[Outcome.DIVERGED], radius > 1.9)
    assert (raster.outcome[radius < 0.9] == OUTCOME_CODES[Outcome.TRAINED]).all()
    middle = raster.outcome[(radius > 1.1) & (radius < 1.8)]
    split = [OUTCOME_CODES[outcome] for outcome in (Outcome.TOO_SLOW, Outcome.DEGRADED)]
    assert np.isin(middle, split).all()


def test_another_threshold_labels_the_same_runs_again(make_sweep: Maker) -> None:
    loose, strict = make_sweep(label={"threshold": 1.0}), make_sweep(label={"threshold": 0.8})
    loose.run("local")
    assert strict.run("local").reused == 81
    trained = {
        name: int((sweep.raster().outcome == 0).sum())
        for name, sweep in (("loose", loose), ("strict", strict))
    }
    assert 0 < trained["strict"] < trained["loose"]


def test_open_by_folder(make_sweep: Maker, tmp_path: Path) -> None:
    sweep = make_sweep()
    sweep.run("local")
    moved = tmp_path / "moved here"
    Path(sweep.location).rename(moved)
    again = Sweep.open(moved)
    assert again.table().num_rows == 81
    assert analyze(again)[0].points == 81
    strict = Sweep.open(moved, ("label.threshold=0.5",))
    assert analyze(strict)[0].outcomes["trained"] < analyze(again)[0].outcomes["trained"]
    with pytest.raises(SweepError, match="--storage goes with a spec"):
        Sweep.open(moved, ('storage="/elsewhere"',))
    with pytest.raises(SweepError, match="holds no sweep"):
        Sweep.open(tmp_path)


def test_analysis_of_a_disc_is_smooth(make_sweep: Maker) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": 65}}])
    sweep.run("local")
    result, _ = analyze(sweep, force=True)
    assert (result.verdict, result.dimension) == ("unverified", None)
    # 64 cells are too few for a number; the sheet then says how the lattice reads.
    assert result.estimates["raster"].warnings == ("2 scales are not enough for a dimension",)
    data = read_frame(sweep)
    sweep.run_checks(data.lattice.frame.id, sample_of(data, 90), engine="local")
    assert gather(data, sample_of(data, 90)).verdict == "consistent with smooth"
    assert result.unknown_nodes == 0
    assert sum(result.outcomes.values()) == 65 * 65
    assert json.loads(json.dumps(result.to_dict()))["name"] == "disc"


def test_analysis_of_nothing(make_sweep: Maker) -> None:
    result, raster = analyze(make_sweep())
    assert (result.dimension, result.estimates) == (None, {})
    assert result.verdict == "unverified"
    assert result.unknown_nodes == raster.outcome.size == 81


def test_status_counts(make_sweep: Maker, tmp_path: Path) -> None:
    sweep = make_sweep(Flaky(tmp_path, times=1), points_per_tile=3)
    sweep.run("local")
    status = read_status(sweep)
    assert (status.points, status.planned, status.failures) == (81, 81, 27)
    assert sum(status.outcomes.values()) == 81
    smaller = make_sweep(stages=[{"grid": {"points": 3}}])
    status = read_status(smaller)
    assert (status.points, status.planned, status.others) == (9, 9, 72)
    (group,) = failure_groups(sweep)
    assert group["count"] == status.failures
    assert "OSError: no route to host, visit 0" in group["traceback"]


def test_errors_that_differ_in_numbers_are_one_group(make_sweep: Maker, tmp_path: Path) -> None:
    sweep = make_sweep(Flaky(tmp_path, times=2))
    sweep.run("local")
    (group,) = failure_groups(sweep)
    assert group["count"] == sweep.store().read_failures().num_rows > 27


def test_status_is_counted_once(make_sweep: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": 3}}])
    sweep.run("local")
    first = read_status(sweep)
    with monkeypatch.context() as patch:
        patch.setattr(fractal_ray.analysis.status, "_count", None)
        assert read_status(sweep) == first
    assert sweep.location not in (Path(sweep.location) / "summary.json").read_text()
    relabelled = make_sweep(stages=[{"grid": {"points": 3}}], label={"threshold": 0.1})
    assert read_status(relabelled).outcomes != first.outcomes
    larger = make_sweep()
    larger.run("local")
    assert read_status(larger).points == 81
    (Path(sweep.location) / "summary.json").write_text("{half")
    assert read_status(larger).points == 81


class TestCost:
    def test_the_published_map(self) -> None:
        cost = estimate_cost(load_spec("sweeps/d20_docvqa_matrix_unembedding.yaml"))
        assert cost.runs == 4096
        assert cost.supervised_tokens == 4096 * 250_000
        assert cost.slot_hours == pytest.approx(4096 * 250_000 / 0.05 / 113_000 / 3600)

    def test_tokens_on_an_axis_are_added_up(self) -> None:
        axes = raw_spec()["axes"]
        tokens = {"param": "num_tokens", "min": 1000, "max": 4000}
        spec = parse_spec(
            raw_spec(axes={**axes, "x": tokens}, stages=[{"grid": {"points": [3, 2]}}])
        )
        assert estimate_cost(spec).supervised_tokens == 2 * (1000 + 2000 + 4000)

    def test_shared_nodes_run_once(self) -> None:
        grids = [{"grid": {"points": 3}}, {"grid": {"points": 5}}]
        assert [
            stage.runs for stage in estimate_cost(parse_spec(raw_spec(stages=grids))).stages
        ] == [
            9,
            16,
        ]
        axes = raw_spec()["axes"]
        few = {"param": "device_batch_size", "min": 1, "max": 3}
        spec = parse_spec(raw_spec(axes={**axes, "x": few}))
        assert estimate_cost(spec).runs == 3 * 9


def test_verify_keeps_the_sheet_of_a_frame(make_sweep: Maker) -> None:
    sweep = make_sweep()
    with pytest.raises(SweepError, match="is not finished"):
        sweep.verify(engine="local")
    sweep.run("local")
    sheet = sweep.verify(points=8, engine="local")
    assert [(check.check, check.runs) for check in sheet.evidence.flips] == [
        ("repeat", 8),
        ("nudge", 8),
    ]
    kept = json.loads(Path(sheet_path(sweep, 0)).read_text())
    assert (kept["frame"], kept["verdict"]) == (0, sheet.verdict)
    assert analyze(sweep)[0].verdict == sheet.verdict


def test_frames_by_number(make_sweep: Maker) -> None:
    sweep = make_sweep()
    assert list(sweep.frames) == [0]
    assert sweep.frame() == sweep.frame(0) == sweep.frames[0]
    with pytest.raises(SweepError, match=r"there is no frame 3; .* has 0$"):
        sweep.frame(3)


def test_names_of_version_0_1_warn_once(make_sweep: Maker) -> None:
    sweep = make_sweep()
    with pytest.warns(DeprecationWarning, match="is now Sweep.frames") as caught:
        assert sweep.lattices() == sweep.frames
    assert [each.filename for each in caught] == [__file__]
    with pytest.warns(DeprecationWarning, match=r"is now Sweep.frame\(number\)") as caught:
        assert sweep.lattice(0) == sweep.frame(0)
    assert [each.filename for each in caught] == [__file__]


def test_a_sweep_opened_with_skip_corrupt_leaves_damaged_parts_out(make_sweep: Maker) -> None:
    sweep = make_sweep()
    sweep.run("local")
    next(Path(sweep.location, "points").rglob("*.parquet")).write_bytes(b"damaged")
    with pytest.raises(SweepError, match="cannot be read"):
        sweep.table()
    readable = Sweep.open(sweep.location, skip_corrupt=True).table()
    assert readable.num_rows < 81
    with pytest.warns(DeprecationWarning, match=r"Sweep.open\(path, skip_corrupt") as caught:
        assert sweep.table(skip_corrupt=True) == readable
    assert [each.filename for each in caught] == [__file__]
