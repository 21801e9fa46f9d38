"""Strip under the pictures of a movie: place, depth and meaning of the colours."""

import textwrap
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import Colormap
from PIL import Image, ImageDraw, ImageFont

from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.cut_axis import DECIMAL

_LINES = 4


class Captions:
    """Painter of the strip.

    Parameters
    ----------
    title
        Title of the movie; a long one is cut.
    meaning
        Names of -1 and of 1, and a note on the colours between them.
    notes
        Sentences below, wrapped to the width.
    colors
        Colour map of the numbers from -1 to 1.
    width
        Width of the pictures in pixels.
    """

    def __init__(
        self,
        title: str,
        meaning: tuple[str, str, str],
        colors: Colormap,
        width: int,
        notes: Sequence[str] = (),
    ) -> None:
        size = max(9, width // 50)
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self._font = ImageFont.truetype(folder / "DejaVuSans.ttf", size)
        self._line = round(1.45 * size)
        self._title, self._meaning, self._width = title, meaning, width
        self._notes = [line for note in notes for line in self._wrapped(note)]
        bar = colors(np.linspace(0, 1, 8 * size), bytes=True)[None, :, :3]
        self._bar = Image.fromarray(np.repeat(bar, size, axis=0))
        self.height = (_LINES + len(self._notes)) * self._line + size

    def draw(
        self, picture: Image.Image, frame: Frame, window: tuple[float, ...], deep: float
    ) -> None:
        """Write below the map of a picture.

        Parameters
        ----------
        picture
            A picture as high as the map and `height` together.
        frame, window
            The frame, and the window in shares of it from its upper left corner.
        deep
            Ratio of the first frame's width to the window's.
        """
        pen = ImageDraw.Draw(picture)
        left, top = self._line // 2, picture.height - self.height + self._line // 3
        depth = f"{deep:,.3g} x" if deep < 1e6 else f"{deep:.2e} x"
        room = self._width - 3 * left - self._font.getlength(depth)
        pen.text((left, top), self._fitting(self._title, room), "black", self._font)
        pen.text((self._width - left, top), depth, "black", self._font, anchor="ra")
        x = _range(frame.x, window[0], window[2])
        y = _range(frame.y, 1 - window[3], 1 - window[1])
        for number, text in ((1, x), (2, y)):
            line = self._fitting(text, self._width - 2 * left)
            pen.text((left, top + number * self._line), line, "black", self._font)
        self._legend(picture, pen, left, top + 3 * self._line)
        for number, note in enumerate(self._notes, _LINES):
            pen.text((left, top + number * self._line), note, "black", self._font)

    def _legend(self, picture: Image.Image, pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
        low, high, between = self._meaning
        pen.text((left, top), low, "black", self._font)
        at = left + round(self._font.getlength(low)) + left
        picture.paste(self._bar, (at, top + self._line // 8))
        at += self._bar.width + left
        text = self._fitting(f"{high}{between}", self._width - at - left)
        pen.text((at, top), text, "black", self._font)

    def _wrapped(self, text: str) -> list[str]:
        """Return a text as lines that fit the width of the pictures."""
        letters = max(20, int(self._width / self._font.getlength("n")))
        return textwrap.wrap(text, letters)

    def _fitting(self, text: str, room: float) -> str:
        while text and self._font.getlength(text) > room:
            text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
        return text


def _range(axis: Axis, start: float, stop: float) -> str:
    """Format the start and the width of a window on an axis, with the digits that it needs."""
    low, high = axis.ends()
    width = DECIMAL.subtract(high, low)
    name = axis.param
    if axis.scale == "log":
        name = f"log10({name})"
        low, width = (DECIMAL.divide(each, DECIMAL.ln(Decimal(10))) for each in (low, width))
    begin = DECIMAL.fma(Decimal(start), width, low)
    wide = DECIMAL.multiply(Decimal(stop - start), width)
    digits = Decimal(1).scaleb(min(0, wide.adjusted() - 2))
    return f"{name} from {begin.quantize(digits, context=DECIMAL):f}, {float(wide):.3g} wide"
