"""Counts of a running sweep and its small map.

A run is counted once, by the id of its point, however many nodes of the plan it answers. The nodes
beyond the first that share a run are counted apart, and so are the runs of bisections, which are no
nodes.
"""

from collections import Counter
from collections.abc import Hashable, Mapping

from fractal_ray.engine.thumbnail import Thumbnail
from fractal_ray.plane.axes import Frame, Point, is_bisection
from fractal_ray.plane.outcome import Outcome, split_counts, stored_counts


class Tally:
    """Counts of runs and failures. `thumbnail` is the small map.

    Attributes
    ----------
    failures
        Number of failed attempts.
    reused
        Number of runs that earlier runs of the sweep left in the dataset.
    bisection_points
        Number of runs that were made to find a point of the border.
    shared_nodes
        Number of nodes of the plan that share a run with another node.
    """

    def __init__(self) -> None:
        self.failures = self.reused = self.bisection_points = 0
        self._outcomes: Counter[Outcome] = Counter()
        self.plan_again()

    def plan_again(self) -> None:
        """Forget the answers of a plan that starts again; the runs stay."""
        self.thumbnail = Thumbnail()
        self.shared_nodes = 0
        self._runs_of_nodes: set[Hashable] = set()
        self._given_up: set[Hashable] = set()

    @property
    def done(self) -> int:
        """Number of runs."""
        return self._outcomes.total()

    @property
    def gave_up(self) -> int:
        """Number of points that were given up."""
        return len(self._given_up)

    def add_run(self, run: Hashable, stage: str, outcome: Outcome) -> None:
        """Count a run that is in the dataset or will be written to it, once.

        Parameters
        ----------
        run
            Id or values of its point.
        stage
            Name of the stage that made the run, such as ``"0:grid"``.
        outcome
        """
        self._outcomes[outcome] += 1
        self.bisection_points += is_bisection(stage)
        self._given_up.discard(run)

    def give_up(self, run: Hashable) -> None:
        """Count a point that has no outcome and is not tried again."""
        self._given_up.add(run)

    def answer(
        self,
        run: Hashable,
        stage: str,
        frames: Mapping[int, Frame],
        point: Point,
        outcome: Outcome,
    ) -> None:
        """Record that the planner got the outcome of a run for a point that it had asked for.

        Parameters
        ----------
        run
            Id or values of the point, as in `add_run`.
        stage
            Name of the stage that asked.
        frames
            Frames of that stage, by number.
        point
        outcome
        """
        if not is_bisection(stage):
            self.shared_nodes += run in self._runs_of_nodes
            self._runs_of_nodes.add(run)
        self.thumbnail.put(frames, point, outcome)

    def outcomes(self) -> dict[str, int]:
        """Return the number of runs by stored outcome."""
        return stored_counts(self._outcomes)

    def not_improved(self) -> dict[str, int]:
        """Return the number of runs by part of `not_improved`."""
        return split_counts(self._outcomes)
