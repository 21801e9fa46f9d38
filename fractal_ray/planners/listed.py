"""A list of points chosen in advance; the planner returns each of them once."""

from collections.abc import Sequence

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.planners.base import Result


class ListedPlanner:
    """Planner of a list of points, in their order.

    Parameters
    ----------
    frame
        Frame that the points lie in.
    points
        The points, each once; their addresses name no nodes.
    """

    def __init__(self, frame: Frame, points: Sequence[Point]) -> None:
        self.frame = frame
        self._todo = list(reversed(points))
        self._out = 0

    @property
    def backlog(self) -> int:
        """Return the number of points that `ask` has not returned yet."""
        return len(self._todo)

    @property
    def done(self) -> bool:
        """Return True when all points have results."""
        return not self._todo and not self._out

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points."""
        points = [self._todo.pop() for _ in range(min(n, len(self._todo)))]
        self._out += len(points)
        return points

    def tell(self, results: Sequence[Result]) -> None:
        """Take results of points that `ask` returned."""
        self._out -= len(results)
