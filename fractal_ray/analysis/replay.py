"""A frame's stages planned again from what is known: from a dataset, or from a label function.

Planners are deterministic, so asking them again and answering from the dataset brings them to the
state in which the sweep left them: what an audit, lines and pairs have shown is read off there.
Answering from a function of the plane instead sends a set with a known answer through the very same
stages.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fractal_ray.dimension.audit import AuditReport, audit_report
from fractal_ray.plane.axes import Point
from fractal_ray.plane.frame_numbers import sampler_id
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.pairs import PairPlanner
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.transects import TransectPlanner
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.planning import refinement_of, sampler_of
from fractal_ray.spec.sweep_spec import SweepSpec

_PORTION = 10_000  # points asked for at a time

Answers = Callable[[Sequence[Point]], list[Result] | None]
"""What points showed, or None where one of them is not known yet."""


@dataclass(frozen=True)
class Replayed:
    """The planners of a frame, each done.

    `field` is its grid, or the refinement of it. Stages that are not finished are named in
    `unfinished` and left out.
    """

    field: GridPlanner | RefinePlanner
    transects: tuple[TransectPlanner, ...] = ()
    pairs: tuple[tuple[Result, ...], ...] = ()
    unfinished: tuple[str, ...] = ()
    told: tuple[tuple[Result, ...], ...] = ()
    """What the field and each finished stage after it were told."""

    @property
    def digest(self) -> str:
        """Names everything that was told, in whatever order: points and outcomes."""
        lines = sorted(
            f"{p.x!r} {p.y!r} {outcome}" for results in self.told for p, outcome in results
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    @property
    def audit(self) -> AuditReport | None:
        """Of the refinement; None for a grid."""
        return audit_report(self.field) if isinstance(self.field, RefinePlanner) else None


def replay(spec: SweepSpec, lattice: SweepFrame, answers: Answers) -> Replayed | None:
    """Plan the stages of a frame again.

    Parameters
    ----------
    spec
    lattice
        The frame; its number says which stages work on it.
    answers
        What is known.

    Returns
    -------
    Replayed or None
        None where the grid, or its refinement, is not finished.
    """
    frame = lattice.frame
    # A refinement asks for its grid, too.
    planner = (
        GridPlanner(frame)
        if lattice.refinement is None
        else refinement_of(spec, lattice.refinement, frame)
    )
    results = _drive(planner, answers)
    if results is None:
        return None
    every = [tuple(results)]
    lines: list[TransectPlanner] = []
    pairs: list[tuple[Result, ...]] = []
    unfinished: list[str] = []
    for index in _samplers(spec, frame.id):
        sampler = sampler_of(spec, index, replace(frame, id=sampler_id(frame.id, index)))
        told = _drive(sampler, answers)
        if told is None:
            unfinished.append(f"{index}:{spec.stages[index].name}")
            continue
        every.append(tuple(told))
        if isinstance(sampler, TransectPlanner):
            lines.append(sampler)
        elif isinstance(sampler, PairPlanner):
            pairs.append(tuple(told))
    return Replayed(planner, tuple(lines), tuple(pairs), tuple(unfinished), tuple(every))


def answers_of(table: pa.Table, shown: Sequence[Outcome], failures: pa.Table) -> Answers:
    """Answers from a dataset.

    Parameters
    ----------
    table
        Rows of `points/` with `x` and `y`.
    shown
        The outcome of each row, under whatever criterion.
    failures
        Rows of `failures/`; a point that has only failures is a failed one.
    """
    known: dict[tuple[float, float], Outcome | None] = {
        **dict.fromkeys(_places(failures)),
        **dict(zip(_places(table), shown, strict=True)),
    }

    def answers(points: Sequence[Point]) -> list[Result] | None:
        if any((point.x, point.y) not in known for point in points):
            return None
        return [(point, known[point.x, point.y]) for point in points]

    return answers


def _drive(planner: Planner, answers: Answers) -> list[Result] | None:
    """Ask and tell to the end; all that was told, or None where something is not known."""
    told: list[Result] = []
    while not planner.done:
        results = answers(planner.ask(_PORTION))
        if results is None:
            return None
        planner.tell(results)
        told += results
    return told


def _samplers(spec: SweepSpec, frame_id: int) -> Iterator[int]:
    """Numbers of the stages with lines or pairs on a frame."""
    from fractal_ray.plane.frame_numbers import stage_of

    base = stage_of(frame_id)
    for index in range(base + 1, len(spec.stages)):
        if spec.plan.base(index) == base and not spec.stages[index].on_lattice:
            yield index


def _places(table: pa.Table) -> list[tuple[float, float]]:
    x, y = (np.asarray(table.column(name)).tolist() for name in ("x", "y"))
    return list(zip(x, y, strict=True))
