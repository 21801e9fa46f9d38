"""A workload that keeps the contract, and workloads that break one rule each."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Criterion, Outcome, RunRecord
from fractal_ray.workloads.base import Prepared

STEPS = 8


class Slope:
    """A workload of losses on a straight line with slope x + y; it diverges beyond x = 1."""

    @property
    def recipe(self) -> Mapping[str, Setting]:
        return {"seed": 0, "steps": STEPS}

    def prepare(self) -> Prepared:
        return Prepared("slope-1", {"noise": np.linspace(0.0, 0.01, STEPS, dtype=np.float32)})

    def open(self, shared: Any, device: str) -> "SlopeRunner":
        return SlopeRunner(shared["noise"])


class SlopeRunner:
    device = "cpu"

    def __init__(self, noise: NDArray[np.float32]) -> None:
        self.noise = noise

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        for point in points:
            yield self.record(point)

    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        fall = np.linspace(0.0, point.x + point.y + slope, STEPS, dtype=np.float32)
        losses = (2.0 - fall + self.noise).astype(np.float32)
        diverged = 3 if point.x > 1.0 else None
        losses = losses[:diverged]
        return RunRecord.from_curve(
            losses,
            Criterion(),
            diverged_step=diverged,
            final_loss=float("nan") if diverged else float(losses[-1]),
            steps=len(losses),
            tokens_seen=0,
            seconds=0.0,
        )


# The recipe -----------------------------------------------------------------------------------


class ListInRecipe(Slope):
    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"layers": [1, 2]}


class CountsItsRuns(Slope):
    """A workload with the number of its runs in its recipe."""

    def __init__(self) -> None:
        self.runs = 0

    @property
    def recipe(self) -> Mapping[str, Setting]:
        return {"runs": self.runs}

    def open(self, shared: Any, device: str) -> SlopeRunner:
        self.runs += 1
        return super().open(shared, device)


# Pickling -------------------------------------------------------------------------------------


class HoldsFunction(Slope):
    """A workload that holds a lambda, which pickle refuses."""

    def __init__(self) -> None:
        self.rate = lambda step: 1.0 / step


class SharesFunction(Slope):
    """A workload with a lambda in its shared data."""

    def prepare(self) -> Prepared:
        shared = super().prepare().shared
        return Prepared("slope-1", {**shared, "rate": lambda step: 1.0 / step})


class ForgetsItsSettings(Slope):
    """A workload that loses a setting on the way to another process."""

    def __init__(self) -> None:
        self.scale = 2.0

    def __getstate__(self) -> dict[str, Any]:
        return {"scale": 1.0}

    def open(self, shared: Any, device: str) -> SlopeRunner:
        return SlopeRunner(self.scale * shared["noise"])


# The fingerprint ------------------------------------------------------------------------------


class CountedFingerprint(Slope):
    """A workload whose fingerprint changes at every call."""

    numbers = itertools.count()

    def prepare(self) -> Prepared:
        return Prepared(f"slope-{next(self.numbers)}", super().prepare().shared)


class HashedFingerprint(Slope):
    """A workload whose fingerprint is a hash() that differs in every process."""

    def prepare(self) -> Prepared:
        return Prepared(f"slope-{hash('noise')}", super().prepare().shared)


class EmptyFingerprint(Slope):
    def prepare(self) -> Prepared:
        return Prepared("", super().prepare().shared)


# Records --------------------------------------------------------------------------------------


class WithRunner(Slope):
    """A workload that opens a given runner."""

    runner: type[SlopeRunner]

    def open(self, shared: Any, device: str) -> SlopeRunner:
        return self.runner(shared["noise"])


class OneTooFewRunner(SlopeRunner):
    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        yield from list(super().evaluate(points))[1:]


class OneTooFew(WithRunner):
    runner = OneTooFewRunner


class ReversedRunner(SlopeRunner):
    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        yield from super().evaluate(points[::-1])


class Reversed(WithRunner):
    runner = ReversedRunner


class OutcomesOnlyRunner(SlopeRunner):
    def evaluate(self, points: Sequence[Point]) -> Iterator[Any]:
        for point in points:
            yield self.record(point).outcome


class OutcomesOnly(WithRunner):
    runner = OutcomesOnlyRunner


class NoStepRunner(SlopeRunner):
    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        return replace(super().record(point, slope), diverged_step=None)


class NoStep(WithRunner):
    """A runner that does not report the step of a divergence."""

    runner = NoStepRunner


class InfiniteLossesRunner(SlopeRunner):
    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        record = super().record(point, slope)
        return replace(record, losses=np.append(record.losses, np.float32(np.inf)))


class InfiniteLosses(WithRunner):
    runner = InfiniteLossesRunner


class NegativeTimeRunner(SlopeRunner):
    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        return replace(super().record(point, slope), seconds=-1.0)


class NegativeTime(WithRunner):
    runner = NegativeTimeRunner


class NoDeviceRunner(SlopeRunner):
    device = ""


class NoDevice(WithRunner):
    runner = NoDeviceRunner


# Divergence -----------------------------------------------------------------------------------


class RaisingRunner(SlopeRunner):
    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        if point.x > 1.0:
            raise FloatingPointError("loss is nan")
        return super().record(point, slope)


class RaisesForDivergence(WithRunner):
    runner = RaisingRunner


class HidingRunner(SlopeRunner):
    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        record = super().record(point, slope)
        return replace(record, outcome=Outcome.NOT_IMPROVED, diverged_step=None)


class HidesDivergence(WithRunner):
    runner = HidingRunner


# Shared data ----------------------------------------------------------------------------------


class ChangingRunner(SlopeRunner):
    def __init__(self, noise: NDArray[np.float32]) -> None:
        super().__init__(noise)
        noise += 0.001


class ChangesShared(WithRunner):
    runner = ChangingRunner


class BorrowingRunner(SlopeRunner):
    """A runner that writes into the shared noise and puts the old numbers back."""

    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        before = self.noise.copy()
        self.noise *= 2.0
        record = super().record(point, slope)
        self.noise[:] = before
        return record


class BorrowsShared(WithRunner):
    runner = BorrowingRunner


# State that outlives a point ------------------------------------------------------------------


class DriftingRunner(SlopeRunner):
    """A runner that starts each point where the one before it ended."""

    def __init__(self, noise: NDArray[np.float32]) -> None:
        super().__init__(noise)
        self.slope = 0.0

    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        record = super().record(point, self.slope)
        self.slope += 0.01
        return record


class Drifts(WithRunner):
    runner = DriftingRunner


class AveragingRunner(SlopeRunner):
    """A runner that compares each point with the mean of its tile."""

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        mean = sum(point.x for point in points) / max(1, len(points))
        for point in points:
            yield self.record(point, slope=mean)


class DependsOnTile(WithRunner):
    runner = AveragingRunner


class CachingRunner(SlopeRunner):
    """A runner that keeps the first slope of the process for all runners."""

    opened = 0

    def __init__(self, noise: NDArray[np.float32]) -> None:
        super().__init__(noise)
        CachingRunner.opened += 1
        self.slope = 0.01 * CachingRunner.opened

    def record(self, point: Point, slope: float = 0.0) -> RunRecord:
        return super().record(point, self.slope)


class SharesBetweenRunners(WithRunner):
    runner = CachingRunner
