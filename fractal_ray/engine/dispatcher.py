"""The dispatcher: planner, leases and the store's one writer. A plain class without Ray.

Slots call `exchange` with what they finished and get the next tile. Everything it knows can be
rebuilt from the Parquet dataset, so it may die and come back.
"""

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from fractal_ray.engine.base import Nothing, Progress, RunFailure, Tile, TileResult
from fractal_ray.engine.livemap import LiveMap
from fractal_ray.identity import PointIdentity, Setting
from fractal_ray.outcome import Criterion, Outcome, RunRecord
from fractal_ray.planners.program import Program
from fractal_ray.relabel import outcomes_by_id
from fractal_ray.rows import Evaluation, Failure, Origin
from fractal_ray.space import Point
from fractal_ray.store import Store

_LARGEST_TILE = 4096
_BACK_OFF_TILES = 8
_OPENINGS = 3


@dataclass(frozen=True)
class DispatcherSpec:
    """All a dispatcher is made of, as plain picklable data.

    `program` makes a fresh planner; it is called again when a lost dispatcher is rebuilt.
    """

    program: Callable[[], Program]
    location: str
    metadata: dict[str, Any]
    fingerprint: str
    recipe: dict[str, Setting]
    x_param: str
    y_param: str
    criterion: Criterion
    points_per_tile: int | None = None
    """None: by measured time."""
    tile_seconds: float = 2.0
    max_attempts: int = 3
    """Runs of a point that may fail before it is given up for this run of the sweep."""
    flush_seconds: float = 2.0
    storage_patience: float = 60.0
    """Seconds for which storage may refuse before the sweep stops."""
    skip_corrupt: bool = False


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
        self._program = spec.program()
        self._store = Store(spec.location, spec.metadata)
        self._identity = PointIdentity(spec.fingerprint, spec.recipe, spec.x_param, spec.y_param)
        self._seed = int(spec.recipe.get("seed", 0))
        known = self._store.read(
            ["point_id", "outcome", "losses", "diverged_step"], skip_corrupt=spec.skip_corrupt
        )
        self._known: dict[str, Outcome] = outcomes_by_id(known, spec.criterion)
        self._again: deque[_Job] = deque()  # each runs in a tile of its own
        self._flying: dict[str, _Job] = {}
        self._leases: dict[int, _Lease] = {}
        self._failed_attempts: Counter[str] = Counter()
        self._culprits: dict[str, set[str]] = {}
        self._slots: set[int] = set()
        self._lost_openings: Counter[int] = Counter()
        self._rows: list[Evaluation] = []
        self._failure_rows: list[Failure] = []
        self._tiles = 0
        self._tile_size = spec.points_per_tile or 1
        self._point_seconds: float | None = None
        self._started: float | None = None  # the first tile; workers need time to come up
        self._flushed = clock()
        self._refused_since: float | None = None
        self._counts: Counter[str] = Counter()
        self._reused = self._done = self._failures = self._gave_up = self._open_failures = 0
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
            if not was_open:  # killed while it loaded the workload, by the memory limit perhaps
                self._lost_opening(slot, why)
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
        """A worker raised while it opened the workload; three in a row with no result end the
        sweep. True when it has ended."""
        self._open_failures += 1
        self._trouble = f"a worker on {host} could not start: {failure.error}"
        if self._open_failures >= _OPENINGS:
            self.error = f"no worker can open the workload:\n{failure.traceback}"
        return self.finished

    # What the driver calls ------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True when nothing is left to run, or the sweep was stopped by an error."""
        return self.error is not None or (
            not self._again and not self._flying and self._program.done
        )

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
            error=self.error,
        )

    def flush_if_due(self) -> None:
        """Write the rows that wait when there are many or they are old."""
        age = self._clock() - self._flushed
        if len(self._rows) >= _LARGEST_TILE or age >= self._spec.flush_seconds:
            try:
                self.flush()
            except (OSError, pa.ArrowException) as error:
                self._storage_refused(error)

    def flush(self) -> None:
        """Write every row that waits; a tile is done when this has returned."""
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

    def _lost_opening(self, slot: int, why: str) -> None:
        """The same slot three times, because a lost node takes all of its slots at once."""
        self._lost_openings[slot] += 1
        self._trouble = f"slot {slot} died while it loaded the workload: {why}"
        if self._lost_openings[slot] >= _OPENINGS:
            self.error = (
                f"slot {slot} died {_OPENINGS} times while it loaded the workload ({why}); does it"
                " fit into the worker's memory?"
            )

    def _next_tile(self, slot: int) -> Tile | None:
        jobs = self._collect(self._size_of_next_tile())
        if not jobs:
            return None
        self._started = self._clock() if self._started is None else self._started
        self._tiles += 1
        tile = Tile(self._tiles, tuple(job.point for job in jobs))
        self._leases[slot] = _Lease(tile, jobs)
        return tile

    def _size_of_next_tile(self) -> int:
        """By measured time, growing at most fourfold, and never more than a fair share."""
        if self._spec.points_per_tile is not None:
            return self._spec.points_per_tile
        if self._point_seconds is not None:
            wanted = self._spec.tile_seconds / max(self._point_seconds, 1e-9)
            self._tile_size = max(1, min(int(wanted), self._tile_size * 4, _LARGEST_TILE))
        share = math.ceil(self._program.backlog / (2 * max(1, len(self._slots))))
        return max(1, min(self._tile_size, share))

    def _collect(self, n: int) -> list[_Job]:
        """Up to `n` points that must really be run; what is known already is told on the way."""
        if self._again and self._again[0].not_before <= self._tiles:
            return [self._again.popleft()]
        jobs: list[_Job] = []
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
            self._map.put(frame, point, outcome)

    def _accept(self, lease: _Lease, result: TileResult) -> None:
        seconds = result.seconds / len(lease.jobs)
        old = self._point_seconds
        self._point_seconds = seconds if old is None else 0.7 * old + 0.3 * seconds
        if result.broken is not None:
            index, failure = result.broken
            self._record_failure(lease.jobs[index], "error", failure, result, gave_up=False)
        for job, item in zip(lease.jobs, result.results, strict=True):
            if isinstance(item, RunFailure):
                self._fail(job, "error", item, result)
            else:
                self._succeed(job, item, result)

    def _succeed(self, job: _Job, record: RunRecord, result: TileResult) -> None:
        self._open_failures = 0
        self._lost_openings.clear()
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
