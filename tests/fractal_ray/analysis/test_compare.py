"""Two sweeps point by point, against differences that are known."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fractal_ray.analysis.compare import sweeps as module
from fractal_ray.analysis.compare.common_frames import same_place
from fractal_ray.analysis.compare.disagreement import (
    apart,
    correlation,
    outcome_table,
    steps_to_border,
    yes_difference,
)
from fractal_ray.analysis.compare.result import Comparison, Side
from fractal_ray.analysis.compare.sweeps import compare
from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.verify.kept_sheet import gather, keep, sample_of
from fractal_ray.cli.main import app
from fractal_ray.dimension.result import Estimate
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.run import NO_BUDGET
from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import save
from fractal_ray.figures.difference import difference_figure
from fractal_ray.plane.axes import Point
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.cut_axis import cut
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.label import LabelSpec
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Disc

MakeSweep = Callable[..., Sweep]


def sweep_of(
    folder: Path,
    name: str,
    known: str = "disc",
    *,
    points: int = 65,
    low: float = -1.5,
    high: float = 1.5,
    stages: list[dict[str, Any]] | None = None,
    label: dict[str, Any] | None = None,
    budget: Budget = NO_BUDGET,
    **parameters: float,
) -> Sweep:
    """Run a sweep of a known set."""
    axes = {s: {"param": s, "scale": "linear", "min": low, "max": high} for s in "xy"}
    raw = {
        "name": name,
        "storage": str(folder),
        "workload": {"kind": "map", "set": known, "parameters": parameters},
        "axes": axes,
        "stages": stages or [{"grid": {"points": points}}],
        "label": label or {},
    }
    sweep = Sweep(parse_spec(raw))
    sweep.run("local", budget=budget)
    return sweep


class Noisy(Disc):
    """A disc of which each run flips between trained and diverged with probability `p`."""

    def __init__(self, p: float, **recipe: Any) -> None:
        super().__init__()
        self.p, self.recipe = p, {**Disc.recipe, **recipe}

    def record(self, point: Point) -> RunRecord:
        inside = math.hypot(math.log10(point.x) + 2, math.log10(point.y) + 2) < 1
        flipped = random.Random(f"{point.ix} {point.iy}").random() < self.p
        outcome = Outcome.TRAINED if inside != flipped else Outcome.DIVERGED
        return RunRecord(outcome, final_loss=1.0)


def with_sheet(monkeypatch: pytest.MonkeyPatch, dimension: float | None, flips: int = 0) -> None:
    """Give every frame a sheet that allows a dimension and records 200 reruns."""
    rerun = {"check": "repeat", "runs": 200, "flips": flips, "low": flips / 300, "high": 0.02}
    sheet = {"verdict": "fractal", "dimension": dimension, "evidence": {"flips": [rerun]}}
    monkeypatch.setattr(module, "read_sheet", lambda data: sheet)


def test_a_sweep_and_itself_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of(tmp_path, "disc", points=129)
    with_sheet(monkeypatch, 1.0)
    found = compare(sweep, sweep)
    assert (found.agree.count, found.agree.total) == (129**2, 129**2)
    assert (found.to_yes, found.to_no, found.apart) == (0, 0, 0.0)
    assert found.correlation == pytest.approx(1)
    assert found.differences == ()
    assert found.yes_difference is not None
    assert found.yes_difference.low < 0 == found.yes_difference.value < found.yes_difference.high
    assert found.dimensions is not None
    apart = found.dimensions.difference
    assert apart.low < 0 == apart.value < apart.high
    assert found.dimensions.a.value == pytest.approx(1, abs=0.1)
    assert found.a.reruns[0][2] == "no more"
    assert "no setting differs" in found.lines()


@pytest.mark.parametrize(
    ("changed", "area"),
    [
        ({"radius": 1.1}, math.pi * (1.1**2 - 1) / 9),
        ({"radius": 1.02}, math.pi * (1.02**2 - 1) / 9),
        ({"centre_x": 0.2, "centre_y": -0.1}, 0.0),
    ],
)
def test_a_difference_of_areas_that_is_known(
    tmp_path: Path, changed: dict[str, float], area: float
) -> None:
    a, b = sweep_of(tmp_path, "a"), sweep_of(tmp_path, "b", **changed)
    found = compare(a, b).yes_difference
    assert found is not None
    assert found.low < area < found.high
    assert found.high - found.low < 0.1, "wide where gain and loss lie apart, as of a shift"


def test_a_border_that_was_shifted_is_as_far_apart(tmp_path: Path) -> None:
    cell = 3 / 64
    a = sweep_of(tmp_path, "a", "line", angle=90.0, offset=0.5 * cell)
    b = sweep_of(tmp_path, "b", "line", angle=90.0, offset=5.5 * cell)
    found = compare(a, b)
    assert found.apart == 5
    assert "half of either border lies within 5 cells of the other" in found.lines()
    one = "half of either border lies within 1 cell of the other"
    assert one in replace(found, apart=1.0).lines()
    assert found.yes_difference is not None
    assert found.to_yes == 5 * 65
    assert found.yes_difference.value == pytest.approx(5 / 65)
    assert found.yes_difference.low > 0
    # Three of the five columns that flipped are near A's border, all of them on one side of it.
    assert [share.count for share in found.a.flips] == [65, 65, 65, 130]


def test_labels_flipped_at_random(make_sweep: MakeSweep) -> None:
    stages = [{"grid": {"points": 65}}]
    a = make_sweep(Noisy(0.0), name="calm", stages=stages)
    b = make_sweep(Noisy(0.03, noise=0.03), name="noisy", stages=stages)
    for sweep in (a, b):
        sweep.run("local")
    found = compare(a, b)
    assert found.agree.low is not None
    assert found.agree.high is not None
    assert found.agree.low < 0.97 < found.agree.high
    for share in found.a.flips:
        assert share.low is not None
        assert share.high is not None
        assert share.low < 0.03 < share.high, "as many far from the border as on it"
    assert found.b.flips[0].count == found.to_yes + found.to_no, "each makes a border of its own"


def test_flips_on_the_border_beside_the_reruns_of_the_sheet(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [{"grid": {"points": 65}}]
    a = make_sweep(Noisy(0.0), name="calm", stages=stages)
    b = make_sweep(Noisy(0.2, noise=0.2), name="noisy", stages=stages)
    for sweep in (a, b):
        sweep.run("local")
    with_sheet(monkeypatch, None)
    found = compare(a, b)
    assert [verdict for _, _, verdict in found.a.reruns] == ["more"]
    said = "A run again: 0 of 200 = 0.0% (0.0% to 2.0%) changed; flips on its border are more than"
    assert said in "\n".join(found.lines())
    assert found.dimensions is None
    assert "the verdict on frame 0" in found.no_dimensions
    assert "which gives no dimension" in found.no_dimensions


def test_settings_that_differ_are_listed(make_sweep: MakeSweep) -> None:
    a = make_sweep(Noisy(0.0, final_lr_frac=1.0), name="constant")
    b = make_sweep(
        Noisy(0.0, final_lr_frac=0.0, seed=8), name="annealed", stages=[{"grid": {"points": 17}}]
    )
    for sweep in (a, b):
        sweep.run("local")
    found = compare(a, b)
    assert {each.key: (each.a, each.b) for each in found.differences} == {
        "workload.recipe.final_lr_frac": (1.0, 0.0),
        "workload.recipe.seed": (7, 8),
        "stages.0.grid.points": (9, 17),
    }
    assert (found.lattice, found.run_in_both, found.agree.count) == ((9, 9), 81, 81)
    said = "\n".join(found.lines())
    assert "9 x 9 nodes, 100.0% of A's 9 x 9 and 28.0% of B's 17 x 17" in said
    assert "workload.recipe.final_lr_frac: 1.0 | 0.0" in said


def test_grids_refinements_and_parts_of_the_axes_meet_at_equal_values(tmp_path: Path) -> None:
    refined = [{"grid": {"points": 17}}, {"refine": {"levels": 3}}]
    a = sweep_of(tmp_path, "a", stages=refined)
    b = sweep_of(tmp_path, "b", points=49)
    found = compare(a, b)
    assert found.lattice == (17, 17), "128 and 48 cells share those of 16"
    part = sweep_of(tmp_path, "part", points=33, low=0.0, high=1.5)
    found = compare(a, part)
    assert found.lattice == (33, 33)
    assert found.agree.count == found.agree.total == 33**2
    (note,) = found.notes
    assert note.endswith("nodes were not run in both: their cell's label stands for them")
    assert found.run_in_both + int(note.split()[0].replace(",", "")) == 33**2


def test_b_is_labelled_by_the_rule_of_a(make_sweep: MakeSweep) -> None:
    refined = [{"grid": {"points": 9}}, {"refine": {"levels": 2}}]
    a = make_sweep(name="a", stages=refined, label={"threshold": 0.6})
    b = make_sweep(name="b", stages=refined)
    for sweep in (a, b):
        sweep.run("local")
    found = compare(a, b)
    assert found.label["threshold"] == 0.6
    assert found.lattice == (9, 9), "B was refined along another border"
    assert found.agree.count == found.agree.total == 81
    assert "B has another label than A" in found.notes[0]
    assert found.notes[1] == "B was refined along another label's border; its grid is compared"
    assert "--frame 0 --set label.threshold=0.6" in found.no_dimensions
    under_07 = [  # as --set label.threshold does for both
        Sweep(sweep.spec.model_copy(update={"label": LabelSpec(threshold=0.7)})) for sweep in (a, b)
    ]
    found = compare(*under_07)
    assert [note[:13] for note in found.notes] == ["A was refined", "B was refined"]
    assert found.agree.count == found.agree.total == 81


def test_what_cannot_be_compared(make_sweep: MakeSweep, tmp_path: Path) -> None:
    nets, disc = make_sweep(), sweep_of(tmp_path, "b", points=5)
    with pytest.raises(SweepError, match="holds no runs yet; make them: fractal-ray run"):
        compare(nets, nets)
    with pytest.raises(SweepError, match=r"axis x is unembedding_lr \(log\) .* and x \(linear\)"):
        compare(nets, disc)
    away = sweep_of(tmp_path, "away", points=5, low=2.0, high=3.0)
    with pytest.raises(SweepError, match=r"\(x -1.5 to 1.5, .* have 0 x 0 nodes in common"):
        compare(disc, away)
    with pytest.raises(SweepError, match="there is no frame 7"):
        compare(disc, disc, frame=7)


def test_frames_that_zooms_chose_are_compared_where_they_are_the_same(tmp_path: Path) -> None:
    zoomed = [{"grid": {"points": 17}}, {"zoom": {"points": 9, "factor": 4}}]
    a = sweep_of(tmp_path, "a", stages=zoomed)
    b = sweep_of(tmp_path, "b", stages=zoomed, radius=0.8)
    assert a.frame(1000).frame.y != b.frame(1000).frame.y
    found = compare(a, b)
    assert (found.a.frame, found.b.frame) == (0, 0)
    (note,) = found.notes
    assert note.startswith("the last frame that is the same in both is 0; the last is 1000 in A")
    assert compare(a, b, frame=0).notes == ()
    found = compare(a, a)
    assert (found.a.frame, found.lattice, found.notes) == (1000, (9, 9), ())


def test_frames_are_the_same_place_where_their_nodes_are(tmp_path: Path) -> None:
    """Compare frames cut in different ways: exact ends may differ although no node does."""
    whole = sweep_of(tmp_path, "a", points=9, low=0.0, high=1.0).frame()
    axis = whole.frame.x
    low, high = Decimal(0), Decimal(1)

    def frame(top: Decimal, cells: int = 8) -> SweepFrame:
        x = cut(axis, low, top)
        return replace(whole, frame=replace(whole.frame, x=x, cells_x=cells))

    assert same_place(whole, frame(high))
    assert same_place(whole, frame(high + Decimal("1e-30"), cells=24))
    assert not same_place(whole, frame(high + Decimal("1e-3")))
    wide = Decimal(1) + Decimal("1.1e-16")  # rounds to the same end, not to the same nodes
    assert frame(wide).frame.x.max == 1.0
    assert not same_place(whole, frame(wide))


REFINED = [{"grid": {"points": 17}}, {"refine": {"levels": 3}}]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep_of(tmp_path_factory.mktemp("full"), "full", "newton", stages=REFINED)


@pytest.mark.parametrize(("points", "both"), [(700, 289), (100, 100)])
def test_of_an_unfinished_sweep_only_runs_of_its_grid_count(
    full: Sweep, tmp_path: Path, points: int, both: int
) -> None:
    """Compare only grid runs: cells that a refinement has not reached get wrong labels."""
    part = sweep_of(tmp_path, "part", "newton", stages=REFINED, budget=Budget(points))
    for a, b, letter in ((full, part, "B"), (part, full, "A")):
        found = compare(a, b)
        assert found.notes == (f"{letter} is not finished: only runs of its grid are compared",)
        assert found.lattice == (17, 17)
        assert (found.agree.count, found.agree.total, found.run_in_both) == (both, both, both)
        assert found.apart == 0.0
        assert f"frame 0 of {part.location} is not finished" in found.no_dimensions
    assert compare(full, full).notes[0].endswith("their cell's label stands for them")


def test_stages_on_a_frame_that_are_not_finished_are_named(tmp_path: Path) -> None:
    stages = [{"grid": {"points": 9}}, {"pairs": {"count": 20, "distances": [2]}}]
    part = sweep_of(tmp_path, "part", stages=stages, budget=Budget(90))
    found = compare(part, part)
    assert found.notes == ("A is not finished: 1:pairs", "B is not finished: 1:pairs")
    assert found.agree.total == 81


def test_parts_that_are_left_out_are_told(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "a", points=9)
    (part,) = Path(sweep.location).rglob("part-*.parquet")
    part.with_name("part-0-bad.parquet").write_bytes(b"nothing")
    with pytest.raises(SweepError, match="cannot be read"):
        compare(sweep, sweep)
    found = compare(*[Sweep(sweep.spec, skip_corrupt=True)] * 2)
    assert found.notes == tuple(f"parts of {s} cannot be read and are left out" for s in "AB")
    assert [found.to_dict()[side]["parts_left_out"] for side in "ab"] == [1, 1]
    assert compare(*[sweep_of(tmp_path, "b", points=9)] * 2).a.parts_left_out == 0


def test_another_threshold_without_loss_curves_is_told(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "a", points=9)
    other = Sweep.open(sweep.location, ("label.threshold=0.5",))
    assert compare(other, other).notes == tuple(
        f"{letter} has no loss curves: its outcomes are as they were found" for letter in "AB"
    )
    stable = Sweep.open(sweep.location, ("label.boundary=stable",))
    assert compare(stable, stable).notes == (), "that needs no curves"


def test_a_side_without_a_border_has_no_distances_to_it(tmp_path: Path) -> None:
    a, b = sweep_of(tmp_path, "a", points=9), sweep_of(tmp_path, "b", points=9, radius=9.0)
    lines = compare(a, b).lines()
    assert "  B has no border on the nodes that both know" in lines
    (said,) = (line for line in lines if "by distance to" in line)
    assert said.startswith("  by distance to A's border: on it ")


def test_the_interval_of_a_difference_takes_unequal_arms() -> None:
    """Check MOVER: below, B's lower arm with A's upper: 0.3 and 0.4; above, 0.04 and 0.03."""
    lower, upper = (
        Estimate("a", value, interval, "cells", (2.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0,), 9, ())
        for value, interval in ((1.2, (1.17, 1.6)), (1.5, (1.2, 1.54)))
    )
    found = module._difference(lower, upper).difference
    assert (found.value, found.low, found.high) == pytest.approx((0.3, -0.2, 0.35))


def mirrored(found: Comparison) -> dict[str, Any]:
    """Compute the result that the comparison of B with A must have."""
    told = found.to_dict()
    told["a"], told["b"] = told["b"], told["a"]
    told["to_yes"], told["to_no"] = told["to_no"], told["to_yes"]
    told["outcomes"] = [list(row) for row in zip(*told["outcomes"], strict=True)]
    told["differences"] = [
        {"key": each["key"], "a": each["b"], "b": each["a"]} for each in told["differences"]
    ]
    for each in (told["yes_difference"], told["dimensions"]["difference"]):
        each["value"], each["low"], each["high"] = -each["value"], -each["high"], -each["low"]
    dimensions = told["dimensions"]
    dimensions["a"], dimensions["b"] = dimensions["b"], dimensions["a"]
    return told


def rounded(value: Any) -> Any:
    """Round the numbers of plain data to 12 digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(value, 12) + 0.0 if isinstance(value, float) else value


def test_the_other_way_round_is_the_mirror_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = sweep_of(tmp_path, "a", "weierstrass", points=129, low=0.0, high=1.0)
    b = sweep_of(tmp_path, "b", "weierstrass", points=129, low=0.0, high=1.0, stretch_y=1.6)
    with_sheet(monkeypatch, 1.4)
    one, other = compare(a, b), compare(b, a)
    assert one.dimensions is not None
    assert one.to_yes != one.to_no
    assert rounded(other.to_dict()) == rounded(mirrored(one))


maps = st.integers(2, 12).flatmap(
    lambda side: st.tuples(
        *2 * [st.lists(st.sampled_from([-1, 0, 1]), min_size=side**2, max_size=side**2)]
    )
)


@given(maps)
def test_numbers_of_any_two_maps_mirror_each_other(two: tuple[list[int], list[int]]) -> None:
    side = math.isqrt(len(two[0]))
    a, b = (np.array(each, dtype=np.int8).reshape(side, side) for each in two)
    both = (a >= 0) & (b >= 0)
    there, back = yes_difference((a, b), both), yes_difference((b, a), both)
    assert (there is None) == (back is None) == (not both.any())
    if there is not None and back is not None:
        assert (there.value, there.low, there.high) == pytest.approx(
            (-back.value, -back.high, -back.low)
        )
        assert there.low <= there.value <= there.high
    table = np.array(outcome_table(a[both], b[both]))
    assert (table == np.array(outcome_table(b[both], a[both])).T).all()
    assert table.sum() == both.sum()
    assert correlation(a[both], b[both]) == pytest.approx(correlation(b[both], a[both]))
    cells = boundary_cells(a).mixed, boundary_cells(b).mixed
    assert apart(*cells) == apart(*cells[::-1])
    corner = steps_to_border(a) == 0
    assert corner.any() == cells[0].any()


def test_dimensions_on_scales_of_their_own_lattice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_sheet(monkeypatch, 1.0)
    fine = sweep_of(tmp_path, "fine", stages=[{"grid": {"points": [257, 129]}}])
    coarse = sweep_of(tmp_path, "coarse", points=129)
    found = compare(fine, coarse).dimensions
    assert found is not None
    assert found.a == found.b, "both of the 129 x 129 nodes that they share"
    tiny = sweep_of(tmp_path, "tiny", points=17)
    none = compare(fine, tiny)
    assert none.dimensions is None
    assert "too small" in none.no_dimensions


@pytest.mark.slow
@pytest.mark.timeout(600)  # two verification sheets
def test_dimensions_of_sweeps_with_sheets_of_their_own(tmp_path: Path) -> None:
    stages = [{"grid": {"points": 33}}, {"refine": {"levels": 5}}]
    sweeps = []
    for name, stretch in (("a", 1.5), ("b", 1.6)):
        shape = {"stages": stages, "low": 0.0, "high": 1.0, "stretch_y": stretch}
        sweep = sweep_of(tmp_path, name, "weierstrass", **shape)
        data = read_frame(sweep)
        sample = sample_of(data)
        sweep.run_checks(data.lattice.frame.id, sample, engine="local")
        keep(data, gather(data, sample))
        sweeps.append(sweep)
    found = compare(*sweeps)
    assert found.dimensions is not None, found.no_dimensions
    assert found.dimensions.a.method == "box counting of refined levels"
    apart = found.dimensions.difference
    assert apart.low < -math.log2(1.6 / 1.5) < apart.high
    assert [check for check, _, _ in found.a.reruns] == ["repeat", "nudge"]
    itself = compare(sweeps[0], sweeps[0]).dimensions
    assert itself is not None
    assert itself.difference.low < 0 == itself.difference.value < itself.difference.high


def test_no_dimension_without_sheets(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "two words", "disc", points=17)
    found = compare(sweep, sweep)
    assert found.dimensions is None
    command = f"fractal-ray verify '{sweep.location}' --frame 0"
    assert found.no_dimensions.count(command) == 1
    assert found.lines()[-1].startswith("dimensions are not compared: frame 0 of")


def test_the_command_its_figure_and_a_notebook(tmp_path: Path) -> None:
    folder = tmp_path / "<i>"
    a, b = sweep_of(folder, "a", points=17), sweep_of(folder, "b", points=17, radius=1.2)
    out = tmp_path / "figures" / "difference.png"
    done = CliRunner().invoke(app, ["compare", a.location, b.location, "--output", str(out)])
    assert done.exit_code == 0, done.output
    assert "workload.parameters.radius: not given | 1.2" in done.output
    assert "outcomes, A down, B across" in done.output
    assert f"figure: {out}" in done.output
    assert out.stat().st_size > 20_000
    told = json.loads(CliRunner().invoke(app, ["compare", a.location, b.location, "--json"]).stdout)
    assert told["to_yes"] + told["to_no"] == 289 - told["agree"]["count"] > 0
    assert sum(map(sum, told["outcomes"])) == 289
    other = CliRunner().invoke(app, ["compare", a.location, "nowhere"])
    assert isinstance(other.exception, SweepError)
    shown = compare(a, b)._repr_html_()
    assert shown.count("<tr>") == 4
    assert "<i>" not in shown


def test_the_figure_shows_what_one_side_does_not_know(tmp_path: Path) -> None:
    a, b = sweep_of(tmp_path, "a", points=17), sweep_of(tmp_path, "b", points=17, radius=1.2)
    found = compare(a, b)
    outcome = found.rasters[0].outcome.copy()
    outcome[:5, :5] = -1
    holed = replace(found, rasters=(replace(found.rasters[0], outcome=outcome), found.rasters[1]))
    figure = difference_figure(holed, colors="safe")
    legend = figure.axes[2].get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert [name.split(" (")[0] for name in names] == [
        "both not trainable",
        "both trainable",
        "trainable in A alone",
        "trainable in B alone",
        "not known",
    ]
    counts = [int(name.split("(")[1][:-1].replace(",", "")) for name in names]
    assert sum(counts) == 289
    assert counts[-1] == 25
    save(figure, tmp_path / "holed.png")


def test_a_comparison_is_plain_data(tmp_path: Path) -> None:
    found = compare(*2 * (sweep_of(tmp_path, "a", points=9),))
    assert isinstance(found.a, Side)
    assert json.loads(json.dumps(found.to_dict()))["lattice"] == [9, 9]
