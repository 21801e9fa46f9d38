"""The number of points that advance side by side on a device: set by the user, or the fastest."""

from typing import Final, Literal

MOST: Final = 32
"""Largest number of points in a stack that is tried."""
PARAMETERS: Final = 1 << 24
"""Largest number of trained parameters of all copies together that is tried. A model that keeps a
device busy alone gains nothing from more copies, and each copy takes memory for weights, gradient
and optimizer states."""
GAIN: Final = 0.02
"""Share of the time per step that a size must save to count as better than all smaller sizes."""
TRIES: Final = 3
"""Number of measurements of each size; the fastest counts, as other processes use the machine."""
SHORT: Final = 8
"""Number of groups in a row that are too small for a size, after which the size is given up."""
DISAPPOINTMENTS: Final = 2
"""Number of doublings in a row that gain nothing, after which the best size stays."""


class StackSize:
    """The size of a stack, which doubles as long as that makes steps faster.

    The times are measured on runs of the sweep, so no run is wasted on them.

    Parameters
    ----------
    setting
        A fixed size, or auto.
    most
        Largest size that may be tried.
    """

    def __init__(self, setting: int | Literal["auto"], most: int) -> None:
        self.now = 1 if setting == "auto" else setting
        self.capacity = most if setting == "auto" else setting
        self._settled = setting != "auto" or most == 1
        self._tries: dict[int, list[float]] = {}
        self._short = 0

    def record(self, points: int, seconds: float) -> None:
        """Record a measurement: seconds per step and point with `points` in a stack."""
        if self._settled:
            return
        if points != self.now:
            self._short += 1
            if self._short >= SHORT and self._tries:  # tiles are too small for this size
                self.now = self._best()
                self._settled = True
            return
        self._short = 0
        self._tries.setdefault(points, []).append(seconds)
        if len(self._tries[points]) < TRIES:
            return
        best = self._best()
        disappointments = (points // best).bit_length() - 1
        if 2 * points <= self.capacity and disappointments < DISAPPOINTMENTS:
            self.now = 2 * points
        else:
            self.now = best
            self._settled = True

    def _best(self) -> int:
        """Return the smallest size that no larger size beats by `GAIN`."""
        best = 1
        for size, tries in sorted(self._tries.items()):
            if min(tries) < (1 - GAIN) * min(self._tries[best]):
                best = size
        return best


def most_copies(trained: int) -> int:
    """Return the largest number of copies worth a try, a power of two.

    Parameters
    ----------
    trained
        Number of trained parameters of the model.
    """
    copies = min(MOST, PARAMETERS // max(1, trained))
    return 1 << max(0, copies.bit_length() - 1)
