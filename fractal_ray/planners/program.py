"""Stages in order: each planner starts when the one before it is done."""

from collections.abc import Callable, Mapping, Sequence

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.side_by_side import SideBySide

StageMaker = Callable[[], Planner]
"""Function that makes a stage's planner when the one before it is done."""


class Program:
    """Planner made of stages.

    Parameters
    ----------
    stages
        ``(name, maker)`` in order, at least one; several may have one name.
    zooms
        Frames that makers have chosen; they add to it.
    """

    def __init__(
        self, stages: Sequence[tuple[str, StageMaker]], zooms: Sequence[Zoom] = ()
    ) -> None:
        if not stages:
            raise ValueError("a program needs at least one stage")
        self._stages = list(stages)
        self._index = 0
        self._current = self._filling = stages[0][1]()
        self.zooms = zooms

    @property
    def stage(self) -> str:
        """Return the name of the stage of the next points, such as ``"0:grid"``."""
        self._advance()
        return self._stages[self._index][0]

    @property
    def frame(self) -> Frame:
        """Return the frame that is being filled; the last one where a stage has no frame."""
        return self._filling.frame

    @property
    def frames(self) -> Mapping[int, Frame]:
        """Return the frames of the current stage by number; several are filled side by side."""
        if isinstance(self._filling, SideBySide):
            return self._filling.frames
        return {self._filling.frame.id: self._filling.frame}

    @property
    def backlog(self) -> int:
        """Return the number of points that `ask` could return now."""
        self._advance()
        return self._current.backlog

    @property
    def done(self) -> bool:
        """Return True when the last stage is done."""
        self._advance()
        return self._current.done

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points of the current stage."""
        self._advance()
        return self._current.ask(n)

    def tell(self, results: Sequence[Result]) -> None:
        """Take results of the current stage; no other stage waits for any."""
        self._current.tell(results)

    def _advance(self) -> None:
        while self._current.done and self._index + 1 < len(self._stages):
            self._index += 1
            self._current = self._stages[self._index][1]()
            if not isinstance(self._current, SideBySide) or self._current.planners:
                self._filling = self._current
