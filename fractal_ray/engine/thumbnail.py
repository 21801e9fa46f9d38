"""The small map that fills in while a sweep runs."""

from collections.abc import Mapping

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.boundary import OUTCOME_CODES
from fractal_ray.plane.outcome import Outcome

_WIDTH, _HEIGHT = 48, 32

Rank = tuple[float, float, float]
"""Squared distance of a point from the centre of its bin, and the values of x and y."""


class Thumbnail:
    """Map of at most 48 x 32 bins of each frame that is being filled.

    A bin has the outcome of the point nearest to its centre; of points at one distance it takes the
    point with the smallest values. The map thus depends on the points alone, not on their order.
    """

    def __init__(self) -> None:
        self._bins: dict[int, dict[tuple[int, int], tuple[Rank, Outcome]]] = {}

    def put(self, frames: Mapping[int, Frame], point: Point, outcome: Outcome) -> None:
        """Enter an outcome into the map of its frame.

        Parameters
        ----------
        frames
            The frames that are being filled, by number. Points and maps of other frames are left
            out.
        point
        outcome
        """
        frame = frames.get(point.frame)
        if frame is None:
            return
        if frame.id not in self._bins:
            self._bins = {number: bins for number, bins in self._bins.items() if number in frames}
        bins = self._bins.setdefault(frame.id, {})
        place, rank = _bin_of(frame, point)
        if place not in bins or rank < bins[place][0]:
            bins[place] = rank, outcome

    def rows(self, frame: Frame) -> list[list[int]]:
        """Return `OUTCOME_CODES` of a frame, -1 where unknown.

        The lowest y comes first. The list is empty before the first outcome of the frame.
        """
        bins = self._bins.get(frame.id)
        if bins is None:
            return []
        width, height = _size(frame)
        rows = [[-1] * width for _ in range(height)]
        for (row, column), (_, outcome) in bins.items():
            rows[row][column] = OUTCOME_CODES[outcome]
        return rows


def _size(frame: Frame) -> tuple[int, int]:
    """Return the numbers of columns and rows of a frame's map."""
    return min(_WIDTH, frame.cells_x + 1), min(_HEIGHT, frame.cells_y + 1)


def _bin_of(frame: Frame, point: Point) -> tuple[tuple[int, int], Rank]:
    """Return the row and column of a point, and its rank in this bin.

    They come from the values, because the addresses of some stages are no places. The bin is
    clamped, because of rounding.
    """
    width, height = _size(frame)
    across, up = frame.x.fraction(point.x) * width, frame.y.fraction(point.y) * height
    column, row = min(max(int(across), 0), width - 1), min(max(int(up), 0), height - 1)
    distance = (across - column - 0.5) ** 2 + (up - row - 0.5) ** 2
    return (row, column), (distance, point.x, point.y)
