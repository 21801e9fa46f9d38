"""Zoom movies: the camera's way by number, pictures by pixel, files by reading them again."""

import math
import stat
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.errors import SweepError
from fractal_ray.figures import curves
from fractal_ray.figures.coloring import colormap
from fractal_ray.figures.movie.camera import Timing, View, boxes_of, length, views
from fractal_ray.figures.movie.captions import Captions
from fractal_ray.figures.movie.movie import Movie
from fractal_ray.figures.movie.pictures import Painter
from fractal_ray.figures.movie.video import open_video
from fractal_ray.figures.nesting import chain, innermost, magnification
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.boundary import labels
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.zoom import Zoom, zoom_in, zoom_out
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep

ROOT = Frame(0, Axis("a", "log", 1e-3, 1e3), Axis("b", "linear", -1.0, 1.0), 8, 8)
PLACE = (Decimal("0.71234567890123456789"), Decimal("0.2345678901234567"))
WHOLE = (0.0, 0.0, 1.0, 1.0)


def _zooms(
    make: Callable[..., list[Zoom]] = zoom_in, depth: int = 40, first_id: int = 1000
) -> list[Zoom]:
    return make(ROOT, PLACE, 2.0, cells=(8, 8), first_id=first_id, rule="center", depth=depth)


def _lattices(zooms: list[Zoom]) -> dict[int, SweepFrame]:
    return {0: SweepFrame(ROOT, 0)} | {z.frame.id: SweepFrame(z.frame, 0, zoom=z) for z in zooms}


class TestChains:
    def test_a_chain_inwards(self) -> None:
        every = _lattices(_zooms(depth=3) + _zooms(depth=2, first_id=2000))
        assert [each.frame.id for each in chain(every, 1002)] == [0, 1000, 1001, 1002]
        assert innermost(every) == [1002, 2001]
        assert magnification(ROOT, every[1002].frame) == pytest.approx(8)

    def test_a_sequence_outwards_is_turned_round(self) -> None:
        """Start with the widest frame: it is as wide as the frame they were cut from."""
        every = _lattices(_zooms(zoom_out, depth=3))
        assert [each.frame.id for each in chain(every, 1000)] == [1003, 1002, 1001, 1000]
        assert innermost(every) == [0, 1000]


class TestCamera:
    def test_every_step_narrows_by_the_same_factor_down_to_the_limit_of_float64(self) -> None:
        frames = [ROOT, *(zoom.frame for zoom in _zooms())]
        boxes = boxes_of(frames)
        assert len(boxes) == 40
        np.testing.assert_allclose([box[2] - box[0] for box in boxes], 0.5, rtol=1e-12)
        widths, ends = [], []
        for view in views(boxes, Timing(hold=0, zoom=6, crossfade=2, pad=0)):
            left, top, right, bottom = view.window
            assert min(left, top) >= -1e-15
            assert max(right, bottom) <= 1 + 1e-15
            widths.append((right - left) * 0.5**view.frame)
            ends.append(view)
        steps = np.diff(np.log2(widths))
        np.testing.assert_allclose(steps, -1 / 6, rtol=1e-9)
        # At the end of a step the window is the next frame, seen from the one before.
        for number, box in enumerate(boxes):
            np.testing.assert_allclose(ends[6 * (number + 1)].window, box, atol=1e-14)

    def test_the_place_that_is_zoomed_to_stays_where_it_is(self) -> None:
        box = (0.5, 0.125, 0.75, 0.375)
        fixed = 0.5 / (1 - 0.25), 0.125 / (1 - 0.25)
        for view in views([box], Timing(pad=0)):
            left, top, right, bottom = view.window
            assert (fixed[0] - left) / (right - left) == pytest.approx(fixed[0])
            assert (fixed[1] - top) / (bottom - top) == pytest.approx(fixed[1])

    @pytest.mark.parametrize("hold", [0, 5])
    @pytest.mark.parametrize("crossfade", [0, 4, 10])
    def test_holds_and_fades(self, hold: int, crossfade: int) -> None:
        timing = Timing(hold=hold, zoom=10, crossfade=crossfade, pad=0.1)
        found = list(views([(0.0, 0.0, 0.5, 0.5)] * 2, timing))
        assert sum(view.times for view in found) == length(3, timing)
        assert found[0].window == pytest.approx((-0.1, -0.1, 1.1, 1.1))
        fades = [view.fade for view in found]
        assert fades[10] == fades[20] == 1
        assert sum(0 < fade < 1 for fade in fades) == 2 * max(0, crossfade - 1)
        assert fades[1:11] == sorted(fades[1:11])
        assert [view.times for view in found].count(hold + 1) == (2 if hold else 21)

    def test_more_fading_than_way(self) -> None:
        with pytest.raises(SweepError, match=r"crossfade \(30\)"):
            Timing(crossfade=30).check()


class TestPainter:
    """Frames of 3 x 3 nodes in pictures of 60 x 60 pixels."""

    def _painter(self, *shades: list[list[float]]) -> Painter:
        arrays = [np.array(shade, dtype=np.float64) for shade in shades]
        boxes = [(0.5, 0.0, 1.0, 0.5)] * (len(shades) - 1)  # the upper right quarter
        cells = [(2, 2)] * len(shades)
        return Painter(boxes, cells, arrays.__getitem__, colormap("label"), (60, 60))

    def test_tiles_lie_on_their_nodes_and_y_goes_up(self) -> None:
        painter = self._painter([[1, -1, -1], [-1, -1, -1], [-1, -1, -1]])
        picture = np.asarray(painter.paint(View(0, WHOLE, 0.0, 1)))
        yes, no = (tuple(255 * np.array(colormap("label")(x)[:3])) for x in (1.0, 0.0))
        # The lowest, leftmost node's tile reaches half a cell into the frame.
        np.testing.assert_allclose(picture[46:, :14], np.broadcast_to(yes, (14, 14, 3)), atol=1)
        np.testing.assert_allclose(picture[:44], np.broadcast_to(no, (44, 60, 3)), atol=1)
        np.testing.assert_allclose(picture[:, 16:], np.broadcast_to(no, (60, 44, 3)), atol=1)

    def test_beyond_the_axes_it_is_white_and_unknown_is_striped(self) -> None:
        nan = math.nan
        painter = self._painter([[1, 1, 1], [1, nan, 1], [1, 1, 1]])
        picture = np.asarray(painter.paint(View(0, (-1.0, -1.0, 2.0, 2.0), 0.0, 1)))
        assert (picture[:10] == 255).all()
        assert set(picture[26:34, 26:34].ravel()) == {150, 247}

    def test_the_next_frame_fades_in_at_its_place(self) -> None:
        yes, no = [[1.0] * 3] * 3, [[-1.0] * 3] * 3
        painter = self._painter(no, yes)
        first, half, last = (
            np.asarray(painter.paint(View(0, WHOLE, fade, 1))).astype(int) for fade in (0, 0.5, 1)
        )
        assert np.abs(half - (first + last) / 2).max() <= 1
        changed = (first != last).any(axis=2)
        # A quarter, and half a tile around it.
        assert changed[:36, 24:].all()
        assert not changed[39:].any()
        assert not changed[:, :21].any()

    def test_beside_a_frame_the_one_around_it_is_seen(self) -> None:
        yes, no = [[1.0] * 3] * 3, [[-1.0] * 3] * 3
        painter = self._painter(no, yes)
        inner = np.asarray(painter.paint(View(1, (-1.0, -0.1, 1.0, 1.9), 0.0, 1)))
        outer = np.asarray(painter.paint(View(0, (0.0, -0.05, 1.0, 0.95), 1.0, 1)))
        np.testing.assert_array_equal(inner, outer)


class TestCurves:
    CURVES = ([2.0, 1.0, 3.0, 1.0, 1.0, 1.0], [2.0, 1.0, 3.0, 3.0, 3.0, 3.0], [2.0, 9.0], [])

    def _table(self, **changes: Any) -> pa.Table:
        outcomes = ["trained", "not_improved", "diverged", "diverged"]
        columns = {
            "losses": pa.array(self.CURVES, pa.list_(pa.float32())),
            "steps": pa.array([len(curve) for curve in self.CURVES]),
            "diverged_step": pa.array([None, None, 2, 0], pa.int64()),
            "outcome": outcomes,
            **{name: pa.nulls(4, pa.float64()) for name in ("x", "y", "val_loss")},
        }
        return pa.table({**columns, **changes})

    def _rule(self) -> Any:
        return _sweep(Path("unused"), label={"window": 2}).rule

    def test_steps_after_which_the_outcome_stays(self) -> None:
        """Compare with the criterion applied to every beginning of a curve."""
        found = curves.settled(self._rule(), self._table())
        criterion = Criterion(window=2)
        for curve, settled in zip(self.CURVES[:2], found[:2], strict=True):
            shown = [criterion.outcome(curve[:stop], None) for stop in range(1, 7)]
            last = max((i for i in range(6) if shown[i] != shown[-1]), default=-1)
            assert settled == last + 2
        assert found.tolist() == [5, 3, 3, 1]

    @pytest.mark.parametrize("window", [1, 2, 3, 20])
    def test_a_huge_loss_hides_nothing_that_comes_after_its_window(self, window: int) -> None:
        rows = [
            [1.0, 1e20, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0],
            [1.0, 1e20, 3.0, 0.5, 0.5, 0.5, 0.5, 0.5],
            [1.0, 0.5, 1e20, 3.0, 3.0, 0.1, 0.1, 0.1],
        ]
        table = pa.table(
            {
                "losses": pa.array(rows, pa.list_(pa.float32())),
                "steps": pa.array([8] * 3),
                "diverged_step": pa.array([None] * 3, pa.int64()),
                "outcome": ["not_improved"] * 3,
            }
        )
        found = curves.settled(_sweep(Path("unused"), label={"window": window}).rule, table)
        for curve, settled in zip(rows, found, strict=True):
            shown = [Criterion(window).outcome(curve[:stop], None) for stop in range(1, 9)]
            last = max((i for i in range(8) if shown[i] != shown[-1]), default=-1)
            assert settled == last + 2

    def test_the_sign_of_a_measure_is_the_label(self) -> None:
        found = curves.measures(self._rule(), self._table())
        assert found[0] == pytest.approx(-(1 + 0.5 + 1.5 + 3 * 0.5))
        assert found[1] == pytest.approx(1 + 2 + 4 / 1.5)
        assert found[2] == pytest.approx(1 + 2 / 9 + 4 * 2e-6)
        assert found[3] == 0

    def test_parts_of_curves_are_refused(self) -> None:
        with pytest.raises(SweepError, match="kept_losses"):
            curves.measures(self._rule(), self._table(steps=pa.array([9, 6, 2, 0])))
        empty = pa.array([[]] * 4, pa.list_(pa.float32()))
        with pytest.raises(SweepError, match="have none"):
            curves.settled(self._rule(), self._table(losses=empty))

    def test_on_a_lattice_every_run_is_at_its_node(self, make_sweep: Callable[..., Sweep]) -> None:
        sweep = make_sweep()
        sweep.run(engine="local")
        table, raster = sweep.table(), sweep.raster()
        found = curves.on_lattice(sweep.rule, sweep.frame(), table, raster, curves.measures)
        np.testing.assert_array_equal(found < 0, labels(raster, "trainable") == 1)
        rows = curves.measures(sweep.rule, table)
        for row in (0, 17, 80):
            ix, iy = (table.column(name)[row].as_py() for name in ("ix", "iy"))
            assert found[iy, ix] == rows[row]


class TestFiles:
    def _pictures(self) -> list[Image.Image]:
        ends = [tuple(int(255 * c) for c in colormap("rank")(x)[:3]) for x in (0.0, 1.0)]
        return [Image.new("RGB", (20, 10), color) for color in (*ends, ends[0])]

    def test_a_gif_has_its_colours_and_its_time(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "a.gif"
        with open_video(path, (20, 10), 24, colormap("rank")) as add:
            for picture, times in zip(self._pictures(), (5, 1, 18), strict=True):
                add(picture, times)
        with Image.open(path) as gif:
            assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (20, 10), 0)
            seconds = 0
            for number, picture in enumerate(self._pictures()):
                gif.seek(number)
                seconds += gif.info["duration"]
                difference = np.asarray(gif.convert("RGB")).astype(int) - np.asarray(picture)
                assert np.abs(difference).max() <= 2
        assert seconds == 1000
        assert [each.name for each in path.parent.iterdir()] == ["a.gif"]

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        with (
            pytest.raises(SweepError, match=r"\.gif, \.mp4"),
            open_video(tmp_path / "a.avi", (20, 10), 24, colormap("rank")),
        ):
            pass

    def _ffmpeg(self, folder: Path, body: str, patch: pytest.MonkeyPatch) -> None:
        program = folder / "ffmpeg"
        program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        patch.setenv("PATH", str(folder))

    def test_an_mp4_goes_through_ffmpeg(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = (
            "open(sys.argv[-1], 'wb').write(' '.join(sys.argv).encode() + sys.stdin.buffer.read())"
        )
        self._ffmpeg(tmp_path, body, monkeypatch)
        path = tmp_path / "a.mp4"
        with open_video(path, (20, 10), 30, colormap("rank")) as add:
            for picture in self._pictures():
                add(picture, 2)
        content = path.read_bytes()
        assert b"-s 20x10 -r 30" in content
        assert content.endswith(b"".join(2 * each.tobytes() for each in self._pictures()))

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("sys.exit('no such codec')", "no such codec"),
            (
                "sys.exit('av_write_frame: No space left\\n\\nError writing trailer')",
                "av_write_frame: No space left Error writing trailer",
            ),
            ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ],
    )
    def test_what_ffmpeg_says_when_it_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
    ) -> None:
        self._ffmpeg(tmp_path, body, monkeypatch)
        large = Image.new("RGB", (400, 400))
        with (
            pytest.raises(SweepError, match=f"^ffmpeg failed: {reason}$"),
            open_video(tmp_path / "a.mp4", (400, 400), 30, colormap("rank")) as add,
        ):
            for _ in range(50):
                add(large, 1)
        assert [each.name for each in tmp_path.iterdir()] == ["ffmpeg"]

    def test_no_ffmpeg(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with (
            pytest.raises(SweepError, match="ffmpeg, which is not on the PATH"),
            open_video(tmp_path / "a.mp4", (20, 10), 30, colormap("rank")),
        ):
            pass


def _sweep(folder: Path, **changes: Any) -> Sweep:
    raw = {
        "name": "deep",
        "storage": str(folder),
        "workload": {"kind": "map", "set": "weierstrass"},
        "axes": {
            "x": {"param": "x", "scale": "linear", "min": 0.0, "max": 1.0},
            "y": {"param": "y", "scale": "linear", "min": -0.5, "max": 0.5},
        },
        "stages": [
            {"grid": {"points": 9}},
            {"zoom": {"points": 9, "factor": 4, "depth": 2, "windows": 2}},
            {"refine": {"levels": 1}},
        ],
        **changes,
    }
    return Sweep(parse_spec(raw))


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    sweep = _sweep(tmp_path_factory.mktemp("deep"))
    sweep.run(engine="local")
    return sweep


class TestCommand:
    FAST = ("--width", "200", "--zoom", "4", "--crossfade", "2", "--hold", "2")

    def _run(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    def test_a_sweep_becomes_a_movie_beside_its_dataset(
        self, deep: Sweep, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        done = self._run("movie", deep.location, *self.FAST)
        assert "chains end at frames 1002, 1003" in done.stderr
        assert "no MP4" in done.stderr
        path = Path(done.stdout.strip())
        assert path == Path(deep.location) / "figures" / "deep-frame1003-label.gif"
        with Image.open(path) as gif:
            # One picture for the first hold; every way ends in its hold.
            assert gif.n_frames == 1 + 2 * 4
            colors = np.asarray(gif.convert("RGB"))[100, 100].astype(int)
        ends = [255 * np.array(colormap("label")(x)[:3]) for x in (0.0, 1.0)]
        assert min(np.abs(colors - end).max() for end in ends) < 3

    @pytest.mark.parametrize(
        "more", [("--frame", "1000"), ("--shade", "value", "--colors", "safe")]
    )
    def test_what_can_be_chosen(self, deep: Sweep, tmp_path: Path, more: tuple[str, ...]) -> None:
        out = tmp_path / "a.gif"
        done = self._run("movie", deep.location, "--out", str(out), "-q", *self.FAST, *more)
        assert done.stdout.strip() == str(out)
        assert done.stderr == ""
        with Image.open(out) as gif:
            assert gif.n_frames == (5 if "--frame" in more else 9)
            assert gif.size[0] == 200

    def test_frames_without_points_are_left_out(self, deep: Sweep) -> None:
        table = deep.table()
        narrow = deep.frame(1003).frame.x
        x = table.column("x").to_numpy()
        without = table.filter(pa.array((x < narrow.min) | (x > narrow.max)))
        made = Movie(deep, without, timing=Timing())
        assert [each.frame.id for each in made.chain] == [0, 1001]

    def test_captions_of_a_set_name_no_loss(
        self, deep: Sweep, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        captions = mock.Mock(wraps=Captions)
        monkeypatch.setattr("fractal_ray.figures.movie.movie.Captions", captions)
        Movie(deep, deep.table(), timing=Timing(), shade="value")
        meaning = captions.call_args.args[1]
        assert meaning == ("not trainable", "trainable", "; not run: as nearest run")

    def test_nothing_to_go_through(self, deep: Sweep) -> None:
        with pytest.raises(SweepError, match="frame 0 of"):
            Movie(deep, deep.table(), 0, timing=Timing())

    def test_a_sweep_without_zooms_says_what_to_add(self) -> None:
        flat = Sweep.open("notebooks/data/first-map")
        needed = r"has no zooms: its stages are .*; add .* zoom: \{points: 33, .*fractal-ray run"
        with pytest.raises(SweepError, match=needed):
            Movie(flat, flat.table(), timing=Timing())

    def test_zooms_that_no_run_has_reached(self, deep: Sweep, tmp_path: Path) -> None:
        begun = Sweep(deep.spec, location=str(tmp_path))
        with pytest.raises(SweepError, match="has no frame of a zoom yet; go on with it"):
            Movie(begun, deep.table(), timing=Timing())

    def test_zooms_are_drawn_on_the_first_frame(self, deep: Sweep) -> None:
        done = self._run("plot", deep.location, "--figure", "zooms")
        assert Path(done.stdout.strip()).name == "deep-frame0-zooms.png"

    @pytest.mark.parametrize("figure", ["rank", "convergence"])
    def test_maps_of_curves_need_curves(self, deep: Sweep, figure: str) -> None:
        with pytest.raises(SweepError, match="have none"):
            self._run("plot", deep.location, "--figure", figure)
