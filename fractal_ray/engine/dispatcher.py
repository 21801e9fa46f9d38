"""The dispatcher: planner, leases and the store's one writer. A plain class without Ray.

Slots call `exchange` with what they finished and get the next tile. Everything it knows can be
rebuilt from the Parquet dataset, so it may die and come back.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from fractal_ray.dataset import frames_file as frame_file
from fractal_ray.dataset.driver_lease import TakenOverError
from fractal_ray.dataset.relabel import outcomes_by_id
from fractal_ray.dataset.rows import Evaluation, Failure, Origin
from fractal_ray.dataset.store import Store
from fractal_ray.engine.base import FailureKind, NoTile, Place, RunFailure, Tile, TileResult
from fractal_ray.engine.devices import Devices
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.failed_starts import FailedStarts
from fractal_ray.engine.progress import Progress
from fractal_ray.engine.repeated_errors import RepeatedErrors
from fractal_ray.engine.retries import PendingPoint, Retries
from fractal_ray.engine.thumbnail import Thumbnail
from fractal_ray.engine.tile_size import TileSize
from fractal_ray.engine.workers import Lease, Workers
from fractal_ray.engine.writer import Writer
from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import PointIdentity
from fractal_ray.plane.outcome import Outcome, RunRecord

_NOBODY_SECONDS = 60.0


class Dispatcher:
    """Hands out tiles, takes results, writes them, tells the planner.

    Parameters
    ----------
    spec
        What to do and where to keep it.
    clock
        Seconds, monotonic; a test moves it.
    """

    def __init__(self, spec: DispatcherSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        self._clock = clock
        self._store = Store(spec.location, spec.metadata)
        chosen = frame_file.read_zooms(self._store)
        self._writer = Writer(spec, self._store, clock, len(chosen))
        self._program = spec.program(chosen)
        self._identity = PointIdentity(spec.fingerprint, spec.recipe, spec.x_param, spec.y_param)
        self._seed = int(spec.recipe.get("seed", 0))
        known = self._store.read(
            ["point_id", "outcome", "losses", "diverged_step", "seconds", "device"],
            skip_corrupt=spec.skip_corrupt,
        )
        self._training_seconds = float(np.sum(known.column("seconds").to_numpy()))
        kinds = known.column("device").unique().to_pylist()
        self._devices = Devices(kinds, homogeneous=spec.homogeneous)
        self._known: dict[str, Outcome] = outcomes_by_id(known, spec.criterion)
        self._retries = Retries(spec.max_attempts)
        self._flying: dict[str, PendingPoint] = {}
        self._workers = Workers(clock, spec.lease_seconds)
        self._hung: list[Any] = []
        self._repeated_errors = RepeatedErrors(keep_going=spec.keep_going, known=bool(self._known))
        self._failed_starts = FailedStarts()
        self._held: deque[PendingPoint] = deque()  # for these the budget has no room
        self._tiles = 0
        self._tile_size = TileSize(spec.points_per_tile, spec.tile_seconds, spec.together)
        self._started: float | None = None  # the first tile; workers need time to come up
        self._counts: Counter[str] = Counter()
        self._reused = self._done = self._failures = self._gave_up = 0
        self._out = 0  # points asked for and not told yet
        self._trouble = ""
        self._thumbnail = Thumbnail()
        self.error: str | None = None

    # What slots call ------------------------------------------------------------------------

    def exchange(self, slot: int, result: TileResult | None = None) -> Tile | NoTile:
        """Deliver `result`, take the next tile: one round trip per tile."""
        if result is not None:
            self.deliver(slot, result)
        return self.take(slot)

    def deliver(self, slot: int, result: TileResult) -> None:
        """Take what `slot` finished. Results of a lease that was released meanwhile are dropped:
        their points are being run again, and give the same."""
        lease = self._workers.leases.get(slot)
        if lease is not None and lease.tile.id == result.tile_id:
            del self._workers.leases[slot]
            self._workers.loaded.add(slot)
            self._accept(lease, result)
        self.flush_if_due()

    def take(self, slot: int) -> Tile | NoTile:
        """The next tile. A slot that still holds a lease has lost it: its points run again."""
        lease = self._workers.leases.pop(slot, None)
        if lease is not None:
            why = "WorkerLost: the worker was restarted"
            self._lost(lease, RunFailure(why, why, "lost_worker"))
        self._workers.mark_ready(slot)
        self.flush_if_due()
        if self.error is not None:
            return "stop"
        if self._workers.card_is_taken(slot):
            return "rest"
        return self._next_tile(slot) or ("stop" if self.finished else self._alone(slot))

    def opening(self, slot: int, place: Place, handle: Any = None) -> bool:
        """A worker is about to load the workload; False where it has to ask again, because another
        one has its card for itself.

        Parameters
        ----------
        slot
        place
            Where it is.
        handle
            What `take_hung` gives the engine to end its process by.
        """
        return self._workers.opening(slot, place, handle)

    def retire(self, slot: int) -> None:
        """The worker of `slot` holds nothing and will be replaced by a new process."""
        self._workers.leaving(slot)

    def node_of(self, slot: int) -> str:
        """Id of the node of the worker of `slot`, "" for none."""
        return self._workers.on_node(slot)

    def release(
        self, slot: int, why: str, kind: FailureKind = "lost_worker", traceback: str = ""
    ) -> None:
        """The worker of `slot` is gone: what it held is run again (`engine/retries.py`).

        `why` is in words; `kind` and `traceback` are those of the failure.
        """
        was_open = slot in self._workers.open
        lease, surprise = self._workers.mark_gone(slot)
        if lease is not None:
            error = why if kind == "error" else f"WorkerLost: {why}"
            self._lost(lease, RunFailure(error, traceback or error, kind))
        elif surprise and not was_open and kind != "lost_node":
            self._trouble = f"slot {slot} died while it loaded the workload: {why}"
            self.error = (
                self._failed_starts.record_loss(slot, why, self._workers.loaded) or self.error
            )

    def open_failed(self, slot: int, failure: RunFailure, host: str) -> float | None:
        """A worker raised while it opened the workload: the seconds after which its place may be
        taken by a new one, None where the sweep has ended."""
        self._trouble = f"a worker on {host} could not start: {failure.error}"
        self._workers.leaving(slot)
        pause, error = self._failed_starts.record_failure(
            slot, failure.traceback, self._workers.loaded
        )
        self.error = error or self.error
        return None if self.finished else pause

    # What the driver calls ------------------------------------------------------------------

    def take_hung(self) -> list[Any]:
        """Handles of workers that hold a tile for too long; their points run again elsewhere, and
        the engine is to end them."""
        for slot, patience in self._workers.hanging():
            handle = self._workers.handle(slot)
            lease, _ = self._workers.mark_gone(slot)
            self._workers.leaving(slot)
            why = (
                f"the worker was silent for {patience:,.0f} s (resources.lease_seconds sets how"
                " long it may be)"
            )
            self._trouble = f"slot {slot} is replaced: {why}"
            if handle is not None:
                self._hung.append(handle)
            if lease is not None:
                self._lost(lease, RunFailure(f"TimedOut: {why}", f"TimedOut: {why}", "timed_out"))
            else:
                self.error = (
                    self._failed_starts.record_loss(slot, why, self._workers.loaded) or self.error
                )
        hung, self._hung = self._hung, []
        return hung

    @property
    def finished(self) -> bool:
        """True when nothing is left to run, or an error or the budget has stopped the sweep."""
        return (
            self.error is not None
            or self._spent
            or (not self._retries and not self._flying and self._program.done)
        )

    @property
    def _spent(self) -> bool:
        waits = self._workers.leases or self._retries
        return bool(self._held) and not waits and self._room() == 0

    def progress(self) -> Progress:
        """Counts, rate and the small map; also the moment to write rows that wait."""
        self.flush_if_due()
        return Progress(
            stage=self._program.stage,
            total=self._done + self._gave_up + self._out + self._program.backlog,
            done=self._done,
            reused=self._reused,
            running=len(self._flying) - len(self._retries),
            outcomes={outcome.value: self._counts[outcome] for outcome in Outcome},
            failures=self._failures,
            gave_up=self._gave_up,
            slots=len(self._workers.leases),
            seconds=0.0 if self._started is None else self._clock() - self._started,
            x_param=self._spec.x_param,
            y_param=self._spec.y_param,
            map=self._thumbnail.rows(),
            trouble=self._what_is_wrong(),
            finished=self.finished,
            spent=self._spec.budget.text() if self._spent else "",
            error=self.error,
        )

    def _what_is_wrong(self) -> str:
        waited = self._workers.nobody()
        if waited > _NOBODY_SECONDS and not self.finished:
            return f"no worker for {waited:,.0f} s: has the cluster what `resources` asks for?"
        return self._writer.trouble or self._trouble or self._devices.warning()

    def flush_if_due(self) -> None:
        """Write the rows that wait when there are many or they are old."""
        self._writer.flush_if_due(self._program.zooms)
        self.error = self._writer.error or self.error

    def flush(self) -> None:
        """Write every row that waits; a tile is done when this has returned."""
        self._writer.flush(self._program.zooms)

    def rescue(self) -> None:
        """Write what can be written; the reason for the end is another one and is on its way."""
        with contextlib.suppress(OSError, pa.ArrowException, TakenOverError):
            self.flush()

    def close(self) -> Progress:
        """Write what is left, join the small parts of a sweep that is done; the last state."""
        refused = self._writer.finish(self._program.zooms, join=self.error is None)
        self.error = self.error or refused
        return self.progress()

    # Inside ---------------------------------------------------------------------------------

    def _next_tile(self, slot: int) -> Tile | None:
        size = self._tile_size.next(self._program.backlog, len(self._workers.open))
        jobs = self._within_budget(self._collect(size))
        return self._lease(slot, jobs) if jobs else None

    def _alone(self, slot: int) -> Tile | NoTile:
        """What is left needs too much memory beside others: one worker for each card."""
        if not self._retries.n_alone:
            return "wait"
        if (answer := self._workers.for_itself(slot)) != "yes":
            return answer
        return self._lease(slot, self._retries.take_alone(), alone=True)

    def _lease(self, slot: int, jobs: list[PendingPoint], *, alone: bool = False) -> Tile:
        self._started = self._clock() if self._started is None else self._started
        self._tiles += 1
        tile = Tile(self._tiles, tuple(job.point for job in jobs))
        self._workers.lease(slot, tile, jobs, alone=alone)
        return tile

    def _within_budget(self, jobs: list[PendingPoint]) -> list[PendingPoint]:
        """Those that may be begun; the others are held."""
        room = self._room(len(jobs))
        if room is not None:
            self._held.extendleft(reversed(jobs[room:]))
        return jobs[:room]

    def _room(self, asked: int = 0) -> int | None:
        """How many more points the budget allows, `asked` among them; None for any number."""
        begun = len(self._known) + len(self._flying) - len(self._held) - asked
        return self._spec.budget.room(begun, self._training_seconds)

    def _collect(self, n: int) -> list[PendingPoint]:
        """Up to `n` points that must really be run; what is known already is told on the way."""
        if due := self._retries.take(self._tiles, self._clock()):
            return due
        jobs = [self._held.popleft() for _ in range(min(n, len(self._held)))]
        while len(jobs) < n:
            stage = self._program.stage
            points = self._program.ask(n - len(jobs))
            if not points:
                break
            self._out += len(points)
            admitted = (self._admit(point, stage) for point in points)
            jobs += [job for job in admitted if job is not None]
        return jobs or self._retries.take(self._tiles, self._clock(), early=True)

    def _admit(self, point: Point, stage: str) -> PendingPoint | None:
        point_id = self._identity(point)
        if point_id in self._known:
            self._reused += 1
            self._tell([point], self._known[point_id])
            return None
        if point_id in self._flying:
            self._flying[point_id].aliases.append(point)
            return None
        job = self._flying[point_id] = PendingPoint(point, point_id, stage)
        return job

    def _tell(self, points: list[Point], outcome: Outcome | None) -> None:
        frame = self._program.frame
        self._program.tell([(point, outcome) for point in points])
        self._out -= len(points)
        if outcome is None:
            self._gave_up += len(points)
            return
        self._done += len(points)
        self._counts[outcome] += len(points)
        for point in points:
            if point.frame == frame.id:  # of several that are filled side by side, one is shown
                self._thumbnail.put(frame, point, outcome)

    def _accept(self, lease: Lease, result: TileResult) -> None:
        if foreign := self._devices.note(result):
            self.error = foreign
            return
        if result.results:
            self._tile_size.record(result.seconds, len(result.results))
            self._workers.record(result.seconds, len(result.results))
        for job, item in zip(lease.jobs, result.results, strict=False):
            if isinstance(item, RunFailure):
                self._fail(job, item, result)
            else:
                self._succeed(job, item, result)
        left = lease.jobs[len(result.results) :]
        if left and result.broken is not None:
            if len(lease.jobs) > 1:
                self._tile_size.at_most(len(lease.jobs) // 2)
            self._lost(Lease(lease.tile, left, 0.0, lease.alone), result.broken[1], result)
        elif result.broken is not None:
            index, failure = result.broken
            self._record(self._origin(lease.jobs[index], result), failure)

    def _lost(self, lease: Lease, failure: RunFailure, result: TileResult | None = None) -> None:
        """A lease has ended without records for these of its points."""
        if len(lease.jobs) == 1:
            self._fail(lease.jobs[0], failure, result, alone=lease.alone)
            return
        text = f"{failure.error} ({len(lease.jobs)} points in its tile)"
        failure = RunFailure(text, failure.traceback, failure.kind)
        self._record(self._origin(lease.jobs[0], result), failure)
        self._retries.split(lease.jobs, failure.kind)

    def _succeed(self, job: PendingPoint, record: RunRecord, result: TileResult) -> None:
        self._failed_starts.record_success()
        self._repeated_errors.record_success()
        self._training_seconds += record.seconds
        del self._flying[job.id]
        self._known[job.id] = record.outcome
        self._writer.add(Evaluation(self._origin(job, result), record))
        self._tell([job.point, *job.aliases], record.outcome)

    def _fail(
        self,
        job: PendingPoint,
        failure: RunFailure,
        result: TileResult | None,
        *,
        alone: bool = False,
    ) -> None:
        attempt = self._origin(job, result)
        gave_up = self._retries.record_failure(
            job, failure.kind, self._tiles, self._clock(), alone=alone
        )
        self._record(attempt, failure, gave_up=gave_up)
        if gave_up:
            del self._flying[job.id]
            self._tell([job.point, *job.aliases], None)
        self.error = (
            self._repeated_errors.record_failure(job.id, failure, gave_up=gave_up) or self.error
        )

    def _record(self, origin: Origin, failure: RunFailure, *, gave_up: bool = False) -> None:
        self._failures += 1
        self._writer.add_failure(
            Failure(origin, failure.kind, failure.error, failure.traceback, gave_up)
        )

    def _origin(self, job: PendingPoint, result: TileResult | None) -> Origin:
        """Where a row of `job` comes from; without a result its worker cannot be named."""
        point, spec = job.point, self._spec
        swept = {spec.x_param: point.x, spec.y_param: point.y}
        return Origin(
            point_id=job.id,
            stage=job.stage,
            point=point,
            seed=int(swept.get("seed", self._seed)),
            host=result.host if result else "",
            device=result.device if result else "",
            attempt=self._retries.attempt(job),
            fingerprint=spec.fingerprint,
        )
