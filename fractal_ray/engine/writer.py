"""The writer of the dispatcher: it collects rows for a moment and writes them together."""

import time
from collections.abc import Callable, Sequence

import pyarrow as pa

from fractal_ray.dataset import frames_file as frame_file
from fractal_ray.dataset.compaction import compact
from fractal_ray.dataset.driver_lease import DatasetGoneError, LeaseLostError, writing
from fractal_ray.dataset.rows import Evaluation, Failure
from fractal_ray.dataset.store import Store
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.refuge import Refuge
from fractal_ray.engine.tile_size import LARGEST
from fractal_ray.plane.zoom import Zoom

_JOIN_AFTER = 100
"""Number of flushes after which small parts are joined; a day has up to 43,200 flushes."""
_LARGE = 16_000_000
_PAUSE_SECONDS = 1.0


class Writer:
    """Only writer of a dataset. It keeps rows while storage fails, and writes them later.

    Parameters
    ----------
    spec
        Location, seconds between flushes, and patience with failing storage.
    store
        The dataset.
    clock
        Function that returns seconds of a monotonic clock.
    zooms
        Number of zooms that the dataset holds already.
    """

    def __init__(
        self, spec: DispatcherSpec, store: Store, clock: Callable[[], float], zooms: int
    ) -> None:
        self._spec, self._store, self._clock = spec, store, clock
        self._zooms_written = zooms
        self._refuge = Refuge(store, spec.metadata)
        self._rows: list[Evaluation] = []
        self._failures: list[Failure] = []
        self._written = clock()
        self._refused_since: float | None = None
        self._flushes = 0
        self.trouble = ""
        self.error: str | None = None
        self.wrote_rows = False
        """True after the first rows that this writer has written."""

    def add(self, row: Evaluation) -> None:
        """Add the row of a finished run."""
        self._rows.append(row)

    def add_failure(self, row: Failure) -> None:
        """Add the row of a failed run."""
        self._failures.append(row)

    def flush_if_due(self, zooms: Sequence[Zoom]) -> None:
        """Write the waiting rows if they are many or old."""
        age = self._clock() - self._written
        if len(self._rows) < LARGEST and age < self._spec.flush_seconds:
            return
        try:
            self.flush(zooms)
        except LeaseLostError as error:
            self.error = str(error)
        except (OSError, pa.ArrowException) as error:
            self._refused(error)

    def flush(self, zooms: Sequence[Zoom]) -> None:
        """Write the waiting rows; on return they are in the dataset.

        Raises
        ------
        TakenOverError
            When another driver runs the sweep now: nothing was written.
        DatasetGoneError
            When the dataset is gone: the rows are in a folder that the message names.
        OSError, pyarrow.ArrowException
            When storage fails.
        """
        try:
            with writing(self._store, self._spec.claim):
                self._write(zooms)
        except DatasetGoneError as error:
            where = self._refuge.keep(self._rows, self._failures)
            self._rows, self._failures = [], []
            raise DatasetGoneError(f"{error}. {where}" if where else str(error)) from error

    def _write(self, zooms: Sequence[Zoom]) -> None:
        if len(zooms) > self._zooms_written:  # before the first of their points
            self._store.put(frame_file.FILE, frame_file.to_bytes(list(zooms)))
            self._zooms_written = len(zooms)
        anything = bool(self._rows or self._failures)
        if self._rows:
            self._store.append(self._rows)
            self._rows = []
            self.wrote_rows = True
        if self._failures:
            self._store.append_failures(self._failures)
            self._failures = []
        self._written = self._clock()
        self._refused_since, self.trouble = None, ""
        self._flushes += anything
        if anything and self._flushes % _JOIN_AFTER == 0:
            compact(self._store, smaller_than=_LARGE)

    def finish(self, zooms: Sequence[Zoom], *, join: bool) -> str | None:
        """Write the last rows, and join the parts if `join` is True; retry while storage fails.

        Returns
        -------
        str or None
            The reason for giving up; None for success.
        """
        until = time.monotonic() + self._spec.storage_patience
        while True:
            try:
                self.flush(zooms)
                if join:
                    compact(self._store)
                return None
            except LeaseLostError as error:
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
