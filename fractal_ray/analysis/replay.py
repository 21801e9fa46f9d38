"""Replay of a frame's stages from a dataset or a label function, and the dimensions it gives.

Planners are deterministic. When they run again on outcomes from the dataset, they reach the state
in which the sweep left them, with the results of its audit, lines and pairs. When they run on
outcomes from a function of the plane, a set with a known dimension goes through the stages of the
sweep.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from fractal_ray.dimension import levels, transects, uncertainty
from fractal_ray.dimension.audit import AuditReport, audit_report
from fractal_ray.dimension.recommend import Data, recommended
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.axes import Point, sampler_id, stage_of
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.inferred_labels import labels_of
from fractal_ray.planners.pairs import PairPlanner, disagreements
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.transects import TransectPlanner, count_flips
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.planning import refinement_of, sampler_of
from fractal_ray.spec.sweep_spec import SweepSpec

_PORTION: Final = 10_000
"""Number of points that a replay takes from a planner at a time."""
_LARGEST_RASTER: Final = 2049
"""Most nodes along a side for the estimate from the raster; on finer lattices, levels and lines
are more precise."""

Answers = Callable[[Sequence[Point]], list[Result] | None]
"""Function that returns the outcomes of points, or None if one of them is not known yet."""


@dataclass(frozen=True)
class Replayed:
    """The finished planners of a frame.

    Parameters
    ----------
    field
        The grid of the frame, or its refinement.
    transects, pairs
        Planners of lines, and results of pairs, by stage.
    unfinished
        Names of the stages that are not finished and are left out.
    results
        Results of the field, and of each finished stage after it.
    """

    field: GridPlanner | RefinePlanner
    transects: tuple[TransectPlanner, ...] = ()
    pairs: tuple[tuple[Result, ...], ...] = ()
    unfinished: tuple[str, ...] = ()
    results: tuple[tuple[Result, ...], ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all points and outcomes, independent of their order."""
        lines = sorted(
            f"{p.x!r} {p.y!r} {outcome}" for results in self.results for p, outcome in results
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    @functools.cached_property
    def audit(self) -> AuditReport | None:
        """Audit of the refinement; None for a grid."""
        return audit_report(self.field) if isinstance(self.field, RefinePlanner) else None


def replay(spec: SweepSpec, lattice: SweepFrame, answers: Answers) -> Replayed | None:
    """Run the planners of a frame's stages again, with known answers.

    Parameters
    ----------
    lattice
        The frame; its number determines the stages that work on it.
    answers
        Returns the known outcomes.

    Returns
    -------
    Replayed or None
        None where the grid, or its refinement, is not finished.
    """
    frame = lattice.frame
    # A refinement requests its grid, too.
    planner = (
        GridPlanner(frame)
        if lattice.refinement is None
        else refinement_of(spec, lattice.refinement, frame)
    )
    results = _drive(planner, answers)
    if results is None:
        return None
    all_results = [tuple(results)]
    lines: list[TransectPlanner] = []
    pairs: list[tuple[Result, ...]] = []
    unfinished: list[str] = []
    for index in _samplers(spec, frame.id):
        sampler = sampler_of(spec, index, replace(frame, id=sampler_id(frame.id, index)))
        results = _drive(sampler, answers)
        if results is None:
            unfinished.append(f"{index}:{spec.stages[index].name}")
            continue
        all_results.append(tuple(results))
        if isinstance(sampler, TransectPlanner):
            lines.append(sampler)
        elif isinstance(sampler, PairPlanner):
            pairs.append(tuple(results))
    return Replayed(planner, tuple(lines), tuple(pairs), tuple(unfinished), tuple(all_results))


def estimates(replayed: Replayed, label: Callable[[Outcome], bool]) -> dict[Data, Estimate]:
    """Estimate the dimension of a frame's border from each kind of data that its stages give.

    Parameters
    ----------
    replayed
        The replayed stages.
    label
        Returns True for outcomes that are labelled yes: the rule that the stages followed.
    """
    by_data: dict[Data, Estimate] = {}
    if replayed.transects:
        by_data["transects"] = transects.from_flips([count_flips(p) for p in replayed.transects])
    if replayed.pairs:
        windows = [disagreements(results, label) for results in replayed.pairs]
        by_data["pairs"] = uncertainty.from_pairs(windows)
    if isinstance(replayed.field, RefinePlanner):
        by_data["refined levels"] = levels.from_refinement(replayed.field, replayed.audit)
    labels = labels_of(replayed.field, label)[0]
    if max(labels.shape) <= _LARGEST_RASTER:
        by_data["raster"] = transects.from_raster(labels)
    return by_data


def best(by_data: Mapping[Data, Estimate]) -> Data | None:
    """Return the recommended kind of data among those with a value, or else among all.

    The estimate may have a wide interval: a border that a better estimator cannot resolve cannot be
    resolved by a worse one either.
    """
    valued = [data for data, estimate in by_data.items() if estimate.value is not None]
    return recommended(valued or list(by_data)).data if by_data else None


def answers_of(table: pa.Table, outcomes: Iterable[Outcome | None], failures: pa.Table) -> Answers:
    """Return the function that answers planners from rows of a dataset.

    Parameters
    ----------
    table
        Rows of `points/` with `x` and `y`.
    outcomes
        The outcome of each row as planners are told it (`LabelRule.told`).
    failures
        Rows of `failures/`; a point that has only failures is a failed point.
    """
    known: dict[tuple[float, float], Outcome | None] = {
        **dict.fromkeys(_places(failures)),
        **dict(zip(_places(table), outcomes, strict=True)),
    }

    def answers(points: Sequence[Point]) -> list[Result] | None:
        if any((point.x, point.y) not in known for point in points):
            return None
        return [(point, known[point.x, point.y]) for point in points]

    return answers


def is_answered(planner: Planner, answers: Answers) -> bool:
    """Run a planner to its end; return False if an outcome that it needs is not known."""
    return _drive(planner, answers) is not None


def _drive(planner: Planner, answers: Answers) -> list[Result] | None:
    """Run a planner to its end; return all results, or None if one is not known."""
    driven: list[Result] = []
    while not planner.done:
        results = answers(planner.ask(_PORTION))
        if results is None:
            return None
        planner.tell(results)
        driven += results
    return driven


def _samplers(spec: SweepSpec, frame_id: int) -> Iterator[int]:
    """Yield the numbers of the stages with lines or pairs on a frame."""
    base = stage_of(frame_id)
    for index in range(base + 1, len(spec.stages)):
        if spec.plan.base(index) == base and not spec.stages[index].on_lattice:
            yield index


def _places(table: pa.Table) -> list[tuple[float, float]]:
    x, y = (np.asarray(table.column(name)).tolist() for name in ("x", "y"))
    return list(zip(x, y, strict=True))
