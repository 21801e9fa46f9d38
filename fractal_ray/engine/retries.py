"""Points that run again: in which tiles, when, and after how much no more."""

from collections import Counter
from dataclasses import dataclass, field

from fractal_ray.engine.base import FailureKind
from fractal_ray.plane.axes import Point

_BACK_OFF_TILES = 8
_LONGEST_BACK_OFF = 60.0
_MACHINE: tuple[FailureKind, ...] = ("lost_worker", "lost_node", "timed_out")


@dataclass
class PendingPoint:
    """A point that is being run."""

    point: Point
    id: str
    stage: str
    aliases: list[Point] = field(default_factory=list)
    """Other lattice nodes with the same identity, told when this one is known."""


@dataclass
class _Waiting:
    """Points to be run together, once so many tiles are out and the clock shows so much."""

    jobs: list[PendingPoint]
    after_tiles: int = 0
    after: float = 0.0


class Retries:
    """What came back without a record.

    A tile whose worker was lost is split in halves until the point that does it is by itself: it
    costs one worker for each halving and takes no neighbours with it. A tile that needed too much
    memory is split as well, and a point that needs too much by itself waits until it can have its
    card for itself. A lost node is no fault of what ran there.

    Parameters
    ----------
    max_attempts
        Runs of a single point that may fail before it is given up.
    max_nodes
        Nodes that may be lost under a point before that counts as its fault.
    """

    def __init__(self, max_attempts: int, max_nodes: int = 10) -> None:
        self._max_attempts, self._max_nodes = max_attempts, max_nodes
        self._waiting: list[_Waiting] = []
        self._alone: list[PendingPoint] = []
        self._failed: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()

    def __len__(self) -> int:
        """Points that wait to be run again, those for a card of their own included."""
        return sum(len(tile.jobs) for tile in self._waiting) + len(self._alone)

    @property
    def n_alone(self) -> int:
        """Points that wait for a card of their own."""
        return len(self._alone)

    def attempt(self, job: PendingPoint) -> int:
        """The number of the run that is next, from 1."""
        return self._failed[job.id] + 1

    def take(self, tiles: int, now: float, *, early: bool = False) -> list[PendingPoint]:
        """The next tile that is due; new points go first, so that trouble has time to pass and a
        bug shows itself on different points.

        Parameters
        ----------
        tiles
            Tiles handed out so far.
        now
            Seconds of the dispatcher's clock.
        early
            Do not wait for more tiles, there are none; the time still counts.
        """
        for index, tile in enumerate(self._waiting):
            if tile.after <= now and (early or tile.after_tiles <= tiles):
                return self._waiting.pop(index).jobs
        return []

    def take_alone(self) -> list[PendingPoint]:
        """One point for a card of its own."""
        return [self._alone.pop(0)] if self._alone else []

    def record_failure(
        self, job: PendingPoint, kind: FailureKind, tiles: int, now: float, *, alone: bool = False
    ) -> bool:
        """A point failed by itself; True when it is given up.

        Parameters
        ----------
        kind
            Why.
        tiles, now
            As in `take`.
        alone
            It had its card for itself.
        """
        if kind == "lost_node" and self._nodes[job.id] < self._max_nodes:
            self._nodes[job.id] += 1
            self._waiting.append(_Waiting([job]))
            return False
        self._failed[job.id] += 1
        if kind == "out_of_memory" and not alone:
            self._alone.append(job)
            return False
        if kind == "out_of_memory" or self._failed[job.id] >= self._max_attempts:
            return True
        if alone:
            self._alone.append(job)
            return False
        wait = min(2.0 ** (self._failed[job.id] - 1), _LONGEST_BACK_OFF)
        after = now + wait if kind in _MACHINE else 0.0
        self._waiting.append(_Waiting([job], tiles + _BACK_OFF_TILES, after))
        return False

    def split(self, jobs: list[PendingPoint], kind: FailureKind) -> None:
        """Several points were lost together."""
        innocent = kind == "lost_node" and self._nodes[jobs[0].id] < self._max_nodes
        self._nodes[jobs[0].id] += innocent
        half = len(jobs) if innocent else (len(jobs) + 1) // 2
        self._waiting += [_Waiting(part) for part in (jobs[:half], jobs[half:]) if part]
