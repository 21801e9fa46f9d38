"""The stage `grid`: every node of a frame's base lattice."""

from collections.abc import Sequence
from itertools import islice

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.planners.base import Result


class GridPlanner:
    """Planner of all nodes of level 0 of `frame`, coarse to fine.

    `results` holds the results so far, for the next stage.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._todo = frame.points()
        self.backlog = (frame.cells_x + 1) * (frame.cells_y + 1)
        self._waiting: set[tuple[int, int]] = set()
        self.results: list[Result] = []

    @property
    def done(self) -> bool:
        """Return True when all nodes have results."""
        return not self.backlog and not self._waiting

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` nodes that were not returned before."""
        points = list(islice(self._todo, n))
        self.backlog -= len(points)
        self._waiting.update((point.ix, point.iy) for point in points)
        return points

    def tell(self, results: Sequence[Result]) -> None:
        """Take results; a grid decides nothing from them."""
        self.results += results
        self._waiting.difference_update((point.ix, point.iy) for point, _ in results)
