"""The dispatcher: it gives out tiles, takes results and writes them. It does not import Ray.

Workers call `exchange` with the result of a tile and get the next tile. The dispatcher can be
rebuilt from the Parquet dataset at any time, so the loss of its process loses no finished run.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from fractal_ray.dataset import frames_file as frame_file
from fractal_ray.dataset.driver_lease import LeaseLostError
from fractal_ray.dataset.relabel import RULE_COLUMNS
from fractal_ray.dataset.rows import Evaluation, Failure, Origin
from fractal_ray.dataset.store import Store
from fractal_ray.engine.base import FailureKind, NoTile, Place, RunFailure, Tile, TileResult
from fractal_ray.engine.devices import Devices
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.failed_starts import TRIALS, FailedStarts
from fractal_ray.engine.point_queue import PointQueue
from fractal_ray.engine.progress import Progress
from fractal_ray.engine.repeated_errors import RepeatedErrors
from fractal_ray.engine.retries import PendingPoint
from fractal_ray.engine.tile_size import TileSize
from fractal_ray.engine.workers import Lease, Workers
from fractal_ray.engine.writer import Writer
from fractal_ray.plane.outcome import RunRecord

_NOBODY_SECONDS = 60.0


class Dispatcher:
    """Hub of a run: it leases tiles to workers, and hands results to the dataset and the planner.

    Parameters
    ----------
    spec
        The sweep and the location of its dataset.
    clock
        Function that returns seconds of a monotonic clock; tests pass one of their own.
    """

    def __init__(self, spec: DispatcherSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        self._clock = clock
        generation = spec.claim.generation if spec.claim is not None else 0
        self._run = spec.claim.token if spec.claim is not None else ""
        store = Store(spec.location, spec.metadata, generation)
        zooms = frame_file.read_zooms(store)
        self._writer = Writer(spec, store, clock, len(zooms))
        self._program = spec.program(zooms)
        self._seed = int(spec.recipe.get("seed", 0))
        rows = store.read(
            ["point_id", "stage", *RULE_COLUMNS, "seconds", "device"],
            skip_corrupt=spec.skip_corrupt,
        )
        devices = rows.column("device").unique().to_pylist()
        self._devices = Devices(devices, homogeneous=spec.homogeneous)
        self._queue = PointQueue(spec, self._program, rows)
        self._retries, self._tally = self._queue.retries, self._queue.tally
        self._workers = Workers(clock, spec.lease_seconds)
        self._hung: list[Any] = []
        self._repeated_errors = RepeatedErrors(
            keep_going=spec.keep_going, known=self._queue.resumed
        )
        self._failed_starts = FailedStarts()
        self._tiles = 0
        self._tile_size = TileSize(spec.points_per_tile, spec.tile_seconds, spec.together)
        self._started: float | None = None  # the first tile; workers need time to come up
        self._trouble = ""
        self.error: str | None = None
        # So that rows of the dataset are not counted as points to run before the first tile.
        self._queue.put_back(self._queue.take(1, 0, clock()))

    # What slots call ------------------------------------------------------------------------

    def exchange(self, slot: int, result: TileResult | None = None) -> Tile | NoTile:
        """Deliver a result and take the next tile, in one round trip."""
        if result is not None:
            self.deliver(slot, result)
        return self.take(slot)

    def deliver(self, slot: int, result: TileResult) -> None:
        """Accept the result of a slot.

        The result of a lease that was released meanwhile is dropped: its points run again and give
        equal records.
        """
        lease = self._workers.leases.get(slot)
        if lease is not None and lease.tile.id == result.tile_id:
            del self._workers.leases[slot]
            self._workers.loaded.add(slot)
            self._accept(lease, result)
        self.flush_if_due()

    def take(self, slot: int) -> Tile | NoTile:
        """Return the next tile for a slot.

        A slot that still holds a lease has lost its tile, so the points of that lease run again.
        """
        lease = self._workers.leases.pop(slot, None)
        if lease is not None:
            why = "WorkerLost: the worker was restarted"
            self._lost(lease, RunFailure(why, why, "lost_worker"))
        self._workers.mark_ready(slot)
        return self.reserve(slot)

    def reserve(self, slot: int) -> Tile | NoTile:
        """Return the next tile for a slot whose worker need not have come up (`trials: points`).

        The slot is new, and its tile waits for the worker's call of `opened`.
        """
        self.flush_if_due()
        if self.error is not None:
            return "stop"
        if self._workers.card_is_taken(slot):
            return "rest"
        return self._next_tile(slot) or ("stop" if self.finished else self._alone(slot))

    def opening(self, slot: int, place: Place, handle: Any = None) -> bool:
        """Register a worker that is about to load the workload.

        Parameters
        ----------
        slot, place
        handle
            Handle of the worker's process for `take_hung`.

        Returns
        -------
        bool
            False if the worker has to call again, because another one has its card for itself.
        """
        return self._workers.opening(slot, place, handle)

    def opened(self, slot: int) -> None:
        """Note that the worker of a slot has loaded the workload."""
        self._workers.mark_ready(slot)

    def renew(self, slot: int) -> None:
        """Renew the lease of a slot whose run makes progress."""
        self._workers.renew(slot)

    def retire(self, slot: int) -> None:
        """Note that the worker of a slot holds no tile and will be replaced by a new process."""
        self._workers.leaving(slot)

    def node_of(self, slot: int) -> str:
        """Return the id of the node of a slot's worker; "" without a worker."""
        return self._workers.on_node(slot)

    def release(
        self, slot: int, why: str, kind: FailureKind = "lost_worker", traceback: str = ""
    ) -> None:
        """Release the lease of a lost worker: its points run again (`engine/retries.py`).

        `why` is the reason as text; `kind` and `traceback` are those of the failure.
        """
        was_open = slot in self._workers.open
        lease, surprise = self._workers.mark_gone(slot)
        if lease is not None and not lease.waits:
            error = why if kind == "error" else f"WorkerLost: {why}"
            self._lost(lease, RunFailure(error, traceback or error, kind))
            return
        if surprise and not was_open and kind != "lost_node":
            self._trouble = f"slot {slot} died while it loaded the workload: {why}"
            self._record_failed_start(slot, lease, why)
        self._put_back(lease)

    def open_failed(self, slot: int, failure: RunFailure, host: str) -> float | None:
        """Record that a worker raised an exception while it opened the workload.

        Returns
        -------
        float or None
            Seconds until a new worker may start in its place; None if the sweep has ended.
        """
        self._trouble = f"a worker on {host} could not start: {failure.error}"
        self._workers.leaving(slot)
        who = TRIALS if self._workers.waits(slot) else slot
        pause, error = self._failed_starts.record_failure(
            who, failure.traceback, self._workers.loaded
        )
        self.error = error or self.error
        return None if self.finished else pause

    # What the driver calls ------------------------------------------------------------------

    def is_complete(self) -> bool:
        """Return True if nothing is left to run or to spend; no worker need be there.

        The planner gets the outcomes that the dataset holds. Points that it asks for and that have
        no outcome are kept for the first tile.
        """
        points = self._next_points()
        self._queue.put_back(points)
        return not points and self.finished

    def take_hung(self) -> list[Any]:
        """Return the handles of workers that hold a tile for too long.

        Their points run again on other workers, and the engine has to end these.
        """
        for slot, patience in self._workers.hanging():
            handle = self._workers.handle(slot)
            lease, _ = self._workers.mark_gone(slot)
            self._workers.leaving(slot)
            why = f"the worker was silent for {patience:,.0f} s ({self._spec.lease_note})"
            self._trouble = f"slot {slot} is replaced: {why}"
            if handle is not None:
                self._hung.append(handle)
            if lease is not None and not lease.waits:
                self._lost(lease, RunFailure(f"TimedOut: {why}", f"TimedOut: {why}", "timed_out"))
            else:
                self._record_failed_start(slot, lease, why)
                self._put_back(lease)
        hung, self._hung = self._hung, []
        return hung

    @property
    def finished(self) -> bool:
        """Return True when nothing is left to run, or an error or the budget stops the sweep."""
        return self.error is not None or self._spent or self._queue.done

    @property
    def _spent(self) -> bool:
        return self._queue.is_spent(leases=bool(self._workers.leases))

    def progress(self) -> Progress:
        """Return the counts and the small map, after writing the rows that are due."""
        self.flush_if_due()
        tally = self._tally
        return Progress(
            stage=self._program.stage,
            total=tally.done + tally.gave_up + self._queue.pending + self._program.backlog,
            done=tally.done,
            reused=tally.reused,
            running=self._queue.running,
            outcomes=tally.outcomes(),
            not_improved=tally.not_improved(),
            failures=tally.failures,
            gave_up=tally.gave_up,
            slots=len(self._workers.leases),
            seconds=0.0 if self._started is None else self._clock() - self._started,
            x_param=self._spec.x_param,
            y_param=self._spec.y_param,
            map=tally.thumbnail.rows(self._program.frame),
            shared_nodes=tally.shared_nodes,
            bisection_points=tally.bisection_points,
            trouble=self._what_is_wrong(),
            finished=self.finished,
            spent=self._spec.budget.text() if self._spent else "",
            error=self.error,
        )

    def _what_is_wrong(self) -> str:
        waited = self._workers.nobody()
        if waited > _NOBODY_SECONDS and not self.finished:
            return f"no worker has come up for {waited:,.0f} s"
        return self._writer.trouble or self._trouble or self._devices.warning()

    def flush_if_due(self) -> None:
        """Write the waiting rows if there are many of them or they are old."""
        self._writer.flush_if_due(self._program.zooms)
        self.error = self._writer.error or self.error

    def flush(self) -> None:
        """Write all waiting rows; on return the delivered tiles are in the dataset."""
        self._writer.flush(self._program.zooms)

    def rescue(self) -> None:
        """Write the waiting rows if storage allows; another exception is on its way to the user."""
        with contextlib.suppress(OSError, pa.ArrowException, LeaseLostError):
            self.flush()

    def close(self) -> Progress:
        """Write the last rows, join small parts unless there was an error; return the progress."""
        refused = self._writer.finish(self._program.zooms, join=self.error is None)
        self.error = self.error or refused
        return self.progress()

    # Inside ---------------------------------------------------------------------------------

    def _next_points(self) -> list[PendingPoint]:
        size = self._tile_size.next(self._program.backlog, len(self._workers.open))
        return self._queue.take(size, self._tiles, self._clock())

    def _next_tile(self, slot: int) -> Tile | None:
        points = self._next_points()
        return self._lease(slot, points) if points else None

    def _alone(self, slot: int) -> Tile | NoTile:
        """Lease a point that needs a card for itself, once the card's other workers rest."""
        if not self._retries.n_alone:
            return "wait"
        if (answer := self._workers.for_itself(slot)) != "yes":
            return answer
        return self._lease(slot, self._retries.take_alone(), alone=True)

    def _lease(self, slot: int, points: list[PendingPoint], *, alone: bool = False) -> Tile:
        self._started = self._clock() if self._started is None else self._started
        self._tiles += 1
        tile = Tile(self._tiles, tuple(pending.point for pending in points))
        self._workers.lease(slot, tile, points, alone=alone)
        return tile

    def _put_back(self, lease: Lease | None) -> None:
        """Return the points of a lease whose worker has not loaded the workload to the queue."""
        if lease is not None and lease.alone:
            self._retries.put_back_alone(lease.points)
        elif lease is not None:
            self._queue.put_back(lease.points)

    def _record_failed_start(self, slot: int, lease: Lease | None, why: str) -> None:
        loaded = self._workers.loaded
        if lease is None:
            error = self._failed_starts.record_loss(slot, why, loaded)
        else:
            error = self._failed_starts.record_trial_loss(lease.tile.id, self._tiles, why, loaded)
        self.error = error or self.error

    def _accept(self, lease: Lease, result: TileResult) -> None:
        if refusal := self._devices.note(result):
            self.error = refusal
            return
        if result.results:
            self._tile_size.record(result.seconds, len(result.results))
            self._workers.record(result.seconds, len(result.results))
        for pending, item in zip(lease.points, result.results, strict=False):
            if isinstance(item, RunFailure):
                self._fail(pending, item, result)
            else:
                self._succeed(pending, item, result)
        rest = lease.points[len(result.results) :]
        if rest and result.broken is not None:
            if len(lease.points) > 1:
                self._tile_size.at_most(len(lease.points) // 2)
            self._lost(Lease(lease.tile, rest, 0.0, lease.alone), result.broken[1], result)
        elif result.broken is not None:
            index, failure = result.broken
            self._record(self._origin(lease.points[index], result), failure)

    def _lost(self, lease: Lease, failure: RunFailure, result: TileResult | None = None) -> None:
        """Record that a lease has ended without records for its points, and run them again."""
        if len(lease.points) == 1:
            self._fail(lease.points[0], failure, result, alone=lease.alone)
            return
        text = f"{failure.error} ({len(lease.points)} points in its tile)"
        failure = RunFailure(text, failure.traceback, failure.kind)
        self._record(self._origin(lease.points[0], result), failure)
        self._retries.split(lease.points, failure.kind)

    def _succeed(self, pending: PendingPoint, record: RunRecord, result: TileResult) -> None:
        self._failed_starts.record_success()
        self._repeated_errors.record_success()
        self._writer.add(Evaluation(self._origin(pending, result), record))
        self._queue.succeed(pending, record)

    def _fail(
        self,
        pending: PendingPoint,
        failure: RunFailure,
        result: TileResult | None,
        *,
        alone: bool = False,
    ) -> None:
        origin = self._origin(pending, result)
        gave_up = self._retries.record_failure(
            pending, failure.kind, self._tiles, self._clock(), alone=alone
        )
        self._record(origin, failure, gave_up=gave_up)
        if gave_up:
            self._queue.give_up(pending)
        self.error = (
            self._repeated_errors.record_failure(pending.id, failure, gave_up=gave_up) or self.error
        )

    def _record(self, origin: Origin, failure: RunFailure, *, gave_up: bool = False) -> None:
        self._tally.failures += 1
        self._writer.add_failure(
            Failure(origin, failure.kind, failure.error, failure.traceback, gave_up, self._run)
        )

    def _origin(self, pending: PendingPoint, result: TileResult | None) -> Origin:
        """Return the origin of a row; without a result it does not name the worker."""
        point, spec = pending.point, self._spec
        swept = {spec.x_param: point.x, spec.y_param: point.y}
        return Origin(
            point_id=pending.id,
            stage=pending.stage,
            point=point,
            seed=int(swept.get("seed", self._seed)),
            host=result.host if result else "",
            device=result.device if result else "",
            attempt=self._retries.attempt(pending),
            fingerprint=spec.fingerprint,
        )
