"""Value maps by exact number, figures by what stands in their panels."""

import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, get_args

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import save
from fractal_ray.figures.coloring import (
    NO_TO_YES,
    Palette,
    colormap,
    fill_inferred,
    rank_map,
    value_map,
)
from fractal_ray.figures.curve_maps import rank_figure, settled_map
from fractal_ray.figures.maps import measured_map, outcome_map, share_map, three_panel
from fractal_ray.figures.ruler import ruler, tick_units
from fractal_ray.figures.single_maps import loss_map, stability_map
from fractal_ray.figures.style import VALUE_COLORS, shared_style
from fractal_ray.figures.tiles import edges
from fractal_ray.figures.zoom_boxes import zoom_boxes
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.boundary import BOUNDARIES, Raster
from fractal_ray.plane.cut_axis import coordinate_at, cut
from fractal_ray.plane.outcome import Outcome
from fractal_ray.plane.palette import MEASURED_COLORS, NO, OUTCOME_COLORS, YES
from fractal_ray.plane.zoom import zoom_in
from fractal_ray.spec.frames import SweepFrame

THEIRS: Final = "fractal-llm"


@pytest.fixture
def raster() -> Raster:
    """Make a raster of 2 x 3 points with every outcome and one hole."""
    nan, inf = np.nan, np.inf
    return Raster(
        outcome=np.array([[0, 0, 2], [-1, 1, 0]], dtype=np.int8),
        loss=np.array([[1.0, 2.0, inf], [nan, 9.0, 3.0]]),
        x=np.array([1e-3, 1e-2, 1e-1]),
        y=np.array([10.0, 20.0]),
        x_name="matrix_lr",
        y_name="num_steps",
        x_scale="log",
        y_scale="linear",
    )


def image(axes) -> AxesImage:
    return axes.images[-1]


def legend_texts(axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_value_map_of_trainable(raster: Raster) -> None:
    expected = [[1.0, 0.65, -1.0], [np.nan, -1.0, 0.3]]
    np.testing.assert_allclose(value_map(raster), expected, rtol=1e-15)


def test_value_map_of_stable_counts_not_improved_as_yes(raster: Raster) -> None:
    expected = [[1.0, 1 - 0.7 / 8, -1.0], [np.nan, 0.3, 1 - 0.7 * 2 / 8]]
    np.testing.assert_allclose(value_map(raster, "stable"), expected, rtol=1e-15)


def test_value_map_of_equal_losses_is_one(raster: Raster) -> None:
    equal = value_map(replace(raster, loss=np.full((2, 3), 1.5)))
    np.testing.assert_array_equal(equal, [[1, 1, -1], [np.nan, -1, 1]])


def test_value_map_without_losses_keeps_the_labels(raster: Raster) -> None:
    bare = value_map(replace(raster, loss=np.full((2, 3), np.nan)))
    np.testing.assert_array_equal(bare, [[1, 1, -1], [np.nan, -1, 1]])
    loss = raster.loss.copy()
    loss[0, 1] = np.nan
    assert value_map(replace(raster, loss=loss))[0, 1] == 0.3


@pytest.mark.parametrize(
    ("position", "color"),
    [(0.0, "#8b0000"), (0.5, "#ffffff"), (0.75, "#87ceeb"), (1.0, "#00008b")],
)
def test_value_colors_have_the_stops_of_fractal_llm(position: float, color: str) -> None:
    red, green, blue, _ = VALUE_COLORS(position)
    expected = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    assert np.abs(np.array([red, green, blue]) * 255 - expected).max() <= 2


def test_three_panels(raster: Raster) -> None:
    figure = three_panel(raster, title="frame 0", note="D = 1.1")
    left, centre, right = figure.axes[:3]
    assert figure.get_size_inches().tolist() == [18, 6]
    assert figure.get_suptitle() == "frame 0\nD = 1.1"
    np.testing.assert_array_equal(image(left).get_array(), np.ma.masked_invalid(value_map(raster)))
    assert image(left).get_clim() == (-1, 1)
    assert image(left).get_cmap() == NO_TO_YES
    shown = np.ma.getmaskarray(image(centre).get_array())
    assert (~shown).tolist() == [[True, True, False], [False, False, True]]
    assert image(centre).get_clim() == (1, 3)
    assert image(centre).get_cmap().name == "viridis_r"
    assert image(right).get_array().filled(9).tolist() == [[1, 1, 0], [9, 0, 1]]
    assert legend_texts(right) == ["trainable (3)", "not trainable (2)", "not known (1)"]
    assert len(figure.axes) == 5, "two colour bars"
    assert all(bar.get_ylabel() for bar in figure.axes[3:])


def test_tiles_are_centred_on_their_points(raster: Raster) -> None:
    for axes in three_panel(raster, title="").axes[:3]:
        assert image(axes).get_extent() == pytest.approx([-3.5, -0.5, 5, 25])
        assert axes.get_xlim() == pytest.approx((-3.5, -0.5))
        assert axes.get_ylim() == pytest.approx((5, 25))
        assert axes.get_xlabel() == "log10(matrix_lr)"
        assert axes.get_ylabel() == "num_steps"
        assert axes.get_title()


def test_rows_go_up_and_columns_to_the_right(raster: Raster) -> None:
    figure = outcome_map(raster, title="")
    figure.set_dpi(100)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    axes = figure.axes[0]

    def color(x: float, y: float) -> str:
        column, row = axes.transData.transform((x, y))
        return to_hex(pixels[pixels.shape[0] - 1 - int(row), int(column), :3] / 255)

    assert color(-3.2, 7) == "#0072b2"
    assert color(-0.8, 7) == "#d55e00"
    assert color(-1.8, 23) == "#f0e442"


def test_missing_points_stay_unpainted_and_are_named(raster: Raster) -> None:
    for axes in three_panel(raster, title="").axes[:3]:
        for layer in axes.images:
            assert np.ma.getmaskarray(layer.get_array())[1, 0]
        assert "not known (1)" in legend_texts(axes)
    whole = replace(raster, outcome=np.abs(raster.outcome))
    for axes in three_panel(whole, title="").axes[:3]:
        assert not any("not known" in text for text in legend_texts(axes))


def test_outcome_map_counts_and_outlines(raster: Raster) -> None:
    figure = outcome_map(raster, title="frame 0")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:4] == ["trained (3)", "not improved (1)", "diverged (1)", "not known (1)"]
    assert names[4] == "boundary cells,\ntrainable (2)"
    segments = np.array(figure.axes[0].collections[0].get_segments())
    # Both cells are mixed, so the line runs round the pair: from point to point, none between.
    assert len(segments) == 6
    assert segments[..., 0].min() == -3
    assert segments[..., 0].max() == -1
    assert {segments[..., 1].min(), segments[..., 1].max()} == {10, 20}
    stable = outcome_map(raster, title="", boundary="stable").legends[0].get_texts()
    assert stable[4].get_text() == "boundary cells,\nstable (1)"


@pytest.mark.parametrize("code", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2), (9, 9)])
def test_extremes_can_be_drawn(code: int, shape: tuple[int, int], tmp_path: Path) -> None:
    ny, nx = shape
    raster = Raster(
        outcome=np.full(shape, code, dtype=np.int8),
        loss=np.full(shape, 1.0 if code == 0 else np.nan),
        x=np.logspace(-3, -2, nx),
        y=np.logspace(-6, -1, ny),
        x_name="a",
        y_name="b",
        x_scale="log",
        y_scale="log",
    )
    assert save(three_panel(raster, title="all alike"), tmp_path / "a.png").stat().st_size > 10_000
    assert save(outcome_map(raster, title="all alike"), tmp_path / "b.png").stat().st_size > 5_000


def test_large_lattices_paint_boundary_cells_instead(raster: Raster) -> None:
    outcome = np.zeros((2, 1025), dtype=np.int8)
    outcome[:, 700:] = 2
    wide = replace(raster, outcome=outcome, loss=np.ones(outcome.shape), x=np.logspace(-3, 0, 1025))
    axes = outcome_map(wide, title="").axes[0]
    assert not axes.collections
    assert np.flatnonzero(~np.ma.getmaskarray(image(axes).get_array())).tolist() == [699]
    assert image(axes).get_extent() == pytest.approx([-3, 0, 10, 20])


def test_edges() -> None:
    assert edges(np.array([1.0, 2.0, 4.0])).tolist() == [0.5, 1.5, 3.0, 5.0]
    assert edges(np.array([7.0])).tolist() == [6.5, 7.5]
    assert edges(np.array([3.0, 3.0])).tolist() == [2.5, 3.0, 3.5]


def test_units_of_ticks() -> None:
    assert tick_units(Decimal(-6), Decimal(-1)) == (0, 1)
    assert tick_units(Decimal(0), Decimal("3e-5")) == (0, Decimal("1e-5"))
    assert tick_units(Decimal(0), Decimal(0)) == (0, 1)
    low, high = Decimal("-2.9084877984"), Decimal("-2.9084877980")
    assert tick_units(low, high) == (Decimal("-2.9084877982"), Decimal("1e-10"))
    assert ruler(np.array([1e-3, 1.0]), "lr", "log").label == "log10(lr)"
    assert ruler(np.array([0.0, 3e-5]), "lr", "linear").label == "lr / 1e-5"


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("width", ["3e-6", "3e-12"])
def test_deep_frames_are_drawn_where_they_are(scale: Literal["log", "linear"], width: str) -> None:
    """Draw nodes evenly, in units of round ticks, although only their last digits differ."""
    whole = Axis("eta0", scale, 1e-3, 1e3)
    middle = coordinate_at(whole, Decimal("0.61803398874989"))
    axis = cut(whole, middle, middle + Decimal(width))
    along = ruler(axis.values(64), "eta0", scale)
    assert abs(along.unit.adjusted() - Decimal(width).adjusted()) <= 1
    given = along.positions(axis.values(64))
    assert np.abs(given).max() < 10
    exact = [along.position_at(end) for end in axis.ends()]
    # What float64 rounds away of the values themselves, in units of the ticks.
    lost = max(
        4 * np.spacing(axis.max) / float(along.unit) / (axis.max if scale == "log" else 1), 1e-9
    )
    np.testing.assert_allclose(given, np.linspace(*exact, 65), rtol=0, atol=max(lost, 1e-9))
    assert along.label.splitlines()[1] == f"= {along.origin:f} + tick x {along.unit:.0e}"


def test_ticks_of_a_deep_frame_are_round_numbers(raster: Raster) -> None:
    deep = replace(raster, x=np.array([0.1, 0.1 + 1e-12, 0.1 + 2e-12]), x_scale="linear")
    figure = outcome_map(deep, title="")
    figure.draw_without_rendering()
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert all(len(tick) <= 4 for tick in ticks), ticks
    assert figure.axes[0].get_xlabel() == "matrix_lr\n= 0.100000000001 + tick x 1e-12"


def test_ranks_are_those_of_the_paper() -> None:
    """Compare with the notebook's `cdf_img`."""
    random = np.random.default_rng(0)
    measure = random.normal(size=(9, 7))
    known = np.sort(measure.ravel())
    below = int((known < 0).sum())
    shares = np.r_[np.linspace(-1, -0.25, below), np.linspace(0.25, 1, known.size - below)]
    expected = -np.interp(measure.ravel(), known, shares).reshape(measure.shape)
    np.testing.assert_allclose(rank_map(measure), expected)
    measure[2, 3] = np.nan
    assert np.isnan(rank_map(measure)).sum() == 1
    assert rank_map(np.array([[np.inf, 5.0, 5.0, -2.0]])).tolist() == [[-1, -0.625, -0.625, 1]]


def test_inferred_nodes_take_the_number_of_the_nearest_run_with_their_label() -> None:
    outcome = np.array([[0, 0, 0, 2, 2, 2]], dtype=np.int8)
    inferred = np.array([[False, True, True, False, True, True]])
    raster = Raster(
        outcome, np.array([[1.0, *[np.nan] * 5]]), np.arange(6.0), np.array([0.0]),
        "x", "y", "linear", "linear", inferred,
    )  # fmt: skip
    values = np.array([[7.0, np.nan, np.nan, 9.0, np.nan, np.nan]])
    assert fill_inferred(values, raster, "trainable").tolist() == [[7, 7, 7, 9, 9, 9]]
    assert value_map(raster).tolist() == [[1, 1, 1, -1, -1, -1]]
    left, centre = three_panel(raster, title="").axes[:2]
    assert legend_texts(left) == ["not run, value of the nearest run (4)"]
    assert legend_texts(centre) == ["not trainable or not run"]


def test_inferred_nodes_that_may_have_either_label_are_grey_and_counted(raster: Raster) -> None:
    outcome = np.array([[0, 3, 2], [4, 3, 0]], dtype=np.int8)
    open_raster = replace(raster, outcome=outcome, inferred=np.isin(outcome, (3, 4)))
    stability = stability_map(open_raster, title="").axes[0]
    assert image(stability).get_array().filled(9).tolist() == [[1, 9, 0], [1, 9, 1]]
    grey = np.ma.getmaskarray(stability.images[0].get_array())
    assert (~grey).tolist() == [[False, True, False], [False, True, False]]
    said = ["stable (3)", "diverged (1)", "not run: stable or diverged (2)"]
    assert legend_texts(stability) == said
    left, centre, right = three_panel(open_raster, title="", label="stable").axes[:3]
    assert "not run: stable or diverged (2)" in legend_texts(left)
    assert legend_texts(centre) == ["diverged or not run"]
    assert legend_texts(right) == said
    names = measured_map(open_raster, title="").legends[0].get_texts()
    assert names[-1].get_text() == "not run: trainable or not trainable (1)"
    assert names[0].get_text() == "not trainable, inferred (2)"
    # Its loss is not missing: there is none.
    loss = loss_map(open_raster, title="", boundary="stable")
    assert not any("no finite loss (2" in text for text in legend_texts(loss.axes[0]))


def test_an_outcome_map_says_what_may_be_either() -> None:
    outcome = np.array([[0, 3, 3, 2], [0, 4, 1, 2]], dtype=np.int8)
    raster = Raster(
        outcome, np.full((2, 4), np.nan), np.arange(4.0), np.arange(2.0),
        "x", "y", "linear", "linear", np.isin(outcome, (3, 4)),
    )  # fmt: skip
    figure = outcome_map(raster, title="")
    assert [text.get_text() for text in figure.legends[0].get_texts()][:5] == [
        "trained (2)",
        "not improved (1)",
        "diverged (2)",
        "not run: not improved\nor diverged (2)",
        "not run: trained\nor not improved (1)",
    ]
    tiles = image(figure.axes[0])
    shown = [to_hex(color) for color in tiles.to_rgba(tiles.get_array())[0]]
    assert len(set(shown)) == 3
    assert (shown[0], shown[3]) == ("#0072b2", "#d55e00")


def test_safe_colors_are_the_default(raster: Raster) -> None:
    safe, theirs = three_panel(raster, title=""), three_panel(raster, title="", colors=THEIRS)
    for panel in (0, 2):
        assert image(safe.axes[panel]).get_cmap() != image(theirs.axes[panel]).get_cmap()
    share = np.array([[0.0, 0.5, 1.0], [np.nan, 1.0, 1.0]])
    for colors, name in ((THEIRS, "RdBu"), ("safe", "no_to_yes")):
        assert image(share_map(raster, share, title="", colors=colors).axes[0]).cmap.name == name


@pytest.mark.parametrize("shade", get_args(Palette))
def test_no_and_yes_have_one_colour_each_in_every_map(shade: Palette) -> None:
    """Labels, stability, values, ranks and shares of seeds, and the outcomes that mean them."""
    ends = [to_hex(colormap(shade)(end)).upper() for end in (0.0, 1.0)]
    assert ends == [MEASURED_COLORS[1], MEASURED_COLORS[3]]
    assert ends == [OUTCOME_COLORS[Outcome.DIVERGED], OUTCOME_COLORS[Outcome.TRAINED]]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_legend_names_the_label_and_not_the_border(boundary: str) -> None:
    outcome = np.array([[0, 5, 6, 2, 7]], dtype=np.int8)
    raster = Raster(
        outcome, np.full((1, 5), np.nan), np.arange(5.0), np.arange(1.0),
        "x", "y", "linear", "linear",
    )  # fmt: skip
    axes = three_panel(raster, title="", label=boundary).axes[2]
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    numbers = {"trainable": (1, 4), "stable": (4, 1), "broken": (2, 2)}[boundary]
    assert names[:2] == [f"{YES[boundary]} ({numbers[0]})", f"{NO[boundary]} ({numbers[1]})"]
    assert names[2:] == (["too short, or without a curve (1)"] if boundary == "broken" else [])


def test_rank_and_settled_maps_show_what_they_are_given(raster: Raster) -> None:
    measure = np.array([[-30.0, -20.0, 4.0], [np.nan, 25.0, -1.0]])
    shown = image(rank_figure(raster, measure, title="").axes[0]).get_array()
    np.testing.assert_array_equal(shown, np.ma.masked_invalid(rank_map(measure)))
    steps = np.array([[2.0, 30.0, 17.0], [np.nan, 2.0, 400.0]])
    figure = settled_map(raster, steps, title="")
    figure.draw_without_rendering()
    assert image(figure.axes[0]).get_clim() == (2, 400)
    ticks = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert {"5", "10", "200"} <= set(ticks)
    unknown = replace(raster, outcome=np.full((2, 3), -1, dtype=np.int8))
    assert len(settled_map(unknown, np.full((2, 3), np.nan), title="").axes) == 1


def test_zoom_boxes_lie_where_frames_lie() -> None:
    x, y = Axis("a", "log", 1e-4, 1.0), Axis("b", "linear", 0.0, 1.0)
    frame = Frame(0, x, y, 8, 8)
    zooms = zoom_in(
        frame, (Decimal("0.5"), Decimal("0.25")), 4.0,
        cells=(8, 8), first_id=1000, rule="center", depth=5,
    )  # fmt: skip
    every = {0: SweepFrame(frame, 0)} | {z.frame.id: SweepFrame(z.frame, 0, zoom=z) for z in zooms}
    raster = Raster(
        np.zeros((9, 9), np.int8), np.ones((9, 9)), x.values(8), y.values(8),
        "a", "b", "log", "linear",
    )  # fmt: skip
    figure = zoom_boxes(raster, every, 0, title="t")
    axes = figure.axes[0]
    boxes = [patch.get_bbox().extents for patch in axes.patches]
    np.testing.assert_allclose(boxes[0], [-2.5, 0.125, -1.5, 0.375])
    np.testing.assert_allclose(boxes[1], [-2.125, 0.21875, -1.875, 0.28125])
    assert len(boxes) == 3
    assert "3 of the 5 frames in it" in figure.get_suptitle()
    assert axes.texts[0].get_text() == "1000"
    assert "no frame" in zoom_boxes(raster, every, 1004, title="t").get_suptitle()


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_save_writes_whole_files_that_do_not_change(
    raster: Raster, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    path = tmp_path / "new" / f"map{suffix}"
    figure = outcome_map(raster, title="t")
    assert save(figure, path) == path
    first = path.read_bytes()
    assert first.startswith(magic)
    assert not figure.axes
    save(outcome_map(raster, title="t"), path)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_save_refuses_other_suffixes(raster: Raster, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"map\.bmp.*\.png, \.svg, \.pdf"):
        save(outcome_map(raster, title="t"), tmp_path / "map.bmp")


def test_failed_save_leaves_the_old_file(
    raster: Raster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "map.png"
    path.write_bytes(b"old")

    def half(_self: Figure, part: Path, **_kwargs: object) -> None:
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(SweepError, match="disk full"):
        save(outcome_map(raster, title="t"), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]


def test_threads_draw_and_leave_the_settings_alone(raster: Raster, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    failures: list[BaseException] = []

    def draw(number: int) -> None:
        try:
            save(outcome_map(raster, title="t"), tmp_path / f"{number}.png")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert dict(matplotlib.rcParams) == before
    with shared_style():
        assert matplotlib.rcParams["svg.hashsalt"] == "fractal-ray"
    assert dict(matplotlib.rcParams) == before


def test_runs_with_a_long_label_window_are_marked(raster: Raster) -> None:
    marked = replace(raster, long_window=np.array([[True, False, False], [False, True, False]]))
    for axes in three_panel(marked, title="").axes[:3]:
        (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert dots.get_ydata().tolist() == pytest.approx([10, 20])
        assert "window above half\nof the steps (2)" in legend_texts(axes)
    plain = three_panel(raster, title="").axes[0]
    assert not plain.lines
    assert not any("window" in text for text in legend_texts(plain))
