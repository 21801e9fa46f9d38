"""One error on several points: a bug of the workload, which a retry does not mend."""

from fractal_ray.dataset.failures import signature
from fractal_ray.engine.base import RunFailure

_POINTS = 3


class RepeatedErrors:
    """Points grouped by the error they failed with.

    Parameters
    ----------
    keep_going
        True to give up failing points only, and not the sweep, after a first success.
    known
        True if the dataset has points of an earlier run.
    """

    def __init__(self, *, keep_going: bool, known: bool) -> None:
        self._keep_going, self._known = keep_going, known
        self._any_success = keep_going and known
        self._points: dict[str, set[str]] = {}
        self._given_up: dict[str, set[str]] = {}

    def record_success(self) -> None:
        """Note that a point has succeeded."""
        self._any_success = True

    def record_failure(self, point_id: str, failure: RunFailure, *, gave_up: bool) -> str | None:
        """Record the failure of a point; return the reason to end the sweep, or None.

        Before the first success, three points with one error end the sweep. After it, three points
        have to fail with one error at each of their attempts.
        """
        if failure.kind != "error":
            return None  # caused by the machine, not by the workload
        kind = signature(failure.error)
        alike = self._points.setdefault(kind, set())
        alike.add(point_id)
        if len(alike) >= _POINTS and not self._any_success:
            hint = " (--keep-going leaves such points out)" if self._known else ""
            return (
                f"the first three points all failed alike, so the sweep was stopped{hint}:\n"
                + failure.traceback
            )
        if not gave_up or self._keep_going:
            return None
        finally_alike = self._given_up.setdefault(kind, set())
        finally_alike.add(point_id)
        if len(finally_alike) < _POINTS:
            return None
        return (
            "three points failed alike at every attempt, so the sweep was stopped; mend the cause"
            " and run the same command, or run it with --keep-going to leave such points out:\n"
            + failure.traceback
        )
