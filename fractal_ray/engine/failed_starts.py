"""Workers that fail to start: the pause before a new try, and the end of the sweep."""

from collections import Counter

_TRIES = 3
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0


class FailedStarts:
    """Counts of workers that raised or died while loading the workload, since the last result.

    While other workers have loaded it the sweep goes on: one bad node does not end it.
    """

    def __init__(self) -> None:
        self._raised: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()

    def record_success(self) -> None:
        """Reset the counts, because a worker has delivered a result."""
        self._raised.clear()
        self._lost.clear()

    def record_failure(
        self, slot: int, traceback: str, loaded: set[int]
    ) -> tuple[float, str | None]:
        """Record that the worker of a slot raised an exception.

        Parameters
        ----------
        slot, traceback
        loaded
            Slots whose worker has loaded the workload.

        Returns
        -------
        (float, str or None)
            Seconds until the next try; and the reason to end the sweep, after three exceptions in
            a row while no other slot is in `loaded`.
        """
        self._raised[slot] += 1
        if self._raised.total() >= _TRIES and not loaded - {slot}:
            return 0.0, f"no worker can open the workload:\n{traceback}"
        # The first tries follow at once, so that a mistake on all nodes shows soon.
        late = self._raised[slot] - _TRIES
        return (min(_PAUSE * 2.0**late, _LONGEST_PAUSE) if late >= 0 else 0.0), None

    def record_loss(self, slot: int, why: str, loaded: set[int]) -> str | None:
        """Record that the worker of a slot died or hung; return the reason to end the sweep.

        The reason needs three losses of one slot, because a lost node takes all of its slots at
        once. None to go on.
        """
        self._lost[slot] += 1
        if self._lost[slot] < _TRIES or loaded - {slot}:
            return None
        return (
            f"slot {slot} died {_TRIES} times while it loaded the workload ({why}); does it fit"
            " into the worker's memory?"
        )
