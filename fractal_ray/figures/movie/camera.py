"""The way of a zoom movie's camera: from the axes down a chain of frames (features V6).

A camera goes from frame to frame. Its window is kept in shares of the frame that it is in, taken
from the exact ends of the frames (`chains.inside`), so that the way is as smooth at a width of
1e-14 as at 1. In the axes' own coordinates every step narrows the window by the same factor (softer
at its ends where the camera holds), around the point that both frames have at the same place, so it
never leaves the wider one.
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
    """The six numbers of a movie.

    Parameters
    ----------
    hold
        Pictures that every frame stands still for.
    zoom
        Pictures of the way to the next frame, at least 1.
    crossfade
        How many of these, at the end, fade from one frame to the next; at most `zoom`.
    fps
        Pictures a second, 1 to 50 (a GIF counts in hundredths of a second).
    pad
        What is shown around a frame that is held, in shares of its sides.
    width
        Of the pictures, in pixels.
    """

    hold: int = 12
    zoom: int = 24
    crossfade: int = 8
    fps: int = 24
    pad: float = 0.02
    width: int = 900

    def check(self) -> None:
        """Raise SweepError for numbers that make no movie."""
        if self.crossfade > self.zoom:
            raise SweepError(
                f"crossfade ({self.crossfade}) are the last of the pictures of a zoom"
                f" ({self.zoom}), so there cannot be more of them"
            )


@dataclass(frozen=True)
class View:
    """One picture: the way from frame number `frame` of a chain to the next.

    Parameters
    ----------
    frame
        From 0.
    window
        Of the camera, in shares of that frame.
    fade
        0 for that frame alone to 1 for the next.
    times
        For how many pictures it stands.
    """

    frame: int
    window: Box
    fade: float
    times: int


def views(boxes: Sequence[Box], timing: Timing) -> Iterator[View]:
    """The pictures of a movie.

    Parameters
    ----------
    boxes
        Where every frame but the first lies in the one before.
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
    """Pictures of a movie through so many frames."""
    return max(1, timing.hold) + (frames - 1) * (timing.zoom + timing.hold)


def boxes_of(chain: Sequence[Frame]) -> list[Box]:
    """Where every frame of a chain but the first lies in the one before."""
    boxes = []
    for outer, inner in itertools.pairwise(chain):
        left, right, low, high = inside(outer, inner)
        boxes.append((float(left), float(1 - high), float(right), float(1 - low)))
    return boxes


def _between(box: Box, share: float) -> Box:
    """The window at a share of the way from a frame to a box in it."""
    (left, right), (top, bottom) = (
        _along(box[0], box[2], share),
        _along(box[1], box[3], share),
    )
    return left, top, right, bottom


def _along(low: float, high: float, share: float) -> tuple[float, float]:
    ratio = high - low
    width = ratio**share
    fixed = low / (1 - ratio)  # at the same place in both
    return fixed * (1 - width), fixed * (1 - width) + width


def _padded(window: Box, pad: float) -> Box:
    x, y = pad * (window[2] - window[0]), pad * (window[3] - window[1])
    return window[0] - x, window[1] - y, window[2] + x, window[3] + y
