"""How many points a slot takes at a time."""

import math

LARGEST = 4096
_TRY_LARGER_AFTER = 100


class TileSize:
    """By measured time, growing at most fourfold, and never more than a fair share of what is left.

    Parameters
    ----------
    points
        A fixed size; None for one that is measured.
    seconds
        What a tile should take.
    together
        Points that a worker advances at once: a measured tile has a multiple of them, unless its
        memory forbids even so many.
    """

    def __init__(self, points: int | None, seconds: float, together: int = 1) -> None:
        self._fixed, self._seconds, self._together = points, seconds, together
        self._size = points or 1
        self._largest, self._fitting = LARGEST, 0
        self._point_seconds: float | None = None

    def record(self, seconds: float, points: int) -> None:
        """A tile of so many points took so long."""
        each = seconds / points
        self._fitting += 1
        if self._fitting >= _TRY_LARGER_AFTER:  # it may have been memory that others took
            self._largest, self._fitting = min(2 * self._largest, LARGEST), 0
        old = self._point_seconds
        self._point_seconds = each if old is None else 0.7 * old + 0.3 * each

    def at_most(self, points: int) -> None:
        """Larger tiles need too much memory."""
        self._largest, self._fitting = min(self._largest, points), 0

    def next(self, backlog: int, slots: int) -> int:
        """Points for the next tile, at least 1."""
        if self._fixed is not None:
            return min(self._fixed, self._largest)
        if self._point_seconds is not None:
            wanted = self._seconds / max(self._point_seconds, 1e-9)
            self._size = max(1, min(int(wanted), self._size * 4, self._largest))
        share = math.ceil(backlog / (2 * max(1, slots)))
        size = min(self._size, share)
        size = max(self._together, size // self._together * self._together)
        return max(1, min(size, self._largest))
