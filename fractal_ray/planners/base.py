"""The contract of planners: plain Python that decides which points to run.

A planner imports no Ray, no torch and touches no files. The set of points that it asks for must not
depend on the order in which results arrive. `fractal_ray.testing.check_planner` tests the contract.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.outcome import Outcome

Result = tuple[Point, Outcome | None]
"""A point and its outcome; None for a point that has failed for good and stays unknown."""


@runtime_checkable
class Planner(Protocol):
    """Contract of a planner: it is asked for points and receives their outcomes.

    Examples
    --------
    >>> from fractal_ray import Axis, Frame, Planner
    >>> from fractal_ray.plane.outcome import Outcome
    >>> from fractal_ray.planners.grid import GridPlanner
    >>> side = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0)
    >>> planner: Planner = GridPlanner(Frame(0, *side, cells_x=2, cells_y=2))
    >>> while points := planner.ask(4):
    ...     planner.tell([(point, Outcome.TRAINED) for point in points])
    >>> planner.done, planner.backlog
    (True, 0)
    """

    @property
    def frame(self) -> Frame:
        """Frame that is being filled."""
        ...

    @property
    def backlog(self) -> int:
        """Number of points that `ask` could return at this moment."""
        ...

    @property
    def done(self) -> bool:
        """True when every point has its result and none is left to ask for."""
        ...

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points to run, best first.

        An empty list means that the planner waits for results, or is done. No point is returned
        twice.
        """
        ...

    def tell(self, results: Sequence[Result]) -> None:
        """Record results of points that `ask` returned, in any order."""
        ...
