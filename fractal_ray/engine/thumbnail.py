"""The small map that fills in while a sweep runs."""

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.outcome import Outcome

_CODES = {Outcome.TRAINED: 0, Outcome.NOT_IMPROVED: 1, Outcome.DIVERGED: 2}
_WIDTH, _HEIGHT = 48, 32


class Thumbnail:
    """Map with the last outcome in each of at most 48 x 32 bins of the current frame."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._rows: list[list[int]] = []

    def put(self, frame: Frame, point: Point, outcome: Outcome) -> None:
        """Enter an outcome; a new frame starts an empty map."""
        if frame is not self._frame:
            self._frame = frame
            width, height = min(_WIDTH, frame.cells_x + 1), min(_HEIGHT, frame.cells_y + 1)
            self._rows = [[-1] * width for _ in range(height)]
        # From the values, because the addresses of some stages are no places; clamped, because of
        # rounding.
        width, height = len(self._rows[0]), len(self._rows)
        column = min(max(int(frame.x.fraction(point.x) * width), 0), width - 1)
        row = min(max(int(frame.y.fraction(point.y) * height), 0), height - 1)
        self._rows[row][column] = _CODES[outcome]

    def rows(self) -> list[list[int]]:
        """Return codes (0 trained, 1 not improved, 2 diverged, -1 unknown), lowest y first."""
        return [row.copy() for row in self._rows]
