"""Pictures of a zoom movie: the view of its camera on frames that lie in each other."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from PIL import Image

from fractal_ray.figures.movie.camera import Box, View

Shades = Callable[[int], NDArray[np.float64]]
"""Function from a frame's number in its chain to (ny, nx) float64 from -1 to 1, NaN where unknown.
"""

_GREYS = (247, 150)
_LEAST = 1e-3  # of a node; a picture may show less of a frame far around it
_AROUND = 3
"""Number of outer frames of which parts are shown beside a frame."""


class Painter:
    """Painter of views.

    Parameters
    ----------
    boxes
        As in `views`.
    cells
        Cells of each frame's lattice along x and y.
    shades
        The numbers of each frame.
    colors
        Colour map of the numbers from -1 to 1.
    size
        Width and height of a picture in pixels.
    """

    def __init__(
        self,
        boxes: Sequence[Box],
        cells: Sequence[tuple[int, int]],
        shades: Shades,
        colors: Colormap,
        size: tuple[int, int],
    ) -> None:
        self._boxes, self._cells, self._size = boxes, cells, size
        self._colors = colors
        # A picture shows two frames, and those around them where they leave room.
        self._picture = lru_cache(maxsize=2 + _AROUND)(lambda number: tiles(shades(number), colors))

    def paint(self, view: View) -> Image.Image:
        """Paint an RGB picture; white beyond the axes, grey stripes where nodes are unknown."""
        canvas = Image.new("RGB", self._size, "white")
        self._paint(canvas, view.frame, view.window, _AROUND)
        if view.fade:
            faded = canvas.copy()
            self._blit(faded, view.frame + 1, _in_box(view.window, self._boxes[view.frame]))
            canvas = Image.blend(canvas, faded, view.fade)
        return canvas

    def _paint(self, canvas: Image.Image, number: int, window: Box, around: int) -> None:
        leaves = min(window[:2]) < 0 or max(window[2:]) > 1
        if leaves and number and around:
            outer = _out_of_box(window, self._boxes[number - 1])
            self._paint(canvas, number - 1, outer, around - 1)
        self._blit(canvas, number, window)

    def _blit(self, canvas: Image.Image, number: int, window: Box) -> None:
        picture, unknown = self._picture(number)
        across = _span(window[0], window[2], self._cells[number][0], self._size[0])
        down = _span(window[1], window[3], self._cells[number][1], self._size[1])
        if across is None or down is None:
            return
        (x0, x1, u0, u1), (y0, y1, v0, v1) = across, down
        box, size = (u0, v0, u1, v1), (x1 - x0, y1 - y0)
        canvas.paste(_enlarged(picture, box, size), (x0, y0))
        if unknown is not None:
            canvas.paste(_hatching(size), (x0, y0), _enlarged(unknown, box, size))


def tiles(shades: NDArray[np.float64], colors: Colormap) -> tuple[Image.Image, Image.Image | None]:
    """Paint (ny, nx) numbers as an RGB image, a pixel a node, y upwards, and a mask of unknowns."""
    known = ~np.isnan(shades)
    rgba = colors((np.where(known, shades, 0.0) + 1) / 2, bytes=True)
    image = Image.fromarray(np.ascontiguousarray(rgba[::-1, :, :3]))
    if known.all():
        return image, None
    return image, Image.fromarray(np.where(known, 0, 255).astype(np.uint8)[::-1].copy())


def _enlarged(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """Resize part of an image: large pixels become squares, small ones are averaged.

    Cut to whole pixels first, because Pillow keeps the ends of a part as float32.
    """
    left, top = int(box[0]), int(box[1])
    cut = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
    part = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    return cut.resize(size, Image.Resampling.BOX, part)


def _hatching(size: tuple[int, int]) -> Image.Image:
    row, column = np.ogrid[: size[1], : size[0]]
    stripes = np.where((row + column) % 12 < 2, _GREYS[1], _GREYS[0]).astype(np.uint8)
    return Image.fromarray(stripes).convert("RGB")


def _span(low: float, high: float, cells: int, pixels: int) -> tuple[int, int, float, float] | None:
    """Return the range of a picture's pixels that a lattice covers, and of the nodes there.

    Nodes are tiles that reach half a cell beyond the frame.
    """
    per_pixel = (high - low) / pixels
    reach = 0.5 / cells
    start = max(0, round((-reach - low) / per_pixel))
    stop = min(pixels, round((1 + reach - low) / per_pixel))
    if stop <= start:
        return None
    nodes = cells + 1
    first = (low + start * per_pixel) * cells + 0.5
    last = (low + stop * per_pixel) * cells + 0.5
    first = min(max(first, 0.0), nodes - _LEAST)
    return start, stop, first, min(max(last, first + _LEAST), float(nodes))


def _in_box(window: Box, box: Box) -> Box:
    x, y = box[2] - box[0], box[3] - box[1]
    left, top, right, bottom = window
    return (left - box[0]) / x, (top - box[1]) / y, (right - box[0]) / x, (bottom - box[1]) / y


def _out_of_box(window: Box, box: Box) -> Box:
    x, y = box[2] - box[0], box[3] - box[1]
    left, top, right, bottom = window
    return box[0] + left * x, box[1] + top * y, box[0] + right * x, box[1] + bottom * y
