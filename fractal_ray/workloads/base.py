"""The contract of workloads, which run points. It does not depend on Ray.

`fractal_ray.testing.check_workload` tests the contract.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from fractal_ray.plane.axes import Axis, Point
from fractal_ray.plane.baseline import Baseline
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Criterion, RunRecord


@dataclass(frozen=True)
class Prepared:
    """The result of `Workload.prepare`: made once by the driver, opened by every worker.

    Parameters
    ----------
    fingerprint
        Text that changes with everything outside the recipe that changes the numbers of a run:
        weights, data, code.
    shared
        Plain data, large arrays as numpy. Workers may share one read-only copy: never write into
        it.
    data_facts
        Facts about the data as plain JSON, kept in `sweep.json` under `data`.
    sources
        Digest and text of what the fingerprint covers, by name, kept in `sources.json`: a refused
        resume shows the differences.

    Examples
    --------
    >>> import numpy as np
    >>> from fractal_ray import Prepared
    >>> prepared = Prepared("disc-1", {"noise": np.zeros(30, dtype=np.float32)})
    >>> prepared.fingerprint
    'disc-1'
    """

    fingerprint: str
    shared: Any
    data_facts: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Seeding:
    """The seed of the runs of a sweep.

    Parameters
    ----------
    seed
        The first seed to take where a point is run with several.
    changes
        What another seed gives a run, such as "shuffled data".
    """

    seed: int
    changes: str


@dataclass(frozen=True)
class Footprint:
    """The use of a card by one worker, in bytes and in time.

    Parameters
    ----------
    peak
        Largest number of bytes that the allocator of the workload held.
    context
        Other bytes in use: CUDA itself and other contents of the card.
    total
        Memory of the card.
    busy
        Share of the time, above 0 and at most 1, in which the card works for this one worker;
        None if it was not measured.
    """

    peak: int
    context: int
    total: int
    busy: float | None = None


@runtime_checkable
class Probed(Protocol):
    """The contract of a workload whose workers may share a card."""

    points_per_trial: int | Literal["auto"]
    """Number of points that each worker advances together."""

    def probe(self, shared: Any, device: str) -> Footprint:
        """Run the two largest steps of all points, on a worker that has the card for itself."""
        ...


@runtime_checkable
class CardByDefault(Protocol):
    """The contract of a workload whose slots take a whole card each where there are cards."""

    def parameters(self, shared: Any) -> int:
        """Return the number of parameters of the model; `shared` is the data of `prepare`."""
        ...


@runtime_checkable
class StartChecked(Protocol):
    """The contract of a workload whose runs all start from one state, which can be checked."""

    def check_start(self, shared: Any, *, new: bool) -> None:
        """Refuse a start from which no run can begin; called once, in the driver.

        Parameters
        ----------
        shared
            Data of `Workload.prepare`.
        new
            True if the dataset begins with this run. Settings that only a new dataset must not have
            are noted where it is False.

        Raises
        ------
        ValueError
            The message names the fault. Nothing has been run or written then.
        """
        ...


@runtime_checkable
class Baselined(Protocol):
    """The contract of a workload that can evaluate its untouched model."""

    def baseline(self, shared: Any, device: str, say: Callable[[str], None]) -> Baseline:
        """Return the losses on the batches of all runs; called once for a dataset, in the driver.

        Parameters
        ----------
        shared
            Data of `Workload.prepare`.
        device
            "cpu" or "cuda".
        say
            Called with a line of text before a long step.
        """
        ...


@dataclass(frozen=True)
class RepeatRequest:
    """A point to run again by itself, with its model kept.

    Parameters
    ----------
    axes
        The axes of the sweep.
    values
        Value of each swept parameter.
    fingerprint
        Fingerprint of the row in the dataset.
    criterion
        The rule that labels a loss curve.
    device
        "cpu" or "cuda".
    out
        Folder for the result file and the folder of the model.
    say
        Function that receives each line to print.
    """

    axes: tuple[Axis, Axis]
    values: Mapping[str, float]
    fingerprint: str
    criterion: Criterion
    device: Literal["cpu", "cuda"]
    out: Path
    say: Callable[[str], None]


@dataclass(frozen=True)
class Repeat:
    """The files and the losses of a point that was run again.

    Parameters
    ----------
    losses
        Loss of each step.
    result
        File with the result; None if it could not be written.
    model
        Folder with the model; None where the losses were not finite, or if it could not be written.
    exit_code
        Exit code of the command: not 0 if a file could not be written, or after Ctrl-C.
    val_loss
        Loss on the validation batches after the run; NaN as in `RunRecord`.
    """

    losses: list[float]
    result: Path | None
    model: Path | None
    exit_code: int = 0
    val_loss: float = math.nan


class Runner(Protocol):
    """The contract of a runner: a workload opened on one worker.

    Examples
    --------
    >>> from fractal_ray import Point, Runner
    >>> from fractal_ray.workloads.maps.workload import MapWorkload
    >>> runner: Runner = MapWorkload("disc").open(None, "cpu")
    >>> points = [Point(0, 0, 0, 0, x=0.1, y=0.2), Point(0, 0, 1, 0, x=3.0, y=0.2)]
    >>> [record.outcome.value for record in runner.evaluate(points)]
    ['trained', 'diverged']
    """

    @property
    def device(self) -> str:
        """Return the name of the hardware that computes here, for the dataset."""
        ...

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Run points and yield one record per point, in their order.

        Divergence is a record. An exception means that the run failed: the records that were
        yielded before stay valid, and the exception never becomes an outcome.
        """
        ...


@runtime_checkable
class PackedByValue(Protocol):
    """The contract of shared data with functions that other processes cannot import."""

    def packed(self, dumps: Callable[[Any], bytes]) -> Any:
        """Return plain data: `dumps` turns a function into bytes for `pickle.loads`."""
        ...


@runtime_checkable
class ReportsProgress(Protocol):
    """The contract of a runner that reports progress within a point."""

    on_progress: Callable[[], None]
    """Function to call whenever a run makes progress. The engine sets it: the lease of the tile
    then begins anew."""


class Workload(Protocol):
    """The contract of a workload, which a sweep evaluates. Instances are small and picklable.

    Examples
    --------
    >>> from fractal_ray import Workload
    >>> from fractal_ray.workloads.maps.workload import MapWorkload
    >>> workload: Workload = MapWorkload("disc", {"radius": 2})
    >>> workload.recipe["set"]
    'disc'
    >>> workload.prepare().fingerprint
    'map-1'
    """

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Return every setting of the fixed recipe; it is part of the identity of a point."""
        ...

    def prepare(self) -> Prepared:
        """Load the data that all workers share; called once, in the driver."""
        ...

    def open(self, shared: Any, device: str) -> Runner:
        """Return a runner on this worker; `device` is "cpu" or "cuda"."""
        ...
