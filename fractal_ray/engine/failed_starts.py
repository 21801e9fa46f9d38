"""Workers that fail to start: the pause before a new try, and the end of the sweep."""

from collections import Counter

_TRIES = 3
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0

TRIALS = -1
"""Number in place of a slot's for all trials of `trials: points`, each of which is a new slot."""


class FailedStarts:
    """Counts of workers that raised or died while loading the workload, since the last result.

    While other workers have loaded it the sweep goes on: one bad node does not end it.
    """

    def __init__(self) -> None:
        self._raised: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        self._last_tile = 0

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
        if not self._is_last_try(slot, loaded):
            return None
        return (
            f"slot {slot} died {_TRIES} times while it loaded the workload ({why}); does it fit"
            " into the worker's memory?"
        )

    def record_trial_loss(
        self, tile: int, last_tile: int, why: str, loaded: set[int]
    ) -> str | None:
        """Record that the worker of a new trial died or hung; return the reason to end the sweep.

        The reason needs three losses, each of a trial that began after the loss before it, because
        a lost node takes all of its trials at once. None to go on.

        Parameters
        ----------
        tile, last_tile
            Number of the trial's tile, and of the newest tile.
        why, loaded
            As in `record_loss`.
        """
        if tile <= self._last_tile:
            return None
        self._last_tile = last_tile
        if not self._is_last_try(TRIALS, loaded):
            return None
        return (
            f"the workers of {_TRIES} trials in a row died while they loaded the workload ({why});"
            " does it fit into a worker's memory?"
        )

    def _is_last_try(self, slot: int, loaded: set[int]) -> bool:
        self._lost[slot] += 1
        return self._lost[slot] >= _TRIES and not loaded - {slot}
