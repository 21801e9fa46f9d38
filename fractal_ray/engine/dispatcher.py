"""The dispatcher: planner, leases and the store's one writer. A plain class without Ray.

Slots call `exchange` with what they finished and get the next tile. Everything it knows can be
rebuilt from the Parquet dataset, so it may die and come back.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from fractal_ray import frame_file
from fractal_ray.engine.base import Nothing, Progress, RunFailure, Tile, TileResult
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.livemap import LiveMap
from fractal_ray.engine.openings import Openings
from fractal_ray.engine.tile_size import LARGEST, TileSize
from fractal_ray.identity import PointIdentity
from fractal_ray.outcome import Outcome, RunRecord
from fractal_ray.relabel import outcomes_by_id
from fractal_ray.rows import Evaluation, Failure, Origin
from fractal_ray.space import Point
from fractal_ray.store import Store

_BACK_OFF_TILES = 8


@dataclass
class _Job:
    point: Point
    id: str
    stage: str
    not_before: int = 0
    """Number of tiles to hand out before this one is tried again; new points go first, so that
    trouble has time to pass, and a bug shows itself on different points."""
    aliases: list[Point] = field(default_factory=list)
    """Other lattice nodes with the same identity, told when this one is known."""


@dataclass
class _Lease:
    tile: Tile
    jobs: list[_Job]


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
        self._zooms_kept = len(chosen)
        self._program = spec.program(chosen)
        self._identity = PointIdentity(spec.fingerprint, spec.recipe, spec.x_param, spec.y_param)
        self._seed = int(spec.recipe.get("seed", 0))
        known = self._store.read(
            ["point_id", "outcome", "losses", "diverged_step", "seconds"],
            skip_corrupt=spec.skip_corrupt,
        )
        self._training_seconds = float(np.sum(known.column("seconds").to_numpy()))
        self._known: dict[str, Outcome] = outcomes_by_id(known, spec.criterion)
        self._again: deque[_Job] = deque()  # each runs in a tile of its own
        self._flying: dict[str, _Job] = {}
        self._leases: dict[int, _Lease] = {}
        self._failed_attempts: Counter[str] = Counter()
        self._culprits: dict[str, set[str]] = {}
        self._slots: set[int] = set()
        self._openings = Openings()
        self._held: deque[_Job] = deque()  # for these the budget has no room
        self._rows: list[Evaluation] = []
        self._failure_rows: list[Failure] = []
        self._tiles = 0
        self._tile_size = TileSize(spec.points_per_tile, spec.tile_seconds)
        self._started: float | None = None  # the first tile; workers need time to come up
        self._flushed = clock()
        self._refused_since: float | None = None
        self._counts: Counter[str] = Counter()
        self._reused = self._done = self._failures = self._gave_up = 0
        self._out = 0  # points asked for and not told yet
        self._succeeded = 0
        self._trouble = ""
        self._map = LiveMap()
        self.error: str | None = None

    # What slots call ------------------------------------------------------------------------

    def exchange(self, slot: int, result: TileResult | None = None) -> Tile | Nothing:
        """Deliver `result`, take the next tile: one round trip per tile."""
        if result is not None:
            self.deliver(slot, result)
        return self.take(slot)

    def deliver(self, slot: int, result: TileResult) -> None:
        """Take what `slot` finished. Results of a lease that was released meanwhile are dropped:
        their points are being run again, and give the same."""
        lease = self._leases.get(slot)
        if lease is not None and lease.tile.id == result.tile_id:
            del self._leases[slot]
            self._accept(lease, result)
        self.flush_if_due()

    def take(self, slot: int) -> Tile | Nothing:
        """The next tile. A slot that still holds a lease has lost it: its points run again."""
        if slot in self._leases:
            self.release(slot, "the worker was restarted")
        self._slots.add(slot)
        self.flush_if_due()
        if self.error is not None:
            return "stop"
        return self._next_tile(slot) or ("stop" if self.finished else "wait")

    def release(self, slot: int, why: str) -> None:
        """The worker of `slot` is gone: what it held is run again, each point by itself, so that
        one which kills its worker is found out and cannot take others with it."""
        lease = self._leases.pop(slot, None)
        was_open = slot in self._slots
        self._slots.discard(slot)
        if lease is None:
            if not was_open:
                self._trouble = f"slot {slot} died while it loaded the workload: {why}"
                self.error = self._openings.lost(slot, why) or self.error
            return
        alone = len(lease.jobs) == 1
        error = f"WorkerLost: {why}" + ("" if alone else f" ({len(lease.jobs)} points in its tile)")
        failure = RunFailure(error, error)
        for job in lease.jobs:
            if alone:
                self._fail(job, "lost_worker", failure, None)
            else:
                self._again.append(job)
        if not alone:
            self._record_failure(lease.jobs[0], "lost_worker", failure, None, gave_up=False)

    def open_failed(self, failure: RunFailure, host: str) -> bool:
        """A worker raised while it opened the workload; True when that has ended the sweep."""
        self._trouble = f"a worker on {host} could not start: {failure.error}"
        self.error = self._openings.raised(failure.traceback) or self.error
        return self.finished

    # What the driver calls ------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True when nothing is left to run, or an error or the budget has stopped the sweep."""
        return (
            self.error is not None
            or self._spent
            or (not self._again and not self._flying and self._program.done)
        )

    @property
    def _spent(self) -> bool:
        return bool(self._held) and not self._leases

    def progress(self) -> Progress:
        """Counts, rate and the small map; also the moment to write rows that wait."""
        self.flush_if_due()
        return Progress(
            stage=self._program.stage,
            total=self._done + self._gave_up + self._out + self._program.backlog,
            done=self._done,
            reused=self._reused,
            running=len(self._flying) - len(self._again),
            outcomes={outcome.value: self._counts[outcome] for outcome in Outcome},
            failures=self._failures,
            gave_up=self._gave_up,
            slots=len(self._leases),
            seconds=0.0 if self._started is None else self._clock() - self._started,
            x_param=self._spec.x_param,
            y_param=self._spec.y_param,
            map=self._map.rows(),
            trouble=self._trouble,
            finished=self.finished,
            spent=self._spec.budget.text() if self._spent else "",
            error=self.error,
        )

    def flush_if_due(self) -> None:
        """Write the rows that wait when there are many or they are old."""
        age = self._clock() - self._flushed
        if len(self._rows) >= LARGEST or age >= self._spec.flush_seconds:
            try:
                self.flush()
            except (OSError, pa.ArrowException) as error:
                self._storage_refused(error)

    def flush(self) -> None:
        """Write every row that waits; a tile is done when this has returned."""
        if len(self._program.zooms) > self._zooms_kept:  # before the first of their points
            chosen = list(self._program.zooms)
            self._store.put(frame_file.FILE, frame_file.to_bytes(chosen))
            self._zooms_kept = len(chosen)
        if self._rows:
            self._store.append(self._rows)
            self._rows = []
        if self._failure_rows:
            self._store.append_failures(self._failure_rows)
            self._failure_rows = []
        self._flushed = self._clock()
        if self._refused_since is not None:
            self._refused_since, self._trouble = None, ""

    def rescue(self) -> None:
        """Write what can be written; the reason for the end is another one and is on its way."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self.flush()

    def close(self) -> Progress:
        """Write what is left, join the small parts of a sweep that is done; the last state."""
        try:
            self.flush()
            if self.error is None:
                self._store.compact()
        except (OSError, pa.ArrowException) as error:
            self.error = self.error or (
                f"storage at {self._spec.location} refused the last rows ({error}); mend it and"
                " run the same command"
            )
        return self.progress()

    # Inside ---------------------------------------------------------------------------------

    def _next_tile(self, slot: int) -> Tile | None:
        size = self._tile_size.next(self._program.backlog, len(self._slots))
        jobs = self._within_budget(self._collect(size))
        if not jobs:
            return None
        self._started = self._clock() if self._started is None else self._started
        self._tiles += 1
        tile = Tile(self._tiles, tuple(job.point for job in jobs))
        self._leases[slot] = _Lease(tile, jobs)
        return tile

    def _within_budget(self, jobs: list[_Job]) -> list[_Job]:
        """Those that may be begun; the others are held."""
        begun = len(self._known) + len(self._flying) - len(self._held) - len(jobs)
        room = self._spec.budget.room(begun, self._training_seconds)
        if room is not None:
            self._held.extendleft(reversed(jobs[room:]))
        return jobs[:room]

    def _collect(self, n: int) -> list[_Job]:
        """Up to `n` points that must really be run; what is known already is told on the way."""
        if self._again and self._again[0].not_before <= self._tiles:
            return [self._again.popleft()]
        jobs = [self._held.popleft() for _ in range(min(n, len(self._held)))]
        while len(jobs) < n:
            stage = self._program.stage
            points = self._program.ask(n - len(jobs))
            if not points:
                break
            self._out += len(points)
            admitted = (self._admit(point, stage) for point in points)
            jobs += [job for job in admitted if job is not None]
        if not jobs and self._again:
            jobs.append(self._again.popleft())
        return jobs

    def _admit(self, point: Point, stage: str) -> _Job | None:
        point_id = self._identity(point)
        if point_id in self._known:
            self._reused += 1
            self._tell([point], self._known[point_id])
            return None
        if point_id in self._flying:
            self._flying[point_id].aliases.append(point)
            return None
        job = self._flying[point_id] = _Job(point, point_id, stage)
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
                self._map.put(frame, point, outcome)

    def _accept(self, lease: _Lease, result: TileResult) -> None:
        self._tile_size.measured(result.seconds, len(lease.jobs))
        if result.broken is not None:
            index, failure = result.broken
            self._record_failure(lease.jobs[index], "error", failure, result, gave_up=False)
        for job, item in zip(lease.jobs, result.results, strict=True):
            if isinstance(item, RunFailure):
                self._fail(job, "error", item, result)
            else:
                self._succeed(job, item, result)

    def _succeed(self, job: _Job, record: RunRecord, result: TileResult) -> None:
        self._openings.worked()
        self._training_seconds += record.seconds
        self._succeeded += 1
        del self._flying[job.id]
        self._known[job.id] = record.outcome
        self._rows.append(Evaluation(self._origin(job, result.host, result.device), record))
        self._tell([job.point, *job.aliases], record.outcome)

    def _fail(self, job: _Job, kind: str, failure: RunFailure, result: TileResult | None) -> None:
        gave_up = self._failed_attempts[job.id] + 1 >= self._spec.max_attempts
        self._record_failure(job, kind, failure, result, gave_up=gave_up)
        self._failed_attempts[job.id] += 1
        if gave_up:
            del self._flying[job.id]
            self._tell([job.point, *job.aliases], None)
        else:
            job.not_before = self._tiles + _BACK_OFF_TILES
            self._again.append(job)
        culprits = self._culprits.setdefault(failure.error, set())
        culprits.add(job.id)
        if len(culprits) >= 3 and not self._succeeded:
            self.error = (
                "the first three points all failed alike, so the sweep was stopped:\n"
                + failure.traceback
            )

    def _record_failure(
        self,
        job: _Job,
        kind: str,
        failure: RunFailure,
        result: TileResult | None,
        *,
        gave_up: bool,
    ) -> None:
        """A row for `failures/`; `result` is None when the worker is gone and cannot be named."""
        self._failures += 1
        host, device = (result.host, result.device) if result else ("", "")
        origin = self._origin(job, host, device)
        self._failure_rows.append(Failure(origin, kind, failure.error, failure.traceback, gave_up))

    def _origin(self, job: _Job, host: str, device: str) -> Origin:
        point, spec = job.point, self._spec
        swept = {spec.x_param: point.x, spec.y_param: point.y}
        return Origin(
            point_id=job.id,
            stage=job.stage,
            point=point,
            seed=int(swept.get("seed", self._seed)),
            host=host,
            device=device,
            attempt=self._failed_attempts[job.id] + 1,
            fingerprint=spec.fingerprint,
        )

    def _storage_refused(self, error: Exception) -> None:
        now = self._clock()
        self._flushed = now
        self._trouble = f"storage refuses, trying again: {error}"
        if self._refused_since is None:
            self._refused_since = now
        elif now - self._refused_since > self._spec.storage_patience:
            self.error = (
                f"storage at {self._spec.location} has refused for"
                f" {self._spec.storage_patience:.0f} s ({error}); mend it and run the same command"
            )
