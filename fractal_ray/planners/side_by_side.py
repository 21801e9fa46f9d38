"""Planners of several frames at once: the windows of a zoom are filled beside each other."""

from collections.abc import Sequence

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.planners.base import Planner, Result


class SideBySide:
    """Planners of different frames as one; the first with something to ask goes first.

    Parameters
    ----------
    planners
        Each of a frame with a number of its own; none of them asks for nothing.
    """

    def __init__(self, planners: Sequence[Planner]) -> None:
        self.planners = {planner.frame.id: planner for planner in planners}

    @property
    def frame(self) -> Frame:
        """The frame of the first planner that is not done, else of the last."""
        every = list(self.planners.values())
        return next((planner for planner in every if not planner.done), every[-1]).frame

    @property
    def backlog(self) -> int:
        """Points that could be asked for now, in all frames."""
        return sum(planner.backlog for planner in self.planners.values())

    @property
    def done(self) -> bool:
        """True when every frame is done."""
        return all(planner.done for planner in self.planners.values())

    def ask(self, n: int) -> list[Point]:
        """Up to `n` points."""
        points: list[Point] = []
        for planner in self.planners.values():
            if len(points) == n:
                break
            points += planner.ask(n - len(points))
        return points

    def tell(self, results: Sequence[Result]) -> None:
        """Results, each to the planner of its frame."""
        by_frame: dict[int, list[Result]] = {}
        for result in results:
            by_frame.setdefault(result[0].frame, []).append(result)
        for frame, told in by_frame.items():
            self.planners[frame].tell(told)
