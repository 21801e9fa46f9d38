"""Runs that check labels at a border, by four checks.

A check runs a point again, or one ulp beside it, or in another dtype, or, if repeated runs may
differ, in deterministic mode. A label that changes when its run is only repeated, or when a
learning rate moves by the smallest step of its arithmetic, does not depend on the settings alone,
and a border made of such labels is noise. The engine of the sweep makes the runs and stores them in
datasets of their own under ``verify/frame-N/`` in the sweep's folder: they are resumed like any
other dataset, and never mix with the sweep's points.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.analysis.verify.sheet import LabelCheck
from fractal_ray.dataset.relabel import curves, outcomes
from fractal_ray.dataset.store import inside
from fractal_ray.dimension.intervals import clopper_pearson
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import label
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.precision import Arithmetic, next_value
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.listed import ListedPlanner
from fractal_ray.planners.program import Program
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.sweep_spec import SweepSpec

Check = Literal["repeat", "nudge", "mode", "dtype"]

Values = tuple[float, float]
_Side = tuple[int, Axis, Arithmetic]


@dataclass(frozen=True)
class Sample:
    """Sample of points at the border of a frame, for the checks.

    Parameters
    ----------
    points
        ``(x, y)`` of runs whose neighbours have another label.
    yes
        Labels of these runs.
    nudged
        Each point with one coordinate moved; None if both axes take whole numbers only.
    census
        True if the sample holds all points of the border.
    """

    points: tuple[Values, ...]
    yes: tuple[bool, ...]
    nudged: tuple[Values, ...] | None
    census: bool


def draw_sample(
    border: Sequence[tuple[float, float, bool]],
    lattice: SweepFrame,
    spec: SweepSpec,
    count: int,
    seed: int = 0,
) -> Sample:
    """Draw points of the border evenly.

    Parameters
    ----------
    border
        ``(x, y, label)`` to draw from, each point once.
    lattice, spec
        The frame of the border, and the spec of its sweep.
    count
        Number of points; all points if there are fewer.
    seed
        Seed of the draw and of the direction of each nudge.
    """
    rng = random.Random(f"verify {lattice.frame.id} {seed}")
    drawn = [border[i] for i in sorted(range(len(border)), key=lambda i: rng.random())[:count]]
    points = tuple((x, y) for x, y, _ in drawn)
    of_x, of_y = spec.arithmetics
    sides: list[_Side] = [(0, lattice.frame.x, of_x), (1, lattice.frame.y, of_y)]
    movable = [side for side in sides if not side[1].integer]
    return Sample(
        points=points,
        yes=tuple(yes for _, _, yes in drawn),
        nudged=tuple(_nudged(point, movable, rng) for point in points) if movable else None,
        census=len(drawn) == len(border),
    )


def _nudged(point: Values, movable: Sequence[_Side], rng: random.Random) -> Values:
    """Return a point with one coordinate moved by one step up or down, inside the frame."""
    side, axis, arithmetic = movable[int(rng.random() * len(movable))]
    up = rng.random() < 0.5
    moved = next_value(point[side], arithmetic, up=up)
    if not axis.min <= moved <= axis.max:
        moved = next_value(point[side], arithmetic, up=not up)
    return (moved, point[1]) if side == 0 else (point[0], moved)


@dataclass(frozen=True)
class CheckRuns:
    """The runs of one check: a sweep of listed points with a dataset of its own.

    Parameters
    ----------
    check
        Name of the check.
    points
        ``(x, y)`` of every run, in the order of the sample.
    data
        The spec of these runs and the place of their dataset.
    program
        Function that makes the planner of these points; picklable.
    """

    check: Check
    points: tuple[Values, ...]
    data: SweepData
    program: Callable[[list[Zoom]], Program]


def check_runs(sweep: SweepData, lattice: SweepFrame, sample: Sample) -> Iterator[CheckRuns]:
    """Yield the runs that a sample needs, one check after the other.

    They have the sweep's workload and label, and run the sample's points instead of the stages.
    """
    folder = inside(sweep.location, f"verify/frame-{lattice.frame.id}")
    runs: tuple[tuple[Check, tuple[Values, ...] | None, SweepSpec | None], ...] = (
        ("repeat", sample.points, sweep.spec),
        ("nudge", sample.nudged, sweep.spec),
        ("mode", sample.points, sweep.in_deterministic_mode()),
        ("dtype", sample.points, sweep.in_other_dtype()),
    )
    for check, points, spec in runs:
        if points is not None and spec is not None:
            data = SweepData(spec, inside(folder, check), sweep.given_workload)
            program = partial(_program, lattice.frame, check, points)
            yield CheckRuns(check, points, data, program)


def _program(frame: Frame, check: str, points: Sequence[Values], zooms: Sequence[Zoom]) -> Program:
    addressed = [Point(frame.id, 0, i, 0, x, y) for i, (x, y) in enumerate(points)]
    return Program([(f"verify:{check}", lambda: ListedPlanner(frame, addressed))])


def applicable(sweep: SweepData, sample: Sample) -> tuple[Check, ...]:
    """Return the checks that apply to a sweep.

    Whole numbers have no ulp, some workloads have only one dtype, and runs that are deterministic
    in any mode need no comparison with deterministic mode.
    """
    applies: dict[Check, bool] = {
        "repeat": True,
        "nudge": sample.nudged is not None,
        "mode": sweep.in_deterministic_mode() is not None,
        "dtype": sweep.in_other_dtype() is not None,
    }
    return tuple(check for check, does in applies.items() if does)


def read_flips(sweep: SweepData, lattice: SweepFrame, sample: Sample) -> list[LabelCheck]:
    """Compare the labels of a sample with those of every check whose runs are complete."""
    checks = []
    for runs in check_runs(sweep, lattice, sample):
        points = runs.points
        labels = _labels_by_values(runs.data, sweep.rule)
        lost = _lost(runs.data) - labels.keys()
        if not all(point in labels or point in lost for point in points):
            continue
        pairs = [(labels[p], yes) for p, yes in zip(points, sample.yes, strict=True) if p in labels]
        flips = sum(now != before for now, before in pairs)
        low, high = clopper_pearson(flips, len(pairs))
        failed = sum(point in lost for point in points)
        lengths = _other_lengths(sweep, runs.data) if runs.check == "repeat" else 0
        checks.append(LabelCheck(runs.check, len(pairs), flips, low, high, failed, lengths))
    return checks


def _labels_by_values(checks: SweepData, rule: LabelRule) -> dict[Values, bool | None]:
    """Return the labels of a check's runs under the rule of the sweep, with its baseline."""
    table = checks.table()
    yes = [label(outcome, rule.boundary) for outcome in outcomes(table, rule)]
    return dict(zip(_values(table), yes, strict=True))


def _other_lengths(sweep: SweepData, repeats: SweepData) -> int:
    """Return the number of repeated runs with another number of losses than in the sweep."""
    before, again = (_lengths(each.table()) for each in (sweep, repeats))
    return sum(before[name] != count for name, count in again.items() if name in before)


def _lengths(table: pa.Table) -> dict[str, int]:
    counts = (curve.size for curve in curves(table))
    return dict(zip(table["point_id"].to_pylist(), counts, strict=True))


def _lost(sweep: SweepData) -> set[Values]:
    return set(_values(sweep.store().read_failures(skip_corrupt=True)))


def _values(table: Any) -> list[Values]:
    x, y = (table.column(name).to_numpy().tolist() for name in ("x", "y"))
    return list(zip(x, y, strict=True))
