"""Every kind of figure of the shipped datasets: as stored, the same bytes again, or refused."""

import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from typer.testing import CliRunner

from fractal_ray.analysis.frame_data import FrameData, read_frame
from fractal_ray.analysis.series import Entry
from fractal_ray.cli.main import app
from fractal_ray.dimension.audit import AuditReport
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.figures.against import against_figure
from fractal_ray.figures.canvas import FORMATS, save
from fractal_ray.figures.catalog import KINDS, draw
from fractal_ray.figures.maps import outcome_map
from fractal_ray.figures.profile import line_of
from fractal_ray.figures.profile_plot import curves_figure
from fractal_ray.figures.scaling_plots import levels_figure, scaling_figure
from fractal_ray.figures.single_maps import boundary_map, loss_map
from fractal_ray.figures.tiles import Filled, draw_tiles, filled
from fractal_ray.plane.boundary import Raster
from fractal_ray.plane.outcome import STORED, Criterion, Outcome
from fractal_ray.sweep import Sweep
from tests.fractal_ray.figures.expected_rasters import (
    DATA,
    FOLDER,
    difference,
    example,
    shrunk,
    tolerance,
)


@pytest.fixture(scope="module")
def first_map() -> Sweep:
    return Sweep.open(DATA / "first-map")


@pytest.fixture(scope="module")
def border() -> Sweep:
    return Sweep.open(DATA / "border")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Copy `border` without its verification sheets."""
    folder = tmp_path_factory.mktemp("bare") / "border"
    shutil.copytree(DATA / "border", folder, ignore=shutil.ignore_patterns("verify"))
    return Sweep.open(folder)


@pytest.fixture(scope="module")
def lines_of_border(border: Sweep) -> FrameData:
    return read_frame(border, 0)


@pytest.fixture
def holed() -> Raster:
    """Make a raster of 3 x 4 points, two of them without an outcome."""
    return Raster(
        outcome=np.array([[0, 0, 2, 2], [0, -1, 2, 2], [1, 1, -1, 1]], dtype=np.int8),
        loss=np.array([[1.0, 2, np.inf, np.nan], [3, np.nan, 40, 5], [6, 7, np.nan, 8]]),
        x=np.arange(4.0),
        y=np.arange(3.0),
        x_name="a",
        y_name="b",
        x_scale="linear",
        y_scale="linear",
    )


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(each.get_text() for each in figure.findobj(Text))


class TestEveryKind:
    @pytest.mark.parametrize("kind", KINDS)
    def test_looks_as_it_is_stored(self, kind: str) -> None:
        """Compare with the pictures of ``python -m tests.fractal_ray.figures.expected_rasters``."""
        with Image.open(FOLDER / f"{kind}.png") as stored:
            found = difference(shrunk(example(kind)), stored.convert("RGB"))
        assert found <= tolerance(kind), f"{kind} has changed: {found:.3f}"

    def test_nothing_else_is_stored(self) -> None:
        assert {path.stem for path in FOLDER.iterdir()} == set(KINDS)

    @pytest.mark.parametrize("kind", ["panels4", "outcomes", "curves", "scaling", "levels"])
    def test_a_missing_panel_is_seen(self, kind: str) -> None:
        figure = example(kind)
        figure.axes[-1].set_visible(False)
        with Image.open(FOLDER / f"{kind}.png") as stored:
            assert difference(shrunk(figure), stored.convert("RGB")) > tolerance(kind)

    def test_another_figure_is_seen(self) -> None:
        stored = {kind: Image.open(FOLDER / f"{kind}.png").convert("RGB") for kind in KINDS}
        for kind, other in itertools.pairwise(sorted(KINDS, key=lambda kind: stored[kind].size)):
            assert difference(stored[kind], stored[other]) > 2 * tolerance(kind), (kind, other)

    @pytest.mark.parametrize(
        ("kind", "suffix"), [("heatmap", ".png"), ("outcomes", ".svg"), ("curves", ".pdf")]
    )
    def test_same_bytes_again(self, kind: str, suffix: str, tmp_path: Path) -> None:
        self._twice(kind, suffix, tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", FORMATS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_same_bytes_again_of_all(self, kind: str, suffix: str, tmp_path: Path) -> None:
        self._twice(kind, suffix, tmp_path)

    def _twice(self, kind: str, suffix: str, folder: Path) -> None:
        one, other = (
            save(example(kind), folder / f"{n}{suffix}", dpi=60).read_bytes() for n in range(2)
        )
        assert one == other

    @pytest.mark.parametrize("kind", ["panels", "panels4", "heatmap", "stability", "rank"])
    def test_safe_colors_are_others(self, kind: str, first_map: Sweep) -> None:
        one, other = (
            [
                axes.images[-1].get_cmap()(np.linspace(0, 1, 9))
                for axes in figure.axes
                if axes.images
            ]
            for figure in (draw(first_map, kind, colors=each) for each in ("fractal-llm", "safe"))
        )
        alike = [np.allclose(a, b) for a, b in zip(one, other, strict=True)]
        # Losses are viridis in both.
        assert sum(alike) == (kind in ("panels", "panels4"))


class TestColors:
    def test_former_name(self, first_map: Sweep) -> None:
        with pytest.warns(DeprecationWarning, match="'source' are now called 'fractal-llm'"):
            figure = first_map.figure("stability", colors="source")
        assert figure.axes[0].images[-1].get_cmap().name.startswith("RdYlGn")

    def test_unknown_name(self, first_map: Sweep) -> None:
        with pytest.raises(SweepError, match=r"no colours 'saf'; did you mean 'safe'"):
            first_map.figure("stability", colors="saf")


class TestRefusals:
    def test_unknown_kind(self, first_map: Sweep) -> None:
        with pytest.raises(SweepError, match=r"no figure 'panel'; did you mean 'panels'.*scaling"):
            draw(first_map, "panel")

    @pytest.mark.parametrize(
        ("kind", "option"),
        [
            ("boundary", {"fill": True}),
            ("scaling", {"fill": True}),
            ("panels", {"line": "x=1"}),
            ("curves", {"force": True}),
            ("against-zoom", {"frame": 0}),
        ],
    )
    def test_options_of_other_kinds(self, kind: str, option: dict, first_map: Sweep) -> None:
        name = next(iter(option))
        with pytest.raises(SweepError, match=rf"--{name} is of .*, not of '{kind}'"):
            draw(first_map, kind, **option)

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("loss", "no run of this frame has one"),
            ("rank", "loss curves, and the runs of this dataset have none"),
            ("convergence", "loss curves, and the runs of this dataset have none"),
            ("curves", "loss curves, and the runs of this line have none"),
            ("against-steps", "no whole loss curves to cut short"),
            ("against-threshold", "no loss curves to label by another threshold"),
        ],
    )
    def test_a_dataset_without_losses(self, kind: str, message: str, border: Sweep) -> None:
        with pytest.raises(SweepError, match=message):
            draw(border, kind)

    def test_what_the_dataset_has_not(self, first_map: Sweep) -> None:
        with pytest.raises(SweepError, match=r"no zooms: .* zoom: \{points: 33"):
            draw(first_map, "zooms")
        with pytest.raises(SweepError, match="--force gives dimensions that"):
            draw(first_map, "against-steps")
        with pytest.raises(SweepError, match="there is no frame 7"):
            draw(first_map, "panels", frame=7)

    def test_a_frame_that_is_not_finished(self, first_map: Sweep, tmp_path: Path) -> None:
        folder = shutil.copytree(DATA / "first-map", tmp_path / "half")
        shutil.rmtree(folder / "points" / "frame=0" / "level=1")
        half = Sweep.open(folder)
        for kind in ("scaling", "levels"):
            with pytest.raises(SweepError, match="not finished; run it first: fractal-ray run"):
                draw(half, kind)
        assert "not known" in texts(draw(half, "outcomes"))

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("z=1", "give x=VALUE, y=VALUE or transect=NUMBER"),
            ("x=a", "give x=VALUE"),
            ("y", "give x=VALUE"),
            ("x=5", "outside the frame: unembedding_lr goes from 0.001 to 1"),
            ("transect=0", "frame 0 has no finished stage transects"),
            ("y=nan", "outside the frame"),
        ],
    )
    def test_lines(self, line: str, message: str, first_map: Sweep) -> None:
        with pytest.raises(SweepError, match=message):
            draw(first_map, "curves", line=line)

    def test_lines_beyond_the_last(self, lines_of_border: FrameData) -> None:
        with pytest.raises(SweepError, match="frame 0 has lines 0 to 11"):
            line_of(lines_of_border, "transect=12")


class TestNoNumberWithoutASheet:
    def test_counts_alone(self, bare: Sweep) -> None:
        figure = draw(bare, "scaling")
        assert "verdict: unverified; no dimension is given" in figure.get_suptitle()
        assert not re.search(r"\bD\b", texts(figure))
        assert len(figure.axes) == 3, "no slopes"
        # Nothing to read a slope off: points, and no line through them.
        assert {line.get_linestyle() for axes in figure.axes for line in axes.lines} == {"None"}

    def test_forced_ones_are_marked(self, bare: Sweep) -> None:
        figure = draw(bare, "scaling", force=True)
        assert "dimensions are not verified" in figure.get_suptitle()
        assert re.search(r"D = 1\.\d{3}", texts(figure))

    def test_series_without(self, bare: Sweep) -> None:
        figure = draw(bare, "against-zoom")
        shown = texts(figure)
        assert "no dimension is given" in shown
        assert "no D: unverified (3)" in shown

    def test_with_a_sheet(self, border: Sweep) -> None:
        figure = draw(border, "scaling", frame=0)
        assert "unverified" not in figure.get_suptitle()
        assert re.search(r"D = 1\.\d{3} \(1\.\d{3} to 1\.\d{3}\)", texts(figure))
        assert "(recommended)" in figure.axes[0].get_title()


class TestScaling:
    @pytest.mark.parametrize(("data", "base"), [("refined levels", 0), ("raster", 1), ("pairs", 2)])
    def test_the_line_has_the_slope_of_its_dimension(self, data: str, base: int) -> None:
        scales, dimension = 2.0 ** -np.arange(8), 1.25
        estimate = Estimate(
            "m", dimension, (1.2, 1.3), "cells", tuple(scales),
            tuple(3 * scales ** (base - dimension)), (0.5, 1 / 64), (dimension,) * 7, 9, (),
        )  # fmt: skip
        figure = scaling_figure({data: estimate}, title="t", note="n", dimensions=True)
        counts, slopes = figure.axes
        line = next(line for line in counts.lines if line.get_linestyle() == "-")
        x, y = line.get_data()
        np.testing.assert_allclose(x, scales[1:7])
        np.testing.assert_allclose(y, 3 * x ** (base - dimension))
        assert "D = 1.250 (1.200 to 1.300)" in texts(figure)
        assert slopes.lines[0].get_ydata() == pytest.approx([dimension] * 5)

    def test_an_estimator_without_a_value_says_why(self) -> None:
        none = Estimate("m", None, None, "cells", (4, 2, 1), (1, 2, 4), None, (1, 1), 1, ("why",))
        shown = texts(scaling_figure({"raster": none}, title="", note="", dimensions=True))
        assert "no dimension:\nwhy" in shown
        with pytest.raises(SweepError, match="met a border"):
            scaling_figure({"raster": replace(none, measured=(0, 0, 0))}, title="", note="",
                           dimensions=True)  # fmt: skip

    def test_levels_show_what_was_missed(self) -> None:
        audit = AuditReport(9, 5, 1, 0, 0.2, 0.1, 0.4, (4, 9, 20), (4.0, 12.0, 30.0), (0, 2.0, 3.0))
        axes = levels_figure(audit, title="", boundary="stable").axes[0]
        found, corrected = axes.lines[-1], axes.lines[0]
        assert found.get_ydata().tolist() == [4, 9, 20]
        assert corrected.get_ydata().tolist() == [4, 12, 30]
        bars = axes.collections[0].get_segments()
        # Downwards no further than what was found.
        assert [bar[:, 1].tolist() for bar in bars] == [[4, 4], [9, 15.92], [24.12, 35.88]]
        bound = replace(audit, probed=7, hits=1, upper=(4.0, 14.0, 60.0))
        bars = levels_figure(bound, title="", boundary="").axes[0].collections[0].get_segments()
        assert [bar[:, 1].tolist() for bar in bars] == [[4, 4], [9, 14], [20, 60]]
        empty = replace(audit, rate=None, found=(0, 0), corrected=(0.0, 0.0), stderr=(0.0, 0.0))
        assert "nothing is said" in texts(levels_figure(empty, title="", boundary="stable"))


class TestSeries:
    ESTIMATE = Estimate("m", 1.4, (1.3, 1.5), "cells", (2, 1), (1, 2), (2, 1), (1.4,), 9, ())
    ENTRIES = (
        Entry(0, 0, 1.0, 9, ESTIMATE, verified=True),
        Entry(1000, 1000, 0.125, 9, replace(ESTIMATE, interval=None)),
        Entry(1001, 1001, 0.125, 9, None, "unverified"),
        Entry(1002, 1002, 1 / 64, 9, replace(ESTIMATE, value=None, warnings=("too few",))),
    )

    def test_verified_full_others_hollow_and_none_below(self) -> None:
        figure = against_figure(self.ENTRIES, "zoom", title="t")
        above, below = figure.axes
        bars = above.containers
        assert [bar.lines[0].get_markerfacecolor() for bar in bars] == ["#0072B2", "white"]
        assert bars[0].lines[0].get_xdata().tolist() == [1]
        assert bars[1].lines[0].get_xdata()[0] == pytest.approx(8, rel=0.2)
        assert bars[1].lines[0].get_ydata().tolist() == [1.4]
        assert [each.get_text() for each in below.get_yticklabels()] == [
            "no D: unverified (1)", "no D: too few (1)"
        ]  # fmt: skip
        rows = [int(line.get_ydata()[0]) for line in below.lines]
        assert rows == [0, 1]
        assert "1 of 2 dimensions are unverified" in figure.get_suptitle()
        first, second = (line.get_xdata()[0] for line in below.lines)
        assert first != bars[1].lines[0].get_xdata()[0], "frames alike lie side by side"
        assert second == pytest.approx(64)

    def test_other_series_are_not_moved(self) -> None:
        entries = [Entry(at, 0, None, 9, self.ESTIMATE) for at in (0.9, 1.0, 1.1)]
        axes = against_figure(entries, "threshold", title="", own=1.0).axes
        assert len(axes) == 1
        assert axes[0].containers[0].lines[0].get_xdata().tolist() == [0.9, 1.0, 1.1]
        assert [1.0, 1.0] in [list(line.get_xdata()) for line in axes[0].lines]

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(SweepError, match="empty"):
            against_figure([], "steps", title="")


class TestLines:
    def test_a_row_holds_its_runs_in_order(self, first_map: Sweep) -> None:
        data = read_frame(first_map)
        line = line_of(data, "y=0.1")
        assert line.name == "matrix_lr = 0.1"
        assert set(line.rows.column("y").to_pylist()) == {0.1}
        x = np.log10(line.rows.column("x").to_numpy())
        assert (np.diff(x) > 0).all()
        np.testing.assert_allclose(line.positions, x, atol=1e-12)
        assert [str(each.stored) for each in line.shown] == line.rows.column("outcome").to_pylist()

    def test_the_default_has_the_most_flips(self, first_map: Sweep) -> None:
        data = read_frame(first_map)
        given = data.labels()
        most = (given[:, 1:] != given[:, :-1]).sum(axis=1).max()
        assert line_of(data, None).border.size == most
        column = line_of(data, "x=0.03")
        assert set(column.rows.column("x").to_pylist()) == {data.raster.x[16]}
        assert (np.diff(column.positions) > 0).all()

    def test_a_line_of_the_stage(self, lines_of_border: FrameData) -> None:
        line = line_of(lines_of_border, "transect=3")
        assert "line 3 of the stage transects, from (" in line.name
        assert (np.diff(line.positions) > 0).all()
        assert line.positions[[0, -1]].tolist() == [0, 1]
        x = line.rows.column("x").to_numpy()
        np.testing.assert_allclose(x, x[0] + line.positions * (x[-1] - x[0]), atol=1e-12)
        yes = np.array([each is Outcome.TRAINED for each in line.shown])
        assert line.border.size == (yes[1:] != yes[:-1]).sum() > 0

    def test_curves_of_every_outcome(self, first_map: Sweep) -> None:
        data = read_frame(first_map)
        line = line_of(data, None)
        figure = curves_figure(line, Criterion(5, 0.85), title="t", boundary="trainable")
        left, right = figure.axes[:2]
        assert len(left.lines) == line.positions.size
        assert {each.get_linestyle() for each in left.lines} == {"-", "--"}
        wide = sum(each.get_linewidth() > 2 for each in left.lines)
        assert 2 <= wide <= 2 * line.border.size
        bar = figure.axes[2]
        marked = sorted(each.get_ydata()[0] for each in bar.lines if each.get_linewidth() == 1.5)
        assert marked == pytest.approx(line.border)
        shown = np.concatenate([each.get_offsets() for each in right.collections])
        ratios = dict(zip(line.positions, line.rows.column("ratio").to_pylist(), strict=True))
        assert dict(shown.tolist()) == pytest.approx(ratios)

    def test_diverged_runs_end_in_a_cross_within_the_picture(self, first_map: Sweep) -> None:
        line = line_of(read_frame(first_map), None)
        curves = [[7.0, 6, 5], [7.0, 1e30], [7.0, 7, 1e6]]
        rows = line.rows.slice(0, 3)
        for name, values in {
            "losses": pa.array(curves, pa.list_(pa.float32())),
            "diverged_step": pa.array([None, 2, None], pa.int64()),
            "steps": pa.array([3, 3, 3]),
        }.items():
            rows = rows.set_column(rows.column_names.index(name), name, values)
        three = replace(
            line, positions=np.arange(3.0), shown=[*STORED[::2], Outcome.NOT_IMPROVED],
            rows=rows, border=np.array([0.5]),
        )  # fmt: skip
        figure = curves_figure(three, Criterion(1), title="", boundary="trainable")
        left, right = figure.axes[:2]
        crosses = [each for each in left.lines if each.get_marker() == "x"]
        assert [each.get_xdata()[0] for each in crosses] == [2]
        assert left.get_ylim()[1] < 30
        assert crosses[0].get_ydata()[0] <= left.get_ylim()[1]
        assert "cut above" in left.get_ylabel()
        assert "above 3: at the top" in right.get_ylabel()
        cut = rows.set_column(rows.column_names.index("steps"), "steps", pa.array([30, 30, 30]))
        with pytest.raises(SweepError, match="kept_losses"):
            curves_figure(replace(three, rows=cut), Criterion(1), title="", boundary="trainable")

    def test_many_curves_are_thinned(self, first_map: Sweep) -> None:
        line = line_of(read_frame(first_map), None)
        many = np.zeros(200, dtype=int)
        crowd = replace(
            line, positions=np.arange(200.0), shown=[Outcome.TRAINED] * 200,
            rows=line.rows.take(many), border=np.array([100.5]),
        )  # fmt: skip
        figure = curves_figure(crowd, Criterion(5), title="", boundary="trainable")
        assert re.search(r"6\d of 200 curves are drawn", figure.get_suptitle())
        assert sum(each.get_linewidth() > 2 for each in figure.axes[0].lines) == 2


class TestFill:
    def test_paints_and_changes_nothing_else(self, holed: Raster) -> None:
        painted = Filled(**vars(holed))
        assert (filled(painted), filled(holed)) == (2, 0)
        figure = outcome_map(painted, title="")
        axes = figure.axes[0]
        shown = axes.images[-1].get_array()
        assert not np.ma.getmaskarray(shown).any()
        assert shown[1, 1] in (0, 1, 2)
        assert shown[2, 2] in (1, 2)
        dots = next(line for line in axes.lines if line.get_marker() == "o")
        assert np.transpose(dots.get_data()).tolist() == [[1, 1], [2, 2]]
        plain = [text.get_text() for text in outcome_map(holed, title="").legends[0].get_texts()]
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names[3] == "not known, painted\nlike the nearest (2)"
        # Counts of outcomes and boundary cells are those of the runs.
        assert names[:3] + names[4:] == plain[:3] + plain[4:]

    def test_takes_the_nearest_that_is_known(self, holed: Raster) -> None:
        line = replace(
            holed, outcome=np.array([[0, -1, -1, 2]], np.int8), loss=np.ones((1, 4)),
            y=np.array([0.0]),
        )  # fmt: skip
        axes = Figure().subplots()
        painted = draw_tiles(axes, Filled(**vars(line)), line.outcome, line.known)
        assert painted.get_array().tolist() == [[0, 0, 2, 2]]
        nothing = Filled(**{**vars(line), "outcome": np.full((1, 4), -1, np.int8)})
        assert filled(nothing) == 0
        assert "not known (4)" in texts(outcome_map(nothing, title=""))

    def test_heading_and_legend_say_how_many(self, first_map: Sweep, tmp_path: Path) -> None:
        folder = shutil.copytree(DATA / "first-map", tmp_path / "half")
        shutil.rmtree(folder / "points" / "frame=0" / "level=0")
        half = Sweep.open(folder)
        unknown = int((~half.raster().known).sum())
        for kind in ("panels", "outcomes", "rank"):
            figure = draw(half, kind, fill=True)
            note = f"{unknown} points without an outcome painted like the nearest that has one"
            assert note in figure.get_suptitle(), kind
            assert f"like the nearest ({unknown})" in texts(figure), kind
        whole = draw(first_map, "panels", fill=True)
        assert "painted" not in texts(whole), "there is nothing to fill"


class TestSingleMaps:
    def test_loss_is_capped_and_what_is_not_finite_is_black(self, holed: Raster) -> None:
        figure = loss_map(holed, title="", boundary="trainable")
        shown = figure.axes[0].images[0].get_array()
        assert shown[1, 2] == pytest.approx(np.log10(20.1))
        assert shown[0, 0] == pytest.approx(np.log10(1.1))
        assert "no finite loss (2 runs)" in texts(figure)

    def test_cells_lie_between_their_points(self, holed: Raster) -> None:
        figure = boundary_map(holed, title="", boundary="trainable")
        axes = figure.axes[0]
        mixed, other, unknown = axes.images
        cells = (~np.ma.getmaskarray(each.get_array()) for each in (mixed, other, unknown))
        black, white, grey = (each.tolist() for each in cells)
        assert black == [[False, True, False], [True, False, False]]
        assert white == [[False, False, True], [False, False, False]]
        assert grey == [[True, False, False], [False, True, True]]
        assert tuple(mixed.get_extent()) == (0, 3, 0, 2)
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 3), (0, 2))


class TestCommand:
    def run(self, *arguments: str):
        return CliRunner().invoke(app, ["plot", *map(str, arguments)])

    def test_one_figure_of_another_resolution(self, tmp_path: Path) -> None:
        out = tmp_path / "map.png"
        done = self.run(DATA / "first-map", "--figure", "stability", "--dpi", "30", "--out", out)
        assert done.stdout.strip() == str(out)
        with Image.open(out) as picture:
            assert picture.size == (270, 210)

    def test_all_into_a_folder(self, tmp_path: Path) -> None:
        done = self.run(DATA / "first-map", "--figure", "all", "--dpi", "20", "--out", tmp_path)
        assert done.exit_code == 0
        refused = re.findall(r"^no (\S+): ", done.stderr, flags=re.M)
        assert refused == ["zooms", "critical", "against-steps", "against-threshold"]
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {f"first-map-{kind}.png" for kind in KINDS if kind not in refused}
        assert len(done.stdout.split()) == len(names)

    def test_a_frame_or_line_that_is_not_there_is_told_once(self, tmp_path: Path) -> None:
        for option in ("--frame=99", "--line=z=1", "--line=x=9"):
            done = self.run(DATA / "first-map", "--figure", "all", option, "--out", tmp_path)
            assert isinstance(done.exception, SweepError)
            assert done.stderr == done.stdout == ""
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("kind", "dpi"), [("heatmap", 300), ("outcomes", 150)])
    def test_kinds_have_a_resolution_of_their_own(
        self, tmp_path: Path, kind: str, dpi: int
    ) -> None:
        out = tmp_path / "map.png"
        assert self.run(DATA / "first-map", "--figure", kind, "--out", out).exit_code == 0
        with Image.open(out) as picture:
            assert picture.info["dpi"] == pytest.approx((dpi, dpi), abs=0.1)

    def test_all_into_a_file(self, tmp_path: Path) -> None:
        done = self.run(DATA / "first-map", "--figure", "all", "--out", tmp_path / "map.png")
        assert isinstance(done.exception, SweepError)
        assert "must be a folder" in str(done.exception)

    def test_help_lists_every_kind(self) -> None:
        shown = self.run("--help").stdout
        assert all(kind in shown for kind in KINDS)
