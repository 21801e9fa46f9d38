"""State of the workers: their leases, hanging workers, and cards used by one worker alone."""

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
    """Tile that a worker holds."""

    tile: Tile
    points: list[PendingPoint]
    since: float
    alone: bool
    """True if no other worker may use its card meanwhile."""
    waits: bool = False
    """True until the worker that will run it has loaded the workload."""


class Workers:
    """Record of all workers that the dispatcher has heard of.

    Parameters
    ----------
    clock
        Function that returns seconds of a monotonic clock.
    lease_seconds
        Time for which a worker may hold a tile, or load the workload. None: 20 times the tile's
        time at the speed of the slowest point so far, at least 600; an hour before the first
        result.
    """

    def __init__(self, clock: Callable[[], float], lease_seconds: float | None) -> None:
        self._clock, self._fixed = clock, lease_seconds
        self.leases: dict[int, Lease] = {}
        self.open: set[int] = set()
        self.loaded: set[int] = set()
        """Slots whose worker has loaded the workload."""
        self._cards: dict[int, str] = {}
        self._nodes: dict[int, str] = {}
        self._handles: dict[int, Any] = {}
        self._opening: dict[int, float] = {}
        self._away: dict[int, float] = {}
        """Time at which the worker of a slot ended, while its card still counts as shared with it:
        a new process starts there and loads the model."""
        self._leaving: set[int] = set()
        self._sent_to_rest: set[int] = set()
        self._resting: set[int] = set()
        self._slowest: float | None = None
        self._unmeasured = _UNMEASURED
        self._nobody_since = clock()

    # Coming and going ------------------------------------------------------------------------

    def opening(self, slot: int, place: Place, handle: Any) -> bool:
        """Register a worker; return True if it may load the workload now."""
        self._cards[slot], self._nodes[slot] = place.card, place.node
        self._handles[slot] = handle
        self._away.pop(slot, None)
        if self.card_is_taken(slot):
            return False
        if slot not in self.leases or self.waits(slot):
            self._opening.setdefault(slot, self._clock())
        return True

    def mark_ready(self, slot: int) -> None:
        """Mark a worker as ready; one that was sent to rest has freed its card by now."""
        if self._opening.pop(slot, None) is not None:
            self.loaded.add(slot)
        self.open.add(slot)
        if self.waits(slot):
            self.leases[slot].waits, self.leases[slot].since = False, self._clock()
        if slot in self._sent_to_rest:
            self._resting.add(slot)

    def leaving(self, slot: int) -> None:
        """Mark a worker that will be replaced, so that its end counts as no loss."""
        self._leaving.add(slot)

    def mark_gone(self, slot: int) -> tuple[Lease | None, bool]:
        """Forget a worker whose process has ended; return its lease, and True for a surprise."""
        lease = self.leases.pop(slot, None)
        surprise = slot not in self._leaving
        self._leaving.discard(slot)
        for slots in (self.open, self.loaded, self._sent_to_rest, self._resting):
            slots.discard(slot)
        for facts in (self._nodes, self._handles, self._opening):
            facts.pop(slot, None)
        if slot in self._cards:
            self._away[slot] = self._clock()
        return lease, surprise

    def on_node(self, slot: int) -> str:
        """Return the id of a worker's node; "" if it is not known."""
        return self._nodes.get(slot, "")

    def nobody(self) -> float:
        """Return the seconds without any worker; 0 while there is one."""
        if self.open or self._opening:
            self._nobody_since = self._clock()
        return self._clock() - self._nobody_since

    # Leases ----------------------------------------------------------------------------------

    def lease(
        self, slot: int, tile: Tile, points: list[PendingPoint], *, alone: bool = False
    ) -> None:
        """Record the lease of a tile, which waits if the worker is not ready."""
        self._sent_to_rest.discard(slot)
        self._resting.discard(slot)
        waits = slot not in self.open
        self.leases[slot] = Lease(tile, points, self._clock(), alone, waits)

    def renew(self, slot: int) -> None:
        """Begin the lease of a slot anew: its worker has shown that it makes progress."""
        lease = self.leases.get(slot)
        if lease is not None and not lease.waits:
            lease.since = self._clock()

    def waits(self, slot: int) -> bool:
        """Return True if a slot holds a tile, but its worker has not loaded the workload."""
        lease = self.leases.get(slot)
        return lease is not None and lease.waits

    def record(self, seconds: float, points: int) -> None:
        """Record the time that a tile of `points` points took."""
        self._slowest = max(self._slowest or 0.0, seconds / points)

    def hanging(self) -> list[tuple[int, float]]:
        """List slots that hold a tile, or load, for longer than their limit, with that limit."""
        now = self._clock()
        held = [
            (slot, lease.since, self._patience(len(lease.points)))
            for slot, lease in self.leases.items()
            if not lease.waits
        ]
        loading = self._fixed or _UNMEASURED
        held += [(slot, since, loading) for slot, since in self._opening.items()]
        over = [(slot, patience) for slot, since, patience in held if now - since > patience]
        busy = self.leases.keys() - self._opening.keys()
        if self._slowest is None and any(slot in busy for slot, _ in over):
            self._unmeasured *= 2  # points may be that long; nothing is known of them yet
        return over

    def handle(self, slot: int) -> Any:
        """Return the handle by which the engine can end a worker; None without one."""
        return self._handles.get(slot)

    def _patience(self, points: int) -> float:
        if self._fixed is not None:
            return self._fixed
        if self._slowest is None:
            return self._unmeasured
        return max(_SHORTEST, _TIMES_THE_SLOWEST * self._slowest * points)

    # Cards -----------------------------------------------------------------------------------

    def card_is_taken(self, slot: int) -> bool:
        """Return True if another worker has the card of this slot for itself.

        A slot without a known card may come up on any card.
        """
        mates = self._mates(slot) if slot in self._cards else self.leases.keys() - {slot}
        return any((lease := self.leases.get(mate)) is not None and lease.alone for mate in mates)

    def for_itself(self, slot: int) -> Literal["yes", "wait", "rest"]:
        """Return "yes" if a worker may have its card for itself now.

        The first worker of a card may, as soon as the others rest; the others are sent to rest. A
        slot without a known card waits until no other slot holds a tile.
        """
        if slot not in self._cards:
            return "wait" if self.leases.keys() - {slot} else "yes"
        mates = self._mates(slot)
        if any(mate < slot for mate in mates - self._away.keys()):
            self._sent_to_rest.add(slot)
            return "rest"
        return "yes" if mates <= self._resting else "wait"

    def _mates(self, slot: int) -> set[int]:
        now = self._clock()
        for gone in [s for s, since in self._away.items() if now - since > _AWAY_SECONDS]:
            del (
                self._away[gone],
                self._cards[gone],
            )  # its successor is on another card, or there is none
        card = self._cards.get(slot)
        return {
            mate
            for mate, its in self._cards.items()
            if card is not None and its == card and mate != slot
        }
