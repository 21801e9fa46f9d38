"""The contract of planners: plain Python that decides which points to run.

A planner imports no Ray, no torch and touches no files. What it ends up asking for must not depend
on the order in which results arrive.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.outcome import Outcome

Result = tuple[Point, Outcome | None]
"""A point and what it showed; None when it has failed for good and will not be known."""


@runtime_checkable
class Planner(Protocol):
    """Ask for points, tell what they showed."""

    @property
    def frame(self) -> Frame:
        """The frame that is being filled now."""
        ...

    @property
    def backlog(self) -> int:
        """How many points could be asked for at this moment."""
        ...

    @property
    def done(self) -> bool:
        """True when every point asked for was told and nothing is left to ask."""
        ...

    def ask(self, n: int) -> list[Point]:
        """Up to `n` points, best first. Empty: wait for results, or done."""
        ...

    def tell(self, results: Sequence[Result]) -> None:
        """Results of points that were asked for, in any order."""
        ...
