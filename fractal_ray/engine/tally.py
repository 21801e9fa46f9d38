"""Counts of a running sweep and its small map, from the answers that the planner gets."""

from collections import Counter
from collections.abc import Sequence

from fractal_ray.engine.thumbnail import Thumbnail
from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.outcome import Outcome


class Tally:
    """Counts of points and failures."""

    def __init__(self) -> None:
        self.thumbnail = Thumbnail()
        self.done = 0
        self.reused = 0
        """Points that earlier runs left in the dataset."""
        self.gave_up = 0
        self.unanswered = 0
        """Points that the planner has asked for and has no answer to yet."""
        self.failures = 0
        self._outcomes: Counter[Outcome] = Counter()

    def answer(self, frame: Frame, points: Sequence[Point], outcome: Outcome | None) -> None:
        """Count points that the planner got an answer for.

        Parameters
        ----------
        frame
            The frame that the small map shows; of frames filled side by side it shows one.
        points
        outcome
            None for points that were given up.
        """
        self.unanswered -= len(points)
        if outcome is None:
            self.gave_up += len(points)
            return
        self.done += len(points)
        self._outcomes[outcome] += len(points)
        for point in points:
            if point.frame == frame.id:
                self.thumbnail.put(frame, point, outcome)

    def outcomes(self) -> dict[str, int]:
        """Return the number of points by outcome."""
        return {outcome.value: self._outcomes[outcome] for outcome in Outcome}
