"""The contract of workloads: what runs a point. No Ray inside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import RunRecord


@dataclass(frozen=True)
class Prepared:
    """What the driver makes once and every worker opens.

    Parameters
    ----------
    fingerprint
        Names everything outside the recipe that changes a run's numbers: weights, data, code.
    shared
        Plain data, large arrays as numpy. Workers may get it read-only and shared between them:
        never write into it.
    """

    fingerprint: str
    shared: Any


@dataclass(frozen=True)
class Footprint:
    """What one worker takes of a card, in bytes and in time.

    Parameters
    ----------
    peak
        Of the workload: what its allocator held at most.
    context
        Of the process besides: CUDA itself and what else was on the card.
    total
        Memory of the card.
    busy
        Share of the time, above 0 and at most 1, in which the card works for this one worker;
        None where it was not measured.
    """

    peak: int
    context: int
    total: int
    busy: float | None = None


@runtime_checkable
class Probed(Protocol):
    """A workload of which several workers may share a card."""

    points_per_trial: int | Literal["auto"]
    """Points that each of them advances together."""

    def probe(self, shared: Any, device: str) -> Footprint:
        """Run the two largest steps of any point, on a worker that has the card for itself."""
        ...


class Runner(Protocol):
    """A workload opened on one worker."""

    @property
    def device(self) -> str:
        """What computes here, in words, for the dataset."""
        ...

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Run points; one record per point, in their order.

        Divergence is a record. An exception means that the run failed: the records yielded before
        it stand, and it never becomes an outcome.
        """
        ...


class Workload(Protocol):
    """What a sweep evaluates. Instances are small and picklable."""

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Every setting of the fixed recipe; part of a point's identity."""
        ...

    def prepare(self) -> Prepared:
        """Load and tokenise, once, in the driver."""
        ...

    def open(self, shared: Any, device: str) -> Runner:
        """Make ready on a worker. `device` is "cpu" or "cuda"."""
        ...
