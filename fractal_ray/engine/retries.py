"""Retry policy: how points without a result are run again, and when they are given up."""

from collections import Counter
from dataclasses import dataclass, field

from fractal_ray.engine.base import FailureKind
from fractal_ray.plane.axes import Point

_BACK_OFF_TILES = 8
_LONGEST_BACK_OFF = 60.0
_MACHINE: tuple[FailureKind, ...] = ("lost_worker", "lost_node", "timed_out")


@dataclass
class PendingPoint:
    """Point without an outcome: it runs, waits for a retry, or is held by the budget."""

    point: Point
    id: str
    stage: str
    aliases: list[Point] = field(default_factory=list)
    """Other lattice nodes with this identity; they get the outcome of this one."""


@dataclass
class _Waiting:
    """Points to run together, after `after_tiles` tiles and at the time `after`."""

    points: list[PendingPoint]
    after_tiles: int = 0
    after: float = 0.0


class Retries:
    """Points that came back without a record.

    A tile whose worker was lost is split in halves until the point at fault is alone: this costs
    one worker for each halving, and its neighbours get their results. A tile that needed too much
    memory is split as well; a point that needs too much alone waits for a card of its own. A lost
    node does not count against the points that ran there.

    Parameters
    ----------
    max_attempts
        Number of failed runs of a point after which it is given up.
    max_nodes
        Number of lost nodes under a point after which they count as its failures.
    """

    def __init__(self, max_attempts: int, max_nodes: int = 10) -> None:
        self._max_attempts, self._max_nodes = max_attempts, max_nodes
        self._waiting: list[_Waiting] = []
        self._alone: list[PendingPoint] = []
        self._failed: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of waiting points, those for a card of their own included."""
        return sum(len(tile.points) for tile in self._waiting) + len(self._alone)

    @property
    def n_alone(self) -> int:
        """Return the number of points that wait for a card of their own."""
        return len(self._alone)

    def attempt(self, pending: PendingPoint) -> int:
        """Return the number of the next run of a point, from 1."""
        return self._failed[pending.id] + 1

    def take(self, tiles: int, now: float, *, early: bool = False) -> list[PendingPoint]:
        """Return the points of the next tile that is due; [] without one.

        New points go first, so that passing problems have time to pass and a bug shows on
        different points.

        Parameters
        ----------
        tiles
            Number of tiles handed out so far.
        now
            Time of the dispatcher's clock.
        early
            True if there are no new points: do not wait for more tiles, only for the time.
        """
        for index, tile in enumerate(self._waiting):
            if tile.after <= now and (early or tile.after_tiles <= tiles):
                return self._waiting.pop(index).points
        return []

    def take_alone(self) -> list[PendingPoint]:
        """Return one point for a card of its own; [] without one."""
        return [self._alone.pop(0)] if self._alone else []

    def put_back_alone(self, points: list[PendingPoint]) -> None:
        """Take back points that `take_alone` returned and that did not run."""
        self._alone[:0] = points

    def record_failure(
        self,
        pending: PendingPoint,
        kind: FailureKind,
        tiles: int,
        now: float,
        *,
        alone: bool = False,
    ) -> bool:
        """Record the failure of a point that ran alone; return True if it is given up.

        Parameters
        ----------
        pending, kind
        tiles, now
            As in `take`.
        alone
            True if it had its card for itself.
        """
        if kind == "lost_node" and self._nodes[pending.id] < self._max_nodes:
            self._nodes[pending.id] += 1
            self._waiting.append(_Waiting([pending]))
            return False
        self._failed[pending.id] += 1
        if kind == "out_of_memory" and not alone:
            self._alone.append(pending)
            return False
        if kind == "out_of_memory" or self._failed[pending.id] >= self._max_attempts:
            return True
        if alone:
            self._alone.append(pending)
            return False
        wait = min(2.0 ** (self._failed[pending.id] - 1), _LONGEST_BACK_OFF)
        after = now + wait if kind in _MACHINE else 0.0
        self._waiting.append(_Waiting([pending], tiles + _BACK_OFF_TILES, after))
        return False

    def split(self, points: list[PendingPoint], kind: FailureKind) -> None:
        """Split points that were lost together into tiles that run again."""
        innocent = kind == "lost_node" and self._nodes[points[0].id] < self._max_nodes
        self._nodes[points[0].id] += innocent
        half = len(points) if innocent else (len(points) + 1) // 2
        self._waiting += [_Waiting(part) for part in (points[:half], points[half:]) if part]
