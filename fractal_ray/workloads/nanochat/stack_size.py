"""How many points advance side by side on a device: what was given, or what proves fastest."""

from typing import Final, Literal

MOST: Final = 32
"""Points of a stack that are tried."""
PARAMETERS: Final = 1 << 24
"""Trained parameters of all copies together that are tried: a model that keeps a device busy by
itself gains nothing from company, and each copy takes weights, gradient and optimizer states."""
GAIN: Final = 0.02
"""Share of the time per step that a size must save to be better than all smaller ones."""
TRIES: Final = 3
"""Measurements of each size, of which the fastest counts: others use the machine as well."""
SHORT: Final = 8
"""Groups in a row that are too small for the size in question, after which it is given up."""
DISAPPOINTMENTS: Final = 2
"""Doublings in a row that gain nothing, after which the best size stays."""


class StackSize:
    """Doubles as long as that pays, measured on the points themselves: no run is wasted on it.

    Parameters
    ----------
    given
        A number, or auto.
    most
        Points that may be tried.
    """

    def __init__(self, given: int | Literal["auto"], most: int) -> None:
        self.now = 1 if given == "auto" else given
        self.capacity = most if given == "auto" else given
        self._settled = given != "auto" or most == 1
        self._tries: dict[int, list[float]] = {}
        self._short = 0

    def record(self, points: int, seconds: float) -> None:
        """So long took a step of one point when so many advanced together."""
        if self._settled:
            return
        if points != self.now:
            self._short += 1
            if self._short >= SHORT and self._tries:  # so many are never there at once
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
        """The smallest size that a larger one does not beat by the gain that is asked for."""
        found = 1
        for size, tries in sorted(self._tries.items()):
            if min(tries) < (1 - GAIN) * min(self._tries[found]):
                found = size
        return found


def most_copies(trained: int) -> int:
    """Copies of a model with so many trained parameters that are worth a try, a power of two."""
    copies = min(MOST, PARAMETERS // max(1, trained))
    return 1 << max(0, copies.bit_length() - 1)
