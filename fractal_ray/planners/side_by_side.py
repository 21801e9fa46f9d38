"""Planners of several frames at once: the windows of a zoom are filled beside each other."""

from collections.abc import Mapping, Sequence

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.planners.base import Planner, Result


class SideBySide:
    """Planners of different frames as one; the first with something to ask goes first.

    Parameters
    ----------
    planners
        Planners of frames with different numbers; each of them requests at least one point.
        `frames` holds these frames by number.
    """

    def __init__(self, planners: Sequence[Planner]) -> None:
        self.planners = {planner.frame.id: planner for planner in planners}
        self.frames: Mapping[int, Frame] = {planner.frame.id: planner.frame for planner in planners}

    @property
    def frame(self) -> Frame:
        """Return the frame of the first planner that is not done, else of the last."""
        planners = list(self.planners.values())
        return next((planner for planner in planners if not planner.done), planners[-1]).frame

    @property
    def backlog(self) -> int:
        """Return the number of points that `ask` could return now, in all frames."""
        return sum(planner.backlog for planner in self.planners.values())

    @property
    def done(self) -> bool:
        """Return True when all frames are done."""
        return all(planner.done for planner in self.planners.values())

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points."""
        points: list[Point] = []
        for planner in self.planners.values():
            if len(points) == n:
                break
            points += planner.ask(n - len(points))
        return points

    def tell(self, results: Sequence[Result]) -> None:
        """Pass each result to the planner of its frame."""
        by_frame: dict[int, list[Result]] = {}
        for result in results:
            by_frame.setdefault(result[0].frame, []).append(result)
        for frame, answers in by_frame.items():
            self.planners[frame].tell(answers)
