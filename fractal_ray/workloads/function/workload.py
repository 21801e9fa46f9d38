"""The workload `function`: a Python function of the user's own runs every point."""

import copy
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fractal_ray.plane.axes import Axis, Point
from fractal_ray.plane.identity import PointIdentity, Setting
from fractal_ray.plane.outcome import Criterion, RunRecord
from fractal_ray.workloads.base import Prepared
from fractal_ray.workloads.function.call import (
    ARGUMENTS,
    declared_arguments,
    run_batch,
    run_function,
)
from fractal_ray.workloads.function.prepared import Shared, prepare_function
from fractal_ray.workloads.function.result import checked_metrics, record_of
from fractal_ray.workloads.function.seeding import free_card, isolated, kept_generators
from fractal_ray.workloads.function.settings import FunctionSettings
from fractal_ray.workloads.function.ship import LoadedFunction, check_elsewhere


@dataclass(frozen=True)
class FunctionWorkload:
    """A workload that calls a function at every point.

    Parameters
    ----------
    spec
        The section of the spec.
    x, y
        The axes.
    criterion
        The rule that labels a loss curve.
    threads
        Number of CPU threads of torch on one worker.
    """

    spec: FunctionSettings
    x: Axis
    y: Axis
    criterion: Criterion
    threads: int = 1

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Return the settings and the seed, without those that the axes sweep."""
        settings = {
            name: value if isinstance(value, str | bool | int | float) else json.dumps(value)
            for name, value in self.spec.settings.items()
        }
        settings["seed"] = self.spec.seed
        if self.spec.seed_per_point:
            settings["seed_per_point"] = True
        swept = (self.x.param, self.y.param)
        return {name: value for name, value in settings.items() if name not in swept}

    def prepare(self) -> Prepared:
        """Read and import the function, and call the `prepare` of its module if it wants data.

        Raises
        ------
        SweepError
            If a file is missing, the import fails, or `call` names no function that can be called.
        """
        return prepare_function(self.spec)

    def open(self, shared: Shared, device: str) -> "FunctionRunner":
        """Import the function on this worker.

        Raises
        ------
        ImportError
            If it cannot be imported here.
        """
        return FunctionRunner(self, shared, device)


class FunctionRunner:
    """The runner of the workload `function` on one worker.

    Parameters
    ----------
    workload, shared, device
        As in `FunctionWorkload.open`.
    out_dir
        Folder for the argument `out_dir`; None for a temporary one for each run.
    """

    def __init__(
        self, workload: FunctionWorkload, shared: Shared, device: str, out_dir: Path | None = None
    ) -> None:
        self._workload, self._spec = workload, workload.spec
        self._name = workload.spec.call
        self._device = "cuda:0" if device == "cuda" else device
        self._out_dir = out_dir
        check_elsewhere(shared.source)
        self._loaded: LoadedFunction = shared.loaded()
        self._function = self._loaded.function
        self._declared = declared_arguments(self._function, self._name)
        # A batch has one seed, so it serves only points that have the same one.
        self._batch: Any = getattr(self._function, "batch", None) if self._has_one_seed else None
        self._batch_declared: tuple[str, ...] = ()
        if self._batch is not None:
            allowed = tuple(each for each in ARGUMENTS if each != "out_dir")
            self._batch_declared = declared_arguments(self._batch, f"{self._name}.batch", allowed)
        with self._loaded.active():
            self._shared = shared.value()
        self._identity = PointIdentity(
            shared.fingerprint, dict(workload.recipe), workload.x.param, workload.y.param
        )
        self.device = _hardware(device)
        self.on_progress: Callable[[], None] = lambda: None
        """Function to call when a run has made progress; the engine sets it."""

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Run the points one after the other, or all at once by `batch`."""
        with kept_generators():
            if self._batch is not None:
                yield from self._together(points)
                return
            for point in points:
                yield self._one(point)

    def _one(self, point: Point) -> RunRecord:
        start = time.perf_counter()
        seed = self._seed(point)
        arguments: dict[str, Any] = {
            "params": self._params(point),
            "seed": seed,
            "device": self._device,
            "shared": self._shared,
        }
        folder = None
        if "out_dir" in self._declared:
            folder = tempfile.mkdtemp() if self._out_dir is None else None
            arguments["out_dir"] = self._out_dir or Path(str(folder))
        try:
            with self._loaded.active(), isolated(seed, self._workload.threads):
                result = run_function(
                    self._function,
                    {name: arguments[name] for name in self._declared},
                    name=self._name,
                    diverges_on=self._spec.diverges_on,
                    beat=self.on_progress,
                )
        finally:
            del arguments
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if self._device != "cpu":
                free_card()
        metrics = checked_metrics(result, self._spec.metrics, self._name)
        seconds = time.perf_counter() - start
        return record_of(result, metrics, self._workload.criterion, seconds)

    def _together(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Run points by one call of `batch`; each by itself if one of them ends that call."""
        start = time.perf_counter()
        name = f"{self._name}.batch"
        arguments = {
            "params": [self._params(point) for point in points],
            "seed": self._spec.seed,
            "device": self._device,
            "shared": self._shared,
        }
        try:
            with self._loaded.active(), isolated(self._spec.seed, self._workload.threads):
                results = run_batch(
                    self._batch,
                    {each: arguments[each] for each in self._batch_declared},
                    name=name,
                    count=len(points),
                    diverges_on=self._spec.diverges_on,
                )
        finally:
            del arguments
            if self._device != "cpu":
                free_card()
        if results is None:
            for point in points:
                yield from self._together([point])
            return
        seconds = (time.perf_counter() - start) / max(1, len(points))
        for result in results:
            metrics = checked_metrics(result, self._spec.metrics, name)
            yield record_of(result, metrics, self._workload.criterion, seconds)

    def _params(self, point: Point) -> dict[str, Any]:
        """Return the settings and the swept values of a point; each call gets its own copy."""
        params = copy.deepcopy(self._spec.settings)
        for axis, value in ((self._workload.x, point.x), (self._workload.y, point.y)):
            if axis.param != "seed":
                params[axis.param] = int(value) if axis.integer else value
        return params

    def _seed(self, point: Point) -> int:
        """Return the seed of a run: that of the spec or of an axis, or one of its own."""
        seed = self._spec.seed
        for axis, value in ((self._workload.x, point.x), (self._workload.y, point.y)):
            if axis.param == "seed":
                seed = int(value)
        if self._spec.seed_per_point:
            text = f"{seed} {self._identity(point)}"
            return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        return seed

    @property
    def _has_one_seed(self) -> bool:
        return not self._spec.seed_per_point and "seed" not in (
            self._workload.x.param,
            self._workload.y.param,
        )


def _hardware(device: str) -> str:
    """Return the name of the device for the dataset."""
    if device == "cpu":
        return "cpu"
    if find_spec("torch") is None:
        return device
    import torch

    if not torch.cuda.is_available():
        raise ValueError(
            "resources.gpu asks for a GPU and torch sees none on this worker; set resources.gpu: 0"
            " to run on the CPU"
        )
    return torch.cuda.get_device_name()
