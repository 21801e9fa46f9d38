"""Workers that do not come up: when to try again, and when no more."""

from collections import Counter

_TRIES = 3
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0


class FailedStarts:
    """Counts workers that raised or died while they loaded the workload, since the last result.

    While others are open the sweep goes on without them: one bad node ends nothing.
    """

    def __init__(self) -> None:
        self._raised: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()

    def record_success(self) -> None:
        """A worker has brought a result."""
        self._raised.clear()
        self._lost.clear()

    def record_failure(
        self, slot: int, traceback: str, loaded: set[int]
    ) -> tuple[float, str | None]:
        """The one of `slot` raised: seconds until it may try again, and, after three in a row
        while no others have `loaded` the workload, why the sweep cannot go on."""
        self._raised[slot] += 1
        if self._raised.total() >= _TRIES and not loaded - {slot}:
            return 0.0, f"no worker can open the workload:\n{traceback}"
        # The first tries at once: what is wrong everywhere is to be seen soon.
        late = self._raised[slot] - _TRIES
        return (min(_PAUSE * 2.0**late, _LONGEST_PAUSE) if late >= 0 else 0.0), None

    def record_loss(self, slot: int, why: str, loaded: set[int]) -> str | None:
        """The one of `slot` died or hung, killed by the memory limit perhaps; why the sweep cannot
        go on.

        The same slot three times, because a lost node takes all of its slots at once.
        """
        self._lost[slot] += 1
        if self._lost[slot] < _TRIES or loaded - {slot}:
            return None
        return (
            f"slot {slot} died {_TRIES} times while it loaded the workload ({why}); does it fit"
            " into the worker's memory?"
        )
