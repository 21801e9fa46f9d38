"""What engines pass around: tiles out, results back, progress to whoever looks."""

import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fractal_ray.outcome import RunRecord
from fractal_ray.space import Point
from fractal_ray.workloads.base import Runner


class SweepStoppedError(RuntimeError):
    """The sweep cannot go on; the message holds the whole traceback of the cause."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Points that a slot takes at a time."""

    id: int
    points: tuple[Point, ...]


Nothing = Literal["wait", "stop"]
"""Answers without a tile: ask again soon, or the sweep is over."""


@dataclass(frozen=True, slots=True)
class RunFailure:
    """An exception that ended a run."""

    error: str
    traceback: str


@dataclass(frozen=True, slots=True)
class TileResult:
    """What a slot brings back: one record or failure per point of the tile, in order.

    `broken` is the exception that ended the run of the tile as a whole, with the index of the
    first point it left without a record (the last point, if none); from there on points were run
    one at a time.
    """

    tile_id: int
    results: tuple[RunRecord | RunFailure, ...]
    seconds: float
    host: str
    device: str
    broken: tuple[int, RunFailure] | None = None


@dataclass(frozen=True)
class Progress:
    """A sweep at one moment. Counts are points; `map` rows run upwards, -1 is not known yet."""

    stage: str
    total: int
    done: int
    reused: int
    running: int
    outcomes: dict[str, int]
    failures: int
    gave_up: int
    slots: int
    seconds: float
    x_param: str
    y_param: str
    map: list[list[int]] = field(default_factory=list)
    trouble: str = ""
    finished: bool = False
    spent: str = ""
    """The budget that has stopped the sweep."""
    error: str | None = None
    """Why the sweep cannot go on, with the whole traceback."""

    @property
    def rate(self) -> float:
        """Points run per second, those found in the dataset left out."""
        return (self.done - self.reused) / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to go for what is known to be left, None before the first result."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


View = Callable[[Progress], None]


def describe(error: BaseException) -> RunFailure:
    """An exception as data: its last line and the whole traceback."""
    text = "".join(traceback.format_exception(error))
    return RunFailure(f"{type(error).__name__}: {error}".strip(), text)


def evaluate_tile(runner: Runner, tile: Tile) -> TileResult:
    """Run a tile. After an exception the rest goes on one point at a time, so that a failure
    is counted against the point that caused it and its neighbours keep their results."""
    start = time.perf_counter()
    results: list[RunRecord | RunFailure] = []
    broken = None
    try:
        for record in runner.evaluate(tile.points):
            results.append(record)  # noqa: PERF402 - what came before an exception is kept
    except Exception as error:
        left = tile.points[len(results) :]
        if len(tile.points) == len(left) == 1:
            results.append(describe(error))
        else:
            broken = min(len(results), len(tile.points) - 1), describe(error)
            results.extend(_one_by_one(runner, left))
    if len(results) != len(tile.points):
        raise RuntimeError(f"{len(results)} records for a tile of {len(tile.points)} points")
    seconds = time.perf_counter() - start
    return TileResult(tile.id, tuple(results), seconds, socket.gethostname(), runner.device, broken)


def _one_by_one(runner: Runner, points: Sequence[Point]) -> Iterator[RunRecord | RunFailure]:
    for point in points:
        try:
            yield from runner.evaluate([point])
        except Exception as error:
            yield describe(error)
