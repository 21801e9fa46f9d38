"""The workers: what each holds and since when, which hang, and who has a card for itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fractal_ray.engine.base import Place, Tile
from fractal_ray.engine.retries import PendingPoint

_UNMEASURED = 3600.0
_SHORTEST = 600.0
_TIMES_THE_SLOWEST = 20.0
_AWAY_SECONDS = 120.0


@dataclass
class Lease:
    """A tile that a worker holds."""

    tile: Tile
    points: list[PendingPoint]
    since: float
    alone: bool
    """Whether no other worker may use its card meanwhile."""


class Workers:
    """What the dispatcher knows of its workers.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    lease_seconds
        For which a worker may hold a tile, or load the workload; None: 20 times what the slowest
        point so far would make of the tile and at least 600, an hour before the first result.
    """

    def __init__(self, clock: Callable[[], float], lease_seconds: float | None) -> None:
        self._clock, self._fixed = clock, lease_seconds
        self.leases: dict[int, Lease] = {}
        self.open: set[int] = set()
        self.loaded: set[int] = set()
        """Those of which it is known that they could load the workload."""
        self._cards: dict[int, str] = {}
        self._nodes: dict[int, str] = {}
        self._handles: dict[int, Any] = {}
        self._opening: dict[int, float] = {}
        self._away: dict[int, float] = {}
        """Since when the workers are gone whose cards others may not take for free: new processes
        come up there and load the model."""
        self._leaving: set[int] = set()
        self._told_to_rest: set[int] = set()
        self._resting: set[int] = set()
        self._slowest: float | None = None
        self._unmeasured = _UNMEASURED
        self._nobody_since = clock()

    # Coming and going ------------------------------------------------------------------------

    def opening(self, slot: int, place: Place, handle: Any) -> bool:
        """A worker is there; whether it may load the workload now."""
        self._cards[slot], self._nodes[slot] = place.card, place.node
        self._handles[slot] = handle
        self._away.pop(slot, None)
        if self.card_is_taken(slot):
            return False
        if slot not in self.leases:
            self._opening.setdefault(slot, self._clock())
        return True

    def mark_ready(self, slot: int) -> None:
        """A worker is ready. One that was told to rest and asks again does so."""
        if self._opening.pop(slot, None) is not None:
            self.loaded.add(slot)
        self.open.add(slot)
        if slot in self._told_to_rest:
            self._resting.add(slot)

    def leaving(self, slot: int) -> None:
        """The worker of this slot will be replaced; its end is no loss."""
        self._leaving.add(slot)

    def mark_gone(self, slot: int) -> tuple[Lease | None, bool]:
        """The worker's process has ended: what it held, and whether that was a surprise."""
        lease = self.leases.pop(slot, None)
        surprise = slot not in self._leaving
        self._leaving.discard(slot)
        for known in (self.open, self.loaded, self._told_to_rest, self._resting):
            known.discard(slot)
        for about in (self._nodes, self._handles, self._opening):
            about.pop(slot, None)
        if slot in self._cards:
            self._away[slot] = self._clock()
        return lease, surprise

    def on_node(self, slot: int) -> str:
        """Id of its node; "" where it is not known."""
        return self._nodes.get(slot, "")

    def nobody(self) -> float:
        """Seconds for which no worker has been there, 0 while there is one."""
        if self.open or self._opening:
            self._nobody_since = self._clock()
        return self._clock() - self._nobody_since

    # Leases ----------------------------------------------------------------------------------

    def lease(
        self, slot: int, tile: Tile, points: list[PendingPoint], *, alone: bool = False
    ) -> None:
        """Hand out a tile."""
        self._opening.pop(slot, None)
        self._told_to_rest.discard(slot)
        self._resting.discard(slot)
        self.leases[slot] = Lease(tile, points, self._clock(), alone)

    def record(self, seconds: float, points: int) -> None:
        """A tile of so many points took so long."""
        self._slowest = max(self._slowest or 0.0, seconds / points)

    def hanging(self) -> list[tuple[int, float]]:
        """Slots that have held a tile, or loaded, for longer than they may, and that time."""
        now = self._clock()
        held = [(slot, e.since, self._patience(len(e.points))) for slot, e in self.leases.items()]
        loading = self._fixed or _UNMEASURED
        held += [(slot, since, loading) for slot, since in self._opening.items()]
        over = [(slot, patience) for slot, since, patience in held if now - since > patience]
        if self._slowest is None and any(slot in self.leases for slot, _ in over):
            self._unmeasured *= 2  # points may be that long; nothing is known of them yet
        return over

    def handle(self, slot: int) -> Any:
        """What the engine can end its process by; None for a worker that never said."""
        return self._handles.get(slot)

    def _patience(self, points: int) -> float:
        if self._fixed is not None:
            return self._fixed
        if self._slowest is None:
            return self._unmeasured
        return max(_SHORTEST, _TIMES_THE_SLOWEST * self._slowest * points)

    # Cards -----------------------------------------------------------------------------------

    def card_is_taken(self, slot: int) -> bool:
        """Whether another worker has this one's card for itself."""
        return any(
            (lease := self.leases.get(mate)) is not None and lease.alone
            for mate in self._mates(slot)
        )

    def for_itself(self, slot: int) -> Literal["yes", "wait", "rest"]:
        """Whether a worker may have its card for itself now: the first of those on a card may, as
        soon as the others rest."""
        mates = self._mates(slot)
        if any(mate < slot for mate in mates - self._away.keys()):
            self._told_to_rest.add(slot)
            return "rest"
        return "yes" if mates <= self._resting else "wait"

    def _mates(self, slot: int) -> set[int]:
        now = self._clock()
        for gone in [s for s, since in self._away.items() if now - since > _AWAY_SECONDS]:
            del self._away[gone], self._cards[gone]  # it comes back elsewhere, or not at all
        card = self._cards.get(slot)
        return {
            mate
            for mate, its in self._cards.items()
            if card is not None and its == card and mate != slot
        }
