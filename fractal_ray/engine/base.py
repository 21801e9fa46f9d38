"""Tiles and their results, and the calls that carry them between workers and the dispatcher."""

import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fractal_ray.dataset.rows import unwritable_records
from fractal_ray.dataset.secrets import without_keys
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.workloads.base import Runner


@dataclass(frozen=True, slots=True)
class Tile:
    """Points that a slot takes in one call."""

    id: int
    points: tuple[Point, ...]


NoTile = Literal["wait", "rest", "stop"]
"""Answers without a tile.

"wait": ask again soon. "rest": free the model and ask again, because another slot has the card for
itself. "stop": the sweep is over.
"""

FailureKind = Literal["error", "out_of_memory", "lost_worker", "lost_node", "timed_out"]


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a worker in the cluster.

    Parameters
    ----------
    node
        Id of the node; "" if it is not known.
    card
        Device that the worker shares with others: a GPU of a host, or the host itself.
    """

    node: str
    card: str


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Exception that ended a run."""

    error: str
    traceback: str
    kind: FailureKind = "error"


@dataclass(frozen=True, slots=True)
class TileResult:
    """Results of a tile: one record or failure per point, in the order of the points.

    `broken` is the exception that ended the run of the whole tile, with the index of the first
    point that it left without a record (the last point, if all have one). From there on the points
    were run one at a time. After an out-of-memory error the tile ends there, and `results` is
    shorter than the tile.
    """

    tile_id: int
    results: tuple[RunRecord | RunFailure, ...]
    seconds: float
    host: str
    device: str
    broken: tuple[int, RunFailure] | None = None

    @property
    def worn(self) -> bool:
        """True if memory ran out: a new process must replace the worker, to free its memory."""
        return self.broken is not None and self.broken[1].kind == "out_of_memory"


class WorkerCalls(Protocol):
    """Methods of the dispatcher that the workers of an engine use.

    `Dispatcher` has them in its own process; `cluster.remote_dispatcher.RemoteDispatcher` passes
    them on to a Ray actor.
    """

    def opening(self, slot: int, place: Place, handle: Any = None) -> bool: ...

    def exchange(self, slot: int, result: TileResult | None = None) -> Tile | NoTile: ...

    def deliver(self, slot: int, result: TileResult) -> None: ...

    def take(self, slot: int) -> Tile | NoTile: ...

    def reserve(self, slot: int) -> Tile | NoTile: ...

    def opened(self, slot: int) -> None: ...

    def renew(self, slot: int) -> None: ...

    def retire(self, slot: int) -> None: ...

    def open_failed(self, slot: int, failure: RunFailure, host: str) -> float | None: ...

    def release(
        self, slot: int, why: str, kind: FailureKind = "lost_worker", traceback: str = ""
    ) -> None: ...


def describe(error: BaseException) -> RunFailure:
    """Return an exception as data, without keys: message, traceback and kind of failure."""
    text = without_keys("".join(traceback.format_exception(error)))
    kind: FailureKind = "out_of_memory" if _wants_memory(error) else "error"
    line = without_keys(f"{type(error).__name__}: {error}".strip())
    return RunFailure(line, text, kind)


def _wants_memory(error: BaseException) -> bool:
    # Compared by name, because torch is not imported here. Older CUDA errors and torch's CPU
    # allocator raise a plain RuntimeError.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in message for words in ("out of memory", "can't allocate memory", "alloc_failed")
    )


def evaluate_tile(runner: Runner, tile: Tile) -> TileResult:
    """Run a tile.

    After an exception the rest of the points is run one at a time, so that the failure counts
    against the point that caused it and its neighbours keep their results. After an out-of-memory
    error the rest is not run: another worker gets it.
    """
    start = time.perf_counter()
    results: list[RunRecord | RunFailure] = []
    broken = None
    try:
        for record in runner.evaluate(tile.points):
            results.append(record)  # noqa: PERF402 - keeps the records before an exception
    except Exception as error:
        failure, done = describe(error), len(results)
        if failure.kind == "out_of_memory" or len(tile.points) > 1 or done:
            broken = min(done, len(tile.points) - 1), failure
        if failure.kind != "out_of_memory":
            results.extend([failure] if broken is None else _one_by_one(runner, tile.points[done:]))
    last = results[-1] if results else None
    if isinstance(last, RunFailure) and last.kind == "out_of_memory":
        results.pop()
        broken = len(results), last
    ran_out = broken is not None and broken[1].kind == "out_of_memory"
    if len(results) != len(tile.points) and not ran_out:
        text = f"RuntimeError: {len(results)} records for a tile of {len(tile.points)} points"
        results = [RunFailure(text, text)] * len(tile.points)
    _refuse_unwritable(results)
    seconds = time.perf_counter() - start
    return TileResult(tile.id, tuple(results), seconds, socket.gethostname(), runner.device, broken)


def _refuse_unwritable(results: list[RunRecord | RunFailure]) -> None:
    """Replace records that no row can hold by failures, so that the others can be written."""
    places = [k for k, result in enumerate(results) if not isinstance(result, RunFailure)]
    for index, reason in unwritable_records([results[place] for place in places]).items():
        text = f"TypeError: the record of this run cannot be written: {reason}"
        results[places[index]] = RunFailure(text, text)


def not_opened(tile: Tile, failure: RunFailure, device: str) -> TileResult:
    """Return the result of a tile for which a slot could not open the workload again."""
    ran_out = failure.kind == "out_of_memory"
    results = () if ran_out else (failure,) * len(tile.points)
    broken = (0, failure) if ran_out else None
    return TileResult(tile.id, results, 0.0, socket.gethostname(), device, broken)


def _one_by_one(runner: Runner, points: Sequence[Point]) -> Iterator[RunRecord | RunFailure]:
    """Run points one at a time; stop after an out-of-memory error."""
    for point in points:
        try:
            yield from runner.evaluate([point])
        except Exception as error:
            failure = describe(error)
            yield failure
            if failure.kind == "out_of_memory":
                return
