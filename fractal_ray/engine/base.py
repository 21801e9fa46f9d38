"""Data that engines exchange: tiles out, results back."""

import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.workloads.base import Runner


@dataclass(frozen=True, slots=True)
class Tile:
    """Points that a slot takes at a time."""

    id: int
    points: tuple[Point, ...]


NoTile = Literal["wait", "rest", "stop"]
"""Answers without a tile: ask again soon; put the model away and ask again, because another slot
has the card for itself; or the sweep is over."""

FailureKind = Literal["error", "out_of_memory", "lost_worker", "lost_node", "timed_out"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs.

    Parameters
    ----------
    node
        Id of the node in the cluster; "" where it is not known.
    card
        What it shares with the other workers there: a GPU of a host, or the host itself.
    """

    node: str
    card: str


@dataclass(frozen=True, slots=True)
class RunFailure:
    """An exception that ended a run."""

    error: str
    traceback: str
    kind: FailureKind = "error"


@dataclass(frozen=True, slots=True)
class TileResult:
    """What a slot brings back: one record or failure per point of the tile, in order.

    `broken` is the exception that ended the run of the tile as a whole, with the index of the
    first point it left without a record (the last point, if none); from there on points were run
    one at a time. Where it was for want of memory, the tile ends there and `results` with it.
    """

    tile_id: int
    results: tuple[RunRecord | RunFailure, ...]
    seconds: float
    host: str
    device: str
    broken: tuple[int, RunFailure] | None = None

    @property
    def worn(self) -> bool:
        """Whether memory ran out: what it left behind goes with the worker, which is replaced."""
        return self.broken is not None and self.broken[1].kind == "out_of_memory"


def describe(error: BaseException) -> RunFailure:
    """An exception as data: its last line, the whole traceback, and what kind of failure it is."""
    text = "".join(traceback.format_exception(error))
    kind: FailureKind = "out_of_memory" if _wants_memory(error) else "error"
    return RunFailure(f"{type(error).__name__}: {error}".strip(), text, kind)


def _wants_memory(error: BaseException) -> bool:
    # By name, because torch is not loaded here; older CUDA errors and torch's CPU allocator raise
    # a plain RuntimeError.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in said for words in ("out of memory", "can't allocate memory", "alloc_failed")
    )


def evaluate_tile(runner: Runner, tile: Tile) -> TileResult:
    """Run a tile. After an exception the rest goes on one point at a time, so that a failure
    is counted against the point that caused it and its neighbours keep their results. Where memory
    ran out the rest is left, for a worker that has some."""
    start = time.perf_counter()
    results: list[RunRecord | RunFailure] = []
    broken = None
    try:
        for record in runner.evaluate(tile.points):
            results.append(record)  # noqa: PERF402 - what came before an exception is kept
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
    seconds = time.perf_counter() - start
    return TileResult(tile.id, tuple(results), seconds, socket.gethostname(), runner.device, broken)


def not_opened(tile: Tile, failure: RunFailure, device: str) -> TileResult:
    """What a slot brings back that could not open the workload again for a tile."""
    ran_out = failure.kind == "out_of_memory"
    results = () if ran_out else (failure,) * len(tile.points)
    broken = (0, failure) if ran_out else None
    return TileResult(tile.id, results, 0.0, socket.gethostname(), device, broken)


def _one_by_one(runner: Runner, points: Sequence[Point]) -> Iterator[RunRecord | RunFailure]:
    """Ends with a failure for want of memory, if there is one."""
    for point in points:
        try:
            yield from runner.evaluate([point])
        except Exception as error:
            failure = describe(error)
            yield failure
            if failure.kind == "out_of_memory":
                return
