"""The number of points in a tile."""

import math

LARGEST = 4096
_TRY_LARGER_AFTER = 100


class TileSize:
    """Size of tiles by measured time.

    It grows at most fourfold from tile to tile, up to a fair share of the points that are left.

    Parameters
    ----------
    points
        A fixed size; None to measure it.
    seconds
        Target for the time of a tile.
    together
        Number of points that a worker advances at once. A measured tile has a multiple of it,
        unless even `together` points need too much memory.
    """

    def __init__(self, points: int | None, seconds: float, together: int = 1) -> None:
        self._fixed, self._seconds, self._together = points, seconds, together
        self._size = points or 1
        self._largest, self._fitting = LARGEST, 0
        self._point_seconds: float | None = None

    def record(self, seconds: float, points: int) -> None:
        """Record the time that a tile of `points` points took."""
        point_seconds = seconds / points
        self._fitting += 1
        if self._fitting >= _TRY_LARGER_AFTER:  # other processes may have freed memory
            self._largest, self._fitting = min(2 * self._largest, LARGEST), 0
        old = self._point_seconds
        self._point_seconds = point_seconds if old is None else 0.7 * old + 0.3 * point_seconds

    def at_most(self, points: int) -> None:
        """Limit tiles to `points`, because larger ones need too much memory."""
        self._largest, self._fitting = min(self._largest, points), 0

    def next(self, backlog: int, slots: int) -> int:
        """Return the number of points for the next tile, at least 1."""
        if self._fixed is not None:
            return min(self._fixed, self._largest)
        if self._point_seconds is not None:
            wanted = self._seconds / max(self._point_seconds, 1e-9)
            self._size = max(1, min(int(wanted), self._size * 4, self._largest))
        share = math.ceil(backlog / (2 * max(1, slots)))
        size = min(self._size, share)
        size = max(self._together, size // self._together * self._together)
        return max(1, min(size, self._largest))
