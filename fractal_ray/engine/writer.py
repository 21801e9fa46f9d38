"""The dispatcher's pen: rows wait for a moment and are written together."""

import time
from collections.abc import Callable, Sequence

import pyarrow as pa

from fractal_ray.dataset import frames_file as frame_file
from fractal_ray.dataset.driver_lease import TakenOverError, refuse_if_taken
from fractal_ray.dataset.rows import Evaluation, Failure
from fractal_ray.dataset.store import Store
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.tile_size import LARGEST
from fractal_ray.plane.zoom import Zoom

_JOIN_AFTER = 100
"""Flushes after which small parts are joined: a sweep of days makes 43,200 a day."""
_LARGE = 16_000_000
_PAUSE_SECONDS = 1.0


class Writer:
    """The one that writes to a dataset. Storage may refuse for a while; nothing is lost by that.

    Parameters
    ----------
    spec
        Where to, how often, and for how long storage may refuse.
    store
        The dataset.
    clock
        Seconds, monotonic.
    zooms
        How many zooms the dataset knows already.
    """

    def __init__(
        self, spec: DispatcherSpec, store: Store, clock: Callable[[], float], zooms: int
    ) -> None:
        self._spec, self._store, self._clock = spec, store, clock
        self._zooms_kept = zooms
        self._rows: list[Evaluation] = []
        self._failures: list[Failure] = []
        self._written = clock()
        self._refused_since: float | None = None
        self._flushes = 0
        self.trouble = ""
        self.error: str | None = None

    def add(self, row: Evaluation) -> None:
        """A run that finished."""
        self._rows.append(row)

    def add_failure(self, row: Failure) -> None:
        """A run that did not."""
        self._failures.append(row)

    def flush_if_due(self, zooms: Sequence[Zoom]) -> None:
        """Write what waits when it is much or old."""
        age = self._clock() - self._written
        if len(self._rows) < LARGEST and age < self._spec.flush_seconds:
            return
        try:
            self.flush(zooms)
        except TakenOverError as error:
            self.error = str(error)
        except (OSError, pa.ArrowException) as error:
            self._refused(error)

    def flush(self, zooms: Sequence[Zoom]) -> None:
        """Write what waits; a tile is done when this has returned.

        Raises
        ------
        TakenOverError
            When another driver runs the sweep now: nothing was written.
        OSError, pyarrow.ArrowException
            What storage says.
        """
        refuse_if_taken(self._store, self._spec.token)
        if len(zooms) > self._zooms_kept:  # before the first of their points
            self._store.put(frame_file.FILE, frame_file.to_bytes(list(zooms)))
            self._zooms_kept = len(zooms)
        anything = bool(self._rows or self._failures)
        if self._rows:
            self._store.append(self._rows)
            self._rows = []
        if self._failures:
            self._store.append_failures(self._failures)
            self._failures = []
        self._written = self._clock()
        self._refused_since, self.trouble = None, ""
        self._flushes += anything
        if anything and self._flushes % _JOIN_AFTER == 0:
            self._store.compact(smaller_than=_LARGE)

    def finish(self, zooms: Sequence[Zoom], *, join: bool) -> str | None:
        """Write what is left, and join the parts if asked; storage may refuse for a while here as
        well. Why it could not be done, if so."""
        until = time.monotonic() + self._spec.storage_patience
        while True:
            try:
                self.flush(zooms)
                if join:
                    self._store.compact()
                return None
            except TakenOverError as error:
                return str(error)
            except (OSError, pa.ArrowException) as error:
                if time.monotonic() > until or self.error is not None:
                    return (
                        f"storage at {self._spec.location} refused the last rows ({error}); mend"
                        " it and run the same command"
                    )
            time.sleep(_PAUSE_SECONDS)

    def _refused(self, error: Exception) -> None:
        now = self._clock()
        self._written = now
        self.trouble = f"storage refuses, trying again: {error}"
        if self._refused_since is None:
            self._refused_since = now
        elif now - self._refused_since > self._spec.storage_patience:
            self.error = (
                f"storage at {self._spec.location} has refused for"
                f" {self._spec.storage_patience:.0f} s ({error}); mend it and run the same command"
            )
