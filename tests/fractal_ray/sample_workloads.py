"""Cheap workloads with the real contract: a disc with a known answer, and ways to fail."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Criterion, RunRecord
from fractal_ray.workloads.base import Prepared


class Disc:
    """Trains inside a disc in log10 space, diverges far out; the curve depends on the values only.

    Parameters
    ----------
    seconds
        Slept per point.
    """

    recipe: Mapping[str, Any] = {"matrix_lr": 1.0, "unembedding_lr": 1.0, "seed": 7}

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def prepare(self) -> Prepared:
        return Prepared("disc", {"noise": np.linspace(0.0, 1e-3, 30, dtype=np.float32)})

    def open(self, shared: Any, device: str) -> "Disc":
        self.noise = shared["noise"]
        self.device = device
        return self

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        for point in points:
            if self.seconds:
                time.sleep(self.seconds)
            yield self.record(point)

    def record(self, point: Point) -> RunRecord:
        radius = float(np.hypot(np.log10(point.x) + 2, np.log10(point.y) + 2))
        curve = (2.0 + (radius - 1.0) * np.linspace(0, 1, 30)).astype(np.float32) + self.noise
        diverged = 17 if radius > 1.9 else None
        losses = curve if diverged is None else curve[:diverged]
        return RunRecord.from_curve(
            losses,
            Criterion(),
            diverged_step=diverged,
            final_loss=float("nan") if diverged else float(losses[-1]),
            steps=len(losses),
            tokens_seen=100 * len(losses),
            seconds=self.seconds,
        )


class Flaky(Disc):
    """A disc that raises on the first `times` visits of points in every third row."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self.folder, self.times = folder, times

    def record(self, point: Point) -> RunRecord:
        if point.iy % 3 == 0:
            seen = self.folder / f"{point.ix}-{point.iy}"
            visits = len(seen.read_text()) if seen.exists() else 0
            seen.write_text("x" * (visits + 1))
            if visits < self.times:
                raise OSError(f"no route to host, visit {visits}")
        return super().record(point)


class Broken(Disc):
    """A workload with a bug: every point raises."""

    def record(self, point: Point) -> RunRecord:
        raise TypeError("unsupported operand")


class Unopenable(Disc):
    """A workload that cannot be opened on any worker."""

    def open(self, shared: Any, device: str) -> "Disc":
        raise OSError("weights are unreadable")


class KilledOpening(Disc):
    """A workload that kills the process that loads it, as a memory limit does."""

    def open(self, shared: Any, device: str) -> "Disc":
        os.kill(os.getpid(), signal.SIGKILL)
        return self


class Unpicklable(Disc):
    """A workload that cannot be unpickled on a worker."""

    def __getstate__(self) -> dict[str, Any]:
        return {"driver": os.getpid()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["driver"] != os.getpid():
            raise ImportError("no module named nowhere")
        self.seconds = 0.0


class Untidy(Disc):
    """A disc that raises after its last record."""

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        yield from super().evaluate(points)
        raise RuntimeError("could not tidy up")


class Killer(Disc):
    """A disc that kills its own process with SIGKILL on the first `times` visits of (2, 2)."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self.folder, self.times = folder, times

    def record(self, point: Point) -> RunRecord:
        if (point.ix, point.iy) == (2, 2):
            seen = self.folder / "visits"
            visits = len(seen.read_text()) if seen.exists() else 0
            seen.write_text("x" * (visits + 1))
            if visits < self.times:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().record(point)
