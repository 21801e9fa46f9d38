"""The progress of a sweep, as the dispatcher reports it to screens and trackers."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """State of a sweep at one moment.

    `done`, `reused` and `outcomes` count the runs of the dataset, each once. `gave_up` and the rest
    of `total` count points. Rows of `map` run upwards, and -1 stands for an unknown outcome.
    """

    stage: str
    total: int
    done: int
    reused: int
    running: int
    outcomes: dict[str, int]
    failures: int
    gave_up: int
    slots: int
    seconds: float
    x_param: str
    y_param: str
    map: list[list[int]] = field(default_factory=list)
    trouble: str = ""
    finished: bool = False
    shared_nodes: int = 0
    """Nodes that share a run with another node; they are not part of `done`."""
    bisection_points: int = 0
    """Runs that were made to find a point of the border; they are part of `done`."""
    spent: str = ""
    """The budget that has stopped the sweep."""
    not_improved: dict[str, int] = field(default_factory=dict)
    """Parts of the outcome `not_improved` (`plane/outcome.py`)."""
    error: str | None = None
    """Reason why the sweep cannot go on, with the whole traceback."""

    @property
    def rate(self) -> float:
        """Return the points run per second, without those of earlier runs."""
        return (self.done - self.reused) / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Return the seconds until the known points are done; None before the first result."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


View = Callable[[Progress], None]
"""Function that shows progress."""
