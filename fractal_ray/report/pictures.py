"""Small PNG pictures of a frame: label, outcome, value, loss and stability, each with its legend.

Unknown nodes stay transparent: the page has a hatched ground. A node is one pixel. Where a lattice
is finer than a page needs, or an axis of whole numbers is not evenly spaced, every pixel shows the
node that it lies in.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.figures.coloring import colormap, fill_inferred, listed, loss_colors, value_map
from fractal_ray.figures.style import BLANK_COLOR
from fractal_ray.figures.tiles import edges, rulers
from fractal_ray.plane.boundary import OUTCOME_CODES, UNKNOWN, Raster, labels
from fractal_ray.plane.palette import CODE_COLORS, CODE_NAMES, MEASURED_COLORS, NO, UNLABELLED, YES

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

MOST_PIXELS: Final = 1025
"""Largest number of pixels along a side."""
FAILED_COLOR: Final = "#303030"
_UNEVEN: Final = 0.01  # of a step: largest rounding error of an evenly spaced axis
_STOPS: Final = 13  # number of colours in a legend's gradient
_THUMBNAIL: Final = 128


@dataclass(frozen=True)
class Gradient:
    """Colour scale: CSS colours from the low end to the high one, and the names of the ends."""

    colors: tuple[str, ...]
    low: str
    high: str


@dataclass(frozen=True)
class View:
    """Picture of a frame that shows one quantity.

    Parameters
    ----------
    key, title
        Name for the page's code, and title for a reader.
    png
        The picture; its first row of pixels is the frame's high end of y.
    swatches
        ``(text, CSS colour)``; "hatch" for the page's ground, "none" for a text without a colour.
    gradient
        Colour scale, if colours stand for numbers.
    """

    key: str
    title: str
    png: bytes
    swatches: tuple[tuple[str, str], ...]
    gradient: Gradient | None = None


def views(raster: Raster, failed: NDArray[np.bool_], boundary: str) -> list[View]:
    """Draw all views that apply to a frame.

    Parameters
    ----------
    raster
    failed
        (ny, nx) nodes without an outcome whose runs failed.
    boundary
        Which label separates yes from no, as in `fractal_ray.plane.boundary.labels`.
    """
    draw = _Brush(raster, failed)
    pictures = [_label(draw, boundary), _outcome(draw)]
    if (loss := _loss(draw, boundary)) is not None:
        pictures += [_value(draw, boundary), loss]
    if boundary != "stable":
        pictures.append(_stability(draw))
    return pictures


def thumbnail(raster: Raster, failed: NDArray[np.bool_], boundary: str) -> bytes:
    """Draw the label as a PNG of at most 128 pixels a side."""
    return _label(_Brush(raster, failed, _THUMBNAIL), boundary).png


class _Brush:
    """Painter of node values as a PNG of at most `most` pixels a side."""

    def __init__(self, raster: Raster, failed: NDArray[np.bool_], most: int = MOST_PIXELS) -> None:
        self.raster, self.failed = raster, failed
        along_x, along_y = rulers(raster)
        self._columns = pixels(along_x.positions(raster.x), most)
        self._rows = pixels(along_y.positions(raster.y), most)[::-1]

    def png(self, shares: NDArray[np.float64], colors: "Colormap") -> bytes:
        """Paint (ny, nx) numbers from 0 to 1; NaN is transparent, failed nodes are dark grey."""
        from PIL import Image

        at = np.ix_(self._rows, self._columns)
        values, failed = shares[at], self.failed[at]
        pixels = colors(np.ma.masked_invalid(values), bytes=True)
        pixels[np.isnan(values)] = 0
        pixels[failed] = [*bytes.fromhex(FAILED_COLOR[1:]), 255]
        file = io.BytesIO()
        Image.fromarray(pixels, "RGBA").save(file, "PNG", optimize=True)
        return file.getvalue()

    def borrowed(self) -> list[tuple[str, str]]:
        """Return the legend of inferred nodes, for colours of numbers, which only runs have."""
        inferred = int((self.raster.known & ~self.raster.measured).sum())
        text = f"nodes that were not run have the colour of the nearest run ({inferred:,})"
        return [(text, "none")] if inferred else []

    def others(self) -> list[tuple[str, str]]:
        """Return the legend of nodes without an outcome; empty if all have one."""
        lost = int(self.failed.sum())
        unknown = int((~self.raster.known).sum()) - lost
        missing = [(f"not run yet ({unknown:,})", "hatch")] if unknown else []
        return [*missing, *([(f"failed ({lost:,})", FAILED_COLOR)] if lost else [])]


def pixels(positions: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the node that each pixel along an axis shows; evenly spaced nodes get a pixel each.

    Parameters
    ----------
    positions
        (n,) positions of the nodes in the picture, never decreasing.
    most
        Largest number of pixels.
    """
    count = positions.size
    even = np.linspace(positions[0], positions[-1], count)
    step = (positions[-1] - positions[0]) / max(1, count - 1)
    if count <= most and np.abs(positions - even).max() <= _UNEVEN * step:
        return np.arange(count)
    borders = edges(positions)
    middles = np.linspace(borders[0], borders[-1], 2 * most + 1)[1::2]
    return np.clip(np.searchsorted(borders, middles, side="right") - 1, 0, count - 1)


def _label(draw: _Brush, boundary: str) -> View:
    raster = draw.raster
    answer = labels(raster, boundary)
    kind = np.where(answer == 1, 2, 0) + raster.measured
    yes, no = YES[boundary], NO[boundary]
    kind = np.where(answer == UNKNOWN, 4 + raster.measured, kind)
    names = (f"{no}, inferred", no, f"{yes}, inferred", yes, f"not run: {yes} or {no}", UNLABELLED)
    colors = (*MEASURED_COLORS, BLANK_COLOR, BLANK_COLOR)
    counts = [int((raster.known & (kind == code)).sum()) for code in range(len(names))]
    shares = np.where(raster.known, (kind + 0.5) / len(names), np.nan)
    swatches = [
        (f"{names[code]} ({counts[code]:,})", colors[code])
        for code in (3, 2, 1, 0, 5, 4)
        if counts[code]
    ]
    png = draw.png(shares, listed(colors))
    return View("label", f"{yes} or not", png, (*swatches, *draw.others()))


def _outcome(draw: _Brush) -> View:
    raster = draw.raster
    sure = OUTCOME_CODES.values()
    swatches = [
        (f"{'' if code in sure else 'not run: '}{CODE_NAMES[code]} ({count:,})", color)
        for code, color in CODE_COLORS.items()
        if (count := int((raster.outcome == code).sum()))
    ]
    shares = np.where(raster.known, (raster.outcome + 0.5) / len(CODE_COLORS), np.nan)
    colors = listed(CODE_COLORS.values())
    return View("outcome", "outcome", draw.png(shares, colors), (*swatches, *draw.others()))


def _value(draw: _Brush, boundary: str) -> View:
    colors = colormap("value")
    shares = (value_map(draw.raster, boundary) + 1) / 2
    scale = Gradient(_stops(colors), f"-1: {NO[boundary]}", "0.3 (highest loss) to 1 (lowest)")
    title, swatches = f"{YES[boundary]} and how well", (*draw.borrowed(), *draw.others())
    return View("value", title, draw.png(shares, colors), swatches, scale)


def _loss(draw: _Brush, boundary: str) -> View | None:
    """Draw the final losses of yes nodes, as in the figures; None if there are none."""
    raster = draw.raster
    yes = labels(raster, boundary) == 1
    finite = yes & np.isfinite(raster.loss)
    if not finite.any():
        return None
    low, high = float(raster.loss[finite].min()), float(raster.loss[finite].max())
    loss = fill_inferred(np.where(finite, raster.loss, np.nan), raster, boundary)
    # The last colour marks nodes without a loss.
    steps = 255
    scaled = (loss - low) / ((high - low) or 1.0) * steps / (steps + 1)
    shades = loss_colors(steps)
    colors = listed([*map(tuple, shades(np.arange(steps))), BLANK_COLOR])
    blank = raster.known & np.isnan(scaled)
    png = draw.png(np.where(blank, 1.0, np.where(raster.known, scaled, np.nan)), colors)
    grey = [(f"{NO[boundary]}, or no loss", BLANK_COLOR)] if blank.any() else []
    scale = Gradient(_stops(shades), f"{low:.4g}", f"{high:.4g}")
    return View("loss", "final loss", png, (*grey, *draw.borrowed(), *draw.others()), scale)


def _stability(draw: _Brush) -> View:
    raster = draw.raster
    answer = labels(raster, "stable")
    no, yes = MEASURED_COLORS[1], MEASURED_COLORS[3]
    # The stability of an inferred node may be open, because the refinement follows one label only.
    kinds = (
        ("stable", answer == 1, yes),
        (NO["stable"], answer == 0, no),
        (f"not run: stable or {NO['stable']}", raster.known & (answer == UNKNOWN), BLANK_COLOR),
    )
    shares = np.full(answer.shape, np.nan)
    for number, (_, where, _) in enumerate(kinds):
        shares[where] = (number + 0.5) / len(kinds)
    swatches = [
        (f"{name} ({count:,})", color)
        for name, where, color in kinds
        if (count := int(where.sum())) or color != BLANK_COLOR
    ]
    png = draw.png(shares, listed(color for _, _, color in kinds))
    return View("stability", "stable or diverged", png, (*swatches, *draw.others()))


def _stops(colors: "Colormap") -> tuple[str, ...]:
    shades = np.round(255 * np.array(colors(np.linspace(0, 1, _STOPS)))).astype(int)
    return tuple("#{:02x}{:02x}{:02x}".format(*shade) for shade in shades)
