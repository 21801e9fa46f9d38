"""How many points advance side by side on a device: what was given, or what proves fastest."""

from typing import Final, Literal

MOST: Final = 32
"""Points of a stack that are tried."""
PARAMETERS: Final = 1 << 24
"""Trained parameters of all copies together that are tried: a model that keeps a device busy by
itself gains nothing from company, and each copy takes weights, gradient and optimizer states."""
GAIN: Final = 0.05
"""Share of the time per step that twice as many points must save to be kept."""
TRIES: Final = 2
"""Measurements of each size, of which the fastest counts: others use the machine as well."""


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

    def told(self, points: int, seconds: float) -> None:
        """So long took a step of one point when so many advanced together."""
        if self._settled or points != self.now:
            return
        self._tries.setdefault(points, []).append(seconds)
        if len(self._tries[points]) < TRIES:
            return
        best = {size: min(tries) for size, tries in self._tries.items()}
        grew = points == 1 or best[points] < (1 - GAIN) * best[points // 2]
        if grew and 2 * points <= self.capacity:
            self.now = 2 * points
        else:
            self.now = min(best, key=lambda size: best[size])
            self._settled = True


def most_copies(trained: int) -> int:
    """Copies of a model with so many trained parameters that are worth a try, a power of two."""
    copies = min(MOST, PARAMETERS // max(1, trained))
    return 1 << max(0, copies.bit_length() - 1)
