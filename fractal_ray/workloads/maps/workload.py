"""The workload `map`: labels from known sets, without training.

It serves to test plans, planners and estimators, because the dimension of the border is known.
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

NUMERICS = "map-1"
"""Version of the answers of the sets, so that old rows are not mistaken for new ones."""


class MapWorkload:
    """A workload whose labels come from a known set; the axes x and y span the plane of the set.

    Parameters
    ----------
    name
        One of `fractal_ray.workloads.maps.known_sets.SETS`.
    parameters
        Parameters of the set; one that is left out takes its default.

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
        """Return the name of the set and all parameters, defaults included."""
        return {"set": self._name, **self._parameters}

    def prepare(self) -> Prepared:
        """Return a constant fingerprint; there is nothing to load."""
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
    """The runner of the workload `map` on one worker."""

    device = "cpu"

    def __init__(self, known: KnownSet) -> None:
        self._known = known

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Evaluate all points at once.

        Their loss curves are empty. With an invented curve, a later `label.threshold` could flip
        answers that depend on no threshold.
        """
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
