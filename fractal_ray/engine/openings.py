"""Workers that do not come up: when to stop trying."""

from collections import Counter

_TRIES = 3


class Openings:
    """Counts workers that raised or died while they loaded the workload, since the last result."""

    def __init__(self) -> None:
        self._raised = 0
        self._lost: Counter[int] = Counter()

    def worked(self) -> None:
        """A worker has brought a result."""
        self._raised = 0
        self._lost.clear()

    def raised(self, traceback: str) -> str | None:
        """One raised; after three in a row, why the sweep cannot go on."""
        self._raised += 1
        if self._raised < _TRIES:
            return None
        return f"no worker can open the workload:\n{traceback}"

    def lost(self, slot: int, why: str) -> str | None:
        """The one of `slot` died, killed by the memory limit perhaps; why the sweep cannot go on.

        The same slot three times, because a lost node takes all of its slots at once.
        """
        self._lost[slot] += 1
        if self._lost[slot] < _TRIES:
            return None
        return (
            f"slot {slot} died {_TRIES} times while it loaded the workload ({why}); does it fit"
            " into the worker's memory?"
        )
