"""Workloads that misbehave as machines do."""

import os
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.workloads.base import Footprint, Prepared
from tests.fractal_ray.sample_workloads import Disc


class Hanging(Disc):
    """A disc that hangs at the first visit of the point (2, 2)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._seen = folder / "visited"

    def record(self, point: Point) -> RunRecord:
        if (point.ix, point.iy) == (2, 2) and not self._seen.exists():
            self._seen.touch()
            time.sleep(600)
        return super().record(point)


class Greedy(Disc):
    """A disc whose point (2, 2) has memory only if no other worker has loaded the model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(seconds=0.01)
        self._folder = folder

    def open(self, shared: Any, device: str) -> "Loaded":
        return Loaded(self._folder, super().open(shared, device))


class Loaded:
    """A loaded model, marked by a file that exists while its process has it."""

    def __init__(self, folder: Path, disc: Disc) -> None:
        self._disc, self.device, self._folder = disc, disc.device, folder
        mine = folder / f"loaded-{os.getpid()}"
        mine.touch()
        weakref.finalize(self, mine.unlink, missing_ok=True)

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        for point in points:
            if (point.ix, point.iy) == (2, 2):
                self._wait_for_company()
                if self._loaded() > 1:
                    raise torch.OutOfMemoryError("CUDA out of memory (pretend)")
            yield from self._disc.evaluate([point])

    def _loaded(self) -> int:
        return sum(_lives(path.name.split("-")[1]) for path in self._folder.glob("loaded-*"))

    def _wait_for_company(self) -> None:
        """Wait once, so that the first visit finds another worker there."""
        first = self._folder / "visited"
        until = time.monotonic() + 60
        while not first.exists() and self._loaded() < 2 and time.monotonic() < until:
            time.sleep(0.1)
        first.touch()


def _lives(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


class Measured(Disc):
    """A workload whose worker takes a fifth of a card, and notes that it was asked."""

    points_per_trial = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(seconds=0.01)
        self._asked = folder / "asked"

    def probe(self, shared: Any, device: str) -> Footprint:
        with self._asked.open("a") as file:
            file.write(f"{device}\n")
        return Footprint(peak=13 << 30, context=1 << 29, total=80 << 30)


class FineTuned(Disc):
    """A disc that takes a card by default, and reports the kind of its device."""

    def __init__(self) -> None:
        super().__init__(seconds=0.05)

    def parameters(self, shared: Any) -> int:
        return 1000


class Where(Disc):
    """A disc that reports a worker's node, cards and process as its device."""

    def open(self, shared: Any, device: str) -> "Where":
        import ray

        super().open(shared, device)
        context = ray.get_runtime_context()
        self.device = f"{context.get_node_id()} {ray.get_gpu_ids()} {os.getpid()}"
        return self


class Unlike(Disc):
    """A disc whose device has the name that a file contains."""

    def __init__(self, name: Path) -> None:
        super().__init__(seconds=0.05)
        self._name = name

    def prepare(self) -> Prepared:
        return super().prepare()

    def open(self, shared: Any, device: str) -> "Unlike":
        super().open(shared, device)
        self.device = self._name.read_text()
        return self
