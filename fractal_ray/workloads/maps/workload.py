"""The workload `map`: sets with known answers in place of training.

For trying out plans, planners and estimators: the dimension that a sweep should find is known.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.workloads.base import Prepared
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import NOT_IMPROVED, TRAINED, KnownSet

# Changes when a set's answers change, so that old rows are not mistaken for new ones.
NUMERICS = "map-1"


class MapWorkload:
    """Answers from a known set, whose own plane the axes x and y span.

    Parameters
    ----------
    name
        One of `fractal_ray.workloads.maps.known_sets.SETS`.
    parameters
        Those of the set; what is left out takes its default.

    Raises
    ------
    SweepError
        As `known_set`.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._name = name
        self._parameters = dict(known_set(name, parameters).parameters)

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """The set's name and every parameter, defaults included."""
        return {"set": self._name, **self._parameters}

    def prepare(self) -> Prepared:
        """Nothing to load: the recipe says all."""
        return Prepared(NUMERICS, None)

    def open(self, shared: None, device: str) -> "MapRunner":
        """Make the set.

        Raises
        ------
        ValueError
            If `device` is not "cpu": a set is evaluated by numpy.
        """
        if device != "cpu":
            raise ValueError(f"known sets run on the CPU, not on {device}; set resources.gpu: 0")
        return MapRunner(known_set(self._name, self._parameters))


class MapRunner:
    """The workload on one worker."""

    device = "cpu"

    def __init__(self, known: KnownSet) -> None:
        self._known = known

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """All points at once. Their loss curves are empty: a made-up curve would let a later
        `label.threshold` flip answers that depend on none."""
        start = time.perf_counter()
        x = np.array([point.x for point in points], dtype=np.float64)
        y = np.array([point.y for point in points], dtype=np.float64)
        answers = self._known.diverged_step(x, y).tolist()
        seconds = (time.perf_counter() - start) / max(1, len(points))
        for answer in answers:
            yield _record(answer, seconds)


def _record(answer: int, seconds: float) -> RunRecord:
    if answer == TRAINED:
        return RunRecord(Outcome.TRAINED, seconds=seconds)
    if answer == NOT_IMPROVED:
        return RunRecord(Outcome.NOT_IMPROVED, seconds=seconds)
    return RunRecord(
        Outcome.DIVERGED,
        reason=f"escapes at step {answer}",
        diverged_step=answer,
        steps=answer,
        seconds=seconds,
    )
