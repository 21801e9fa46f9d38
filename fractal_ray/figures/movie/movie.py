"""Zoom movie of a sweep: frames, colouring and captions together."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.errors import SweepError
from fractal_ray.figures import curves
from fractal_ray.figures.coloring import Shade, colormap, label_map, rank_map, value_map
from fractal_ray.figures.movie.camera import Timing, boxes_of, length, views
from fractal_ray.figures.movie.captions import Captions
from fractal_ray.figures.movie.pictures import Painter
from fractal_ray.figures.nesting import chain, innermost, magnification, no_zooms
from fractal_ray.figures.notes import notes_on
from fractal_ray.plane.color_schemes import Colors
from fractal_ray.plane.palette import NO, YES
from fractal_ray.spec.frames import SweepFrame


class Movie:
    """Movie down a chain of a sweep's frames.

    Parameters
    ----------
    sweep, table
        The sweep and its rows.
    frame
        Number of the frame at which the movie ends; None for the last that no other lies in.
    timing
    shade
        "label"; "value": label and loss in one number; "rank": speed of convergence or divergence.
        Values and ranks are computed for each frame by itself.
    colors
        As in `fractal_ray.figures.coloring.colormap`.
    title

    Raises
    ------
    SweepError
        If no two frames lie in each other and hold points.
    """

    def __init__(
        self,
        sweep: SweepData,
        table: pa.Table,
        frame: int | None = None,
        *,
        timing: Timing,
        shade: Shade = "label",
        colors: Colors = "safe",
        title: str = "",
    ) -> None:
        timing.check()
        self._sweep, self._table, self._timing, self._shade = sweep, table, timing, shade
        self.others = innermost(lattices := sweep.frames)
        if all(lattice.zoom is None for lattice in lattices.values()):
            raise no_zooms(sweep)
        number = self.others[-1] if frame is None else sweep.frame(frame).frame.id
        self.chain = [each for each in chain(lattices, number) if _has_rows(each, table)]
        if len(self.chain) < 2:
            raise SweepError(
                "a movie goes through frames that lie in each other; frame"
                f" {number} of {sweep.location} lies in none that has points"
            )
        self.colors = colormap(shade, colors)
        first = read_frame(sweep, self.chain[0].frame.id, table=table).raster
        notes = notes_on(sweep, first)
        self._captions = Captions(title, self._meaning(), self.colors, timing.width, notes)
        height = timing.width + self._captions.height
        # Even, as MP4 asks.
        self.size = timing.width // 2 * 2, height // 2 * 2
        self.length = length(len(self.chain), timing)

    def pictures(self) -> Iterator[tuple[Image.Image, int]]:
        """Yield RGB pictures of `size`, each with the number of pictures during which it stands."""
        frames = [lattice.frame for lattice in self.chain]
        boxes = boxes_of(frames)
        cells = [(each.frame.cells_x << each.level, each.frame.cells_y << each.level)
                 for each in self.chain]  # fmt: skip
        width, height = self.size
        area = width, height - self._captions.height
        painter = Painter(boxes, cells, self._shades, self.colors, area)
        for view in views(boxes, self._timing):
            picture = Image.new("RGB", self.size, "white")
            picture.paste(painter.paint(view), (0, 0))
            frame = frames[view.frame]
            share = (view.window[2] - view.window[0]) / (1 + 2 * self._timing.pad)
            deep = magnification(frames[0], frame) / share
            self._captions.draw(picture, frame, view.window, deep)
            yield picture, view.times

    def _shades(self, number: int) -> NDArray[np.float64]:
        sweep, lattice = self._sweep, self.chain[number]
        boundary = sweep.spec.label.boundary
        raster = read_frame(sweep, lattice.frame.id, table=self._table).raster
        if self._shade == "label":
            return label_map(raster, boundary)
        if self._shade == "value":
            return value_map(raster, boundary)
        return rank_map(
            curves.on_lattice(sweep.rule, lattice, self._table, raster, curves.measures)
        )

    def _meaning(self) -> tuple[str, str, str]:
        spec = self._sweep.spec
        boundary = spec.label.boundary
        darkest = "; darkest: lowest loss" if spec.workload.records_losses else ""
        how = {"label": "", "value": darkest, "rank": "; palest: fastest"}
        filled = any(lattice.refinement is not None for lattice in self.chain)
        note = "; not run: as nearest run" if filled and self._shade != "label" else ""
        return NO[boundary], YES[boundary], how[self._shade] + note


def _has_rows(lattice: SweepFrame, table: pa.Table) -> bool:
    frame, level = lattice.frame, lattice.level
    ix = frame.x.addresses(table.column("x").to_numpy(), frame.cells_x << level)
    iy = frame.y.addresses(table.column("y").to_numpy(), frame.cells_y << level)
    return bool(((ix >= 0) & (iy >= 0)).any())
