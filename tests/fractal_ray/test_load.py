"""`fractal_ray.load` and the tables, figures and texts of the sweep that it returns."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.backend_bases import MouseEvent

import fractal_ray
from fractal_ray.engine.budget import Budget
from fractal_ray.errors import SweepError
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Disc

DATA = Path(__file__).parents[2] / "notebooks" / "data"
MakeSweep = Callable[..., Sweep]


def refined() -> list[dict[str, object]]:
    return [{"grid": {"points": 9}}, {"refine": {"levels": 1}}]


@pytest.mark.parametrize(
    ("name", "points", "yes", "cells", "frames"),
    [
        ("first-map", 563, 297, 111, [0]),
        ("border", 14_461, 4_119, 363, [0, 3000, 3001]),
        ("constant", 1_141, 576, 246, [0]),
        ("annealed", 1_075, 551, 235, [0]),
    ],
)
def test_the_shipped_datasets(
    name: str, points: int, yes: int, cells: int, frames: list[int]
) -> None:
    sweep = fractal_ray.load(DATA / name)
    shown = sweep.points
    assert len(shown) == points
    assert int(shown.label.sum()) == yes
    assert sweep.map().boundary_cells.n_mixed == cells
    assert list(sweep.frames) == frames
    assert set(shown.host) == {"example"}


def test_shipped_dimensions_are_those_that_a_sheet_allows() -> None:
    sweep = fractal_ray.load(DATA / "border")
    overview = sweep.dimension(0)
    assert overview.interval is not None
    assert overview.verdict == "fractal"
    assert overview.interval[0] < 1.444 < overview.interval[1]
    assert "95 %" in overview.line
    unresolved = sweep.dimension(3001)
    assert (unresolved.value, unresolved.interval, unresolved.method) == (None, None, None)
    unverified = fractal_ray.load(DATA / "first-map").dimension()
    assert unverified.value is None
    assert "fractal-ray verify" in str(unverified)


def test_points_are_labelled_as_the_spec_says_now() -> None:
    strict = fractal_ray.load(DATA / "first-map").points
    loose = fractal_ray.load(str(DATA / "first-map"), "label.threshold=1.0").points
    assert list(strict.point_id) == list(loose.point_id)
    assert strict.label.sum() < loose.label.sum()
    window = fractal_ray.load(DATA / "first-map", "label.window=1").points
    last = np.array([curve[-1] for curve in window.losses])
    assert np.allclose(window.ratio, last / window.first_loss)
    assert (window.label == (window.ratio < 0.85)).all()
    order = strict[["frame", "level", "iy", "ix"]]
    assert order.equals(order.sort_values(list(order), ignore_index=True))


def test_a_sweep_shows_itself(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    assert "nothing has been run yet" in sweep._repr_html_()
    sweep.run(engine="local")
    page = sweep._repr_html_()
    assert "81 points" in page
    assert "no dimension: unverified" in page
    assert re.search(r'<img alt="disc" src="data:image/png;base64,[\w+/=]{1000,}">', page)
    assert "<script" not in page
    assert sweep.map()._repr_png_().startswith(b"\x89PNG")
    assert repr(sweep.map()).startswith("disc: 9 x 9 nodes, 81 run, 0 inferred; ")
    assert "<b>disc, frame 0: no dimension" in sweep.dimension()._repr_html_()


def test_what_a_page_says_is_escaped(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep = Sweep(sweep.spec, location=f"{sweep.location}/<script>alert(1)</script>&")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in sweep._repr_html_()


def test_a_sweep_that_was_not_run_says_how(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    for look in (lambda: sweep.points, sweep.map, sweep.dimension):
        with pytest.raises(SweepError, match=r"nothing of disc has been run yet.*sweep\.run"):
            look()


def test_an_unfinished_sweep_shows_what_there_is(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(stages=refined())
    sweep.run(engine="local", budget=Budget(points=40))
    assert len(sweep.points) == 40
    assert "not known" in repr(sweep.map())
    assert "run it first" in str(sweep.dimension())
    with pytest.raises(SweepError, match=r"frame 0 of .* is not finished; run it first"):
        sweep.zoom(x=(1e-3, 1e-2), y=(1e-3, 1e-2), engine="local")


def test_a_figure_is_drawn_by_its_kind(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.run(engine="local")
    assert len(sweep.figure("panels", frame=0, colors="safe").axes) >= 3
    with pytest.raises(SweepError, match="did you mean 'panels'"):
        sweep.figure("panel")


# What lies somewhere else ---------------------------------------------------------------------


def test_a_place_without_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"there is nothing at .*nowhere"):
        fractal_ray.load(tmp_path / "nowhere")
    with pytest.raises(SweepError, match=r"is empty, so .* no sweep; .*fractal-ray run SPEC\.yaml"):
        fractal_ray.load(tmp_path)
    (tmp_path / "notes.txt").write_text("no sweep")
    with pytest.raises(SweepError, match=r"no sweep\.json in it"):
        fractal_ray.load(tmp_path)
    with pytest.raises(SweepError, match=r"neither the folder of a dataset nor a spec"):
        fractal_ray.load(tmp_path / "notes.txt")


def test_a_misspelt_folder_and_the_folder_above() -> None:
    with pytest.raises(SweepError, match=r"did you mean .*/data/first-map\?$"):
        fractal_ray.load(DATA / "first-mpa")
    with pytest.raises(SweepError, match=r"several sweeps.*border, .*constant"):
        fractal_ray.load(DATA)


def test_a_spec_opens_its_sweep_before_and_after_it_was_run(tmp_path: Path) -> None:
    spec = Path(__file__).parents[2] / "sweeps" / "weierstrass.yaml"
    settings = (f"storage={tmp_path}", "stages=[{grid: {points: 9}}]")
    sweep = fractal_ray.load(spec, *settings)
    sweep.run(engine="local")
    assert len(fractal_ray.load(spec, *settings).points) == 81
    assert len(fractal_ray.load(tmp_path / "weierstrass").points) == 81


def test_loading_needs_nothing_heavy_before_it_is_asked() -> None:
    heavy = ["pandas", "numpy", "pyarrow", "matplotlib", "pydantic"]
    code = f"import sys, fractal_ray; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Zooms --------------------------------------------------------------------------------------


class CountingDisc(Disc):
    """A disc that counts its runs."""

    asked = 0

    def evaluate(self, points):
        type(self).asked += len(points)
        return super().evaluate(points)


@pytest.fixture
def disc(make_sweep: MakeSweep) -> Sweep:
    sweep = make_sweep(CountingDisc(), stages=refined())
    sweep.run(engine="local")
    CountingDisc.asked = 0
    return sweep


def test_a_zoom_shares_its_points_with_what_it_was_cut_from(disc: Sweep) -> None:
    x, y = disc.frame().frame.x.values(16), disc.frame().frame.y.values(16)
    before = disc.points
    closer = disc.zoom(x=(x[2], x[12]), y=(y[2], y[12]), points=11, engine="local")
    frame = closer.frame().frame
    assert (frame.cells_x, frame.cells_y) == (10, 10)  # on nodes: cut where it was asked
    assert frame.x.values(10).tolist() == x[2:13].tolist()  # bit for bit, on a log axis
    inside = before[before.x.isin(x[2:13]) & before.y.isin(y[2:13])]
    assert CountingDisc.asked == 121 - len(inside)
    assert len(inside) > 25
    mine = closer.points
    assert set(inside.point_id) < set(mine.point_id)
    assert not mine.point_id.duplicated().any()
    kept = closer.map().raster
    assert kept.known.all()
    assert np.array_equal(disc.points.point_id, before.point_id)  # the old one is as it was


def test_the_same_zoom_is_found_again_and_another_is_another(disc: Sweep) -> None:
    rectangle = {"x": (1e-3, 1e-2), "y": (1e-3, 1e-2)}
    closer = disc.zoom(**rectangle, points=9, engine="local")
    CountingDisc.asked = 0
    assert disc.zoom(**rectangle, points=9, engine="local").location == closer.location
    assert CountingDisc.asked == 0
    deeper = closer.zoom(x=(2e-3, 4e-3), y=(2e-3, 4e-3), levels=1, engine="local")
    assert Path(deeper.location).parent == Path(disc.location).parent
    assert re.fullmatch(r"disc-zoom-[0-9a-f]{8}", deeper.spec.name)
    assert deeper.location != closer.location
    frame = deeper.frame().frame
    assert frame.x.min <= 2e-3
    assert frame.x.max >= 4e-3
    # Opened from its folder it is the same sweep, and finished.
    found = fractal_ray.load(deeper.location)
    assert found.frame().frame == frame
    assert found.frame().level == 1


def test_a_rectangle_is_widened_to_the_proportions_of_its_frame(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": [7, 10]}}])
    sweep.run(engine="local")
    closer = sweep.zoom(x=(1e-3, 1e-2), y=(1e-2, 2e-2), points=13, engine="local")
    frame = closer.frame().frame
    assert frame.cells_x * 3 == frame.cells_y * 2
    assert frame.cells_x >= 12
    wide, high = (np.log(axis.max / axis.min) for axis in (frame.x, frame.y))
    assert wide == pytest.approx(high)
    assert frame.x.min <= 1e-3 < 1e-2 <= frame.x.max
    assert frame.y.min <= 1e-2 < 2e-2 <= frame.y.max


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"x": (1e-2, 1e-3)}, r"x \(unembedding_lr\) takes \(low, high\)"),
        ({"x": (1e-9, 1e-2)}, "from 0.0001 to 1.0"),
        ({"x": 0.3}, r"takes \(low, high\) inside the frame.*given 0.3"),
        ({"y": ("a", "b")}, r"y \(matrix_lr\) takes"),
        ({"y": ((1, 2), 3)}, r"y \(matrix_lr\) takes"),
        ({"x": (1e-4, 1.0), "y": (1e-4, 1.0)}, "fills the frame"),
        ({"points": 1}, "at least 2"),
        ({"frame": 5}, "there is no frame 5"),
        ({"levels": 40}, "levels"),
    ],
)
def test_zooms_that_cannot_be(disc: Sweep, how: dict[str, object], said: str) -> None:
    asked = {"x": (1e-3, 1e-2), "y": (1e-3, 1e-2), "engine": "local", **how}
    with pytest.raises(SweepError, match=said):
        disc.zoom(**asked)
    assert [path.name for path in Path(disc.location).parent.iterdir()] == ["disc"]


def test_a_zoom_takes_no_other_sweeps_folder(disc: Sweep) -> None:
    header = (Path(disc.location) / "sweep.json").read_text()
    with pytest.raises(SweepError, match="holds another sweep; take another name"):
        disc.zoom(x=(1e-3, 1e-2), y=(1e-3, 1e-2), name="disc", engine="local")
    assert (Path(disc.location) / "sweep.json").read_text() == header


def test_a_zoom_that_was_killed_while_it_began_begins_again(disc: Sweep) -> None:
    rectangle = {"x": (1e-3, 1e-2), "y": (1e-3, 1e-2), "points": 9, "engine": "local"}
    closer = disc.zoom(**rectangle)
    whole = set(closer.points.point_id)
    (Path(closer.location) / "sweep.json").unlink()  # it is written last
    shutil.rmtree(Path(closer.location) / "points" / "frame=2000")
    assert set(disc.zoom(**rectangle).points.point_id) == whole


def drag(figure, *ends: tuple[float, float]) -> None:
    """Send a canvas the events of a mouse that is pressed, moved and released."""
    figure.canvas.draw()
    first, last = figure.axes[0].transData.transform(ends)
    for name, at in (
        ("button_press_event", first),
        ("motion_notify_event", last),
        ("button_release_event", last),
    ):
        MouseEvent(name, figure.canvas, *at, button=1)._process()


def test_a_dragged_rectangle_is_run_and_shown(disc: Sweep) -> None:
    matplotlib.use("agg")
    from fractal_ray.figures.zoom_map import ZoomMap

    shown = ZoomMap(disc, points=9, engine="local")
    place = SimpleNamespace  # of the mouse, in log10 as the map is drawn
    drag(shown.figure, (-2.0, -1.0), (-3.0, -2.0))
    frame = shown.sweep.frame().frame
    assert frame.x.min <= 1e-3 < 1e-2 <= frame.x.max
    assert frame.y.min <= 1e-2 < 1e-1 <= frame.y.max
    assert shown.frame == 2000
    once = shown.sweep
    drag(shown.figure, (-2.9, -1.9), (-2.4, -1.4))  # the new map answers, and only once
    assert shown.sweep.location != once.location
    shown.back()
    assert shown.sweep is once
    shown.selected(place(xdata=None, ydata=-1.0), place(xdata=-3.0, ydata=-2.0))  # outside
    shown.selected(place(xdata=-2.5, ydata=-1.5), place(xdata=-2.5, ydata=-1.5))  # a click
    assert shown.frame == 2000
    shown.selected(place(xdata=-9.0, ydata=-9.0), place(xdata=9.0, ydata=9.0))
    assert "fills the frame" in shown.figure.axes[0].get_title()
    shown.back()
    shown.back()
    assert (shown.sweep, shown.frame) == (disc, 0)
