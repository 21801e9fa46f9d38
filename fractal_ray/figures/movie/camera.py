"""Path of a zoom movie's camera: from the axes down a chain of frames (features V6).

The camera goes from frame to frame. Its window is given in shares of the current frame, taken from
the exact ends of the frames (`nesting.inside`), so that the path is as smooth at a width of 1e-14
as at 1. In the axes' own coordinates every step narrows the window by one constant factor (softer
at the ends where the camera holds), around the point whose place is equal in both frames, so the
window never leaves the wider frame.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fractal_ray.errors import SweepError
from fractal_ray.figures.nesting import inside
from fractal_ray.plane.axes import Frame

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in shares of a frame's sides, from its upper left corner."""


@dataclass(frozen=True)
class Timing:
    """Timing and size of a movie.

    Parameters
    ----------
    hold
        Number of pictures during which a frame stands still.
    zoom
        Number of pictures from one frame to the next, at least 1.
    crossfade
        Number of these pictures, at the end, that fade over to the next frame; at most `zoom`.
    fps
        Pictures a second, 1 to 50 (a GIF counts in hundredths of a second).
    pad
        Margin around a frame that stands still, in shares of its sides.
    width
        Width of the pictures in pixels.
    """

    hold: int = 12
    zoom: int = 24
    crossfade: int = 8
    fps: int = 24
    pad: float = 0.02
    width: int = 900

    def check(self) -> None:
        """Raise SweepError if the crossfade is longer than the zoom."""
        if self.crossfade > self.zoom:
            raise SweepError(
                f"crossfade ({self.crossfade}) are the last of the pictures of a zoom"
                f" ({self.zoom}), so there cannot be more of them"
            )


@dataclass(frozen=True)
class View:
    """Picture on the path from frame number `frame` of a chain to the next.

    Parameters
    ----------
    frame
        Number of the frame, from 0.
    window
        Window of the camera, in shares of that frame.
    fade
        0 for that frame alone, up to 1 for the next frame alone.
    times
        Number of pictures during which this one stands.
    """

    frame: int
    window: Box
    fade: float
    times: int


def views(boxes: Sequence[Box], timing: Timing) -> Iterator[View]:
    """Yield the views of a movie.

    Parameters
    ----------
    boxes
        Place of every frame but the first in the one before it.
    """
    whole = (0.0, 0.0, 1.0, 1.0)
    first, later = max(1, timing.hold), timing.hold
    yield View(0, _padded(whole, timing.pad), 0.0, first)
    for number, box in enumerate(boxes):
        for step in range(1, timing.zoom + 1):
            share = step / timing.zoom
            if timing.hold:  # start and stop softly where the camera stands still
                share = share * share * (3 - 2 * share)
            left = timing.zoom - step
            fade = 1 - left / timing.crossfade if left < timing.crossfade else 0.0
            fade = 1.0 if not left else fade
            window = _padded(_between(box, share), timing.pad)
            yield View(number, window, fade, 1 if left else 1 + later)


def length(frames: int, timing: Timing) -> int:
    """Return the number of pictures of a movie through `frames` frames."""
    return max(1, timing.hold) + (frames - 1) * (timing.zoom + timing.hold)


def boxes_of(chain: Sequence[Frame]) -> list[Box]:
    """Return the place of every frame of a chain but the first in the one before it."""
    boxes = []
    for outer, inner in itertools.pairwise(chain):
        left, right, low, high = inside(outer, inner)
        boxes.append((float(left), float(1 - high), float(right), float(1 - low)))
    return boxes


def _between(box: Box, share: float) -> Box:
    """Return the window at a share of the path from a frame to a box in it."""
    (left, right), (top, bottom) = (
        _along(box[0], box[2], share),
        _along(box[1], box[3], share),
    )
    return left, top, right, bottom


def _along(low: float, high: float, share: float) -> tuple[float, float]:
    ratio = high - low
    width = ratio**share
    fixed = low / (1 - ratio)  # the point whose place is equal in both
    return fixed * (1 - width), fixed * (1 - width) + width


def _padded(window: Box, pad: float) -> Box:
    x, y = pad * (window[2] - window[0]), pad * (window[3] - window[1])
    return window[0] - x, window[1] - y, window[2] + x, window[3] + y
