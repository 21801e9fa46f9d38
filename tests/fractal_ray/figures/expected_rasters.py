"""Small pictures of every figure of the shipped datasets, and how two of them are compared.

    python -m tests.fractal_ray.figures.expected_rasters

draws tests/fractal_ray/figures/rasters/ again. Run it from the root of the
repository, after a figure or a dataset has changed; look at the pictures.
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fractal_ray.figures.catalog import KINDS, draw
from fractal_ray.figures.style import shared_style
from fractal_ray.sweep import Sweep

FOLDER = Path(__file__).parent / "rasters"
DATA = Path(__file__).parents[3] / "notebooks" / "data"

WIDTH = 200  # pixels
BLOCK = 10  # pixels of a side of the compared blocks
DIAGRAMS = (
    *("curves", "critical", "levels", "scaling"),
    *("against-zoom", "against-steps", "against-threshold"),
)
"""Thin lines on white: a panel that is missing makes little difference."""

OF_BORDER = ("boundary", "zooms", "levels", "scaling", "against-zoom")
FORCED = ("against-steps", "against-threshold")  # first-map has no verification sheet


def tolerance(kind: str) -> float:
    """Return the difference that other fonts may make; a missing panel makes at least twice it."""
    return 0.024 if kind in DIAGRAMS else 0.07


def example(kind: str) -> Figure:
    """Draw a figure of a shipped dataset."""
    of_tokens = "lr-tokens" if kind == "critical" else "first-map"
    sweep = Sweep.open(DATA / ("border" if kind in OF_BORDER else of_tokens))
    return draw(sweep, kind, force=kind in FORCED)


def shrunk(figure: Figure) -> Image.Image:
    """Draw a figure as a picture `WIDTH` pixels wide."""
    with shared_style(), io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=4 * WIDTH / figure.get_size_inches()[0])
        return Image.open(file).convert("RGB").reduce(4)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Compute the largest difference of mean colours of blocks, 0 to 1; 1 if sizes differ.

    Means, and of each block the best of 25 places pixels apart, because another version of
    FreeType draws letters a little wider, and panels make room for them.
    """
    if one.size != other.size:
        return 1.0
    here, there = (np.asarray(each, dtype=np.float64) / 255 for each in (one, other))
    moved = [np.roll(there, (dy, dx), (0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)]
    apart = [np.abs(_blocks(here) - _blocks(each)).max(axis=-1) for each in moved]
    return float(np.min(apart, axis=0).max())


def _blocks(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (size // BLOCK for size in pixels.shape[:2])
    cut = pixels[: rows * BLOCK, : columns * BLOCK]
    return cut.reshape(rows, BLOCK, columns, BLOCK, 3).mean(axis=(1, 3))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for kind in KINDS:
        shrunk(example(kind)).save(FOLDER / f"{kind}.png", optimize=True)
