"""From a spec to its planner."""

import functools

from fractal_ray.boundary import is_yes
from fractal_ray.planners.base import Planner
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.pairs import PairPlanner
from fractal_ray.planners.program import Program
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.transects import TransectPlanner
from fractal_ray.spec import SweepSpec


def make_program(spec: SweepSpec) -> Program:
    """The planner of a sweep: its stages in order."""
    return Program(
        [
            (stage.name, functools.partial(make_stage, spec, index))
            for index, stage in enumerate(spec.stages)
        ]
    )


def make_stage(spec: SweepSpec, index: int, before: Planner | None) -> Planner:
    """The planner of stage number `index`; `before` is the finished one of the stage before it."""
    frame, stage = spec.frame(index), spec.stages[index]
    label = functools.partial(is_yes, boundary=spec.label.boundary)
    if (lines := stage.transects) is not None:
        return TransectPlanner(
            frame,
            lines.count,
            lines.levels,
            lines.seed,
            label,
            dense=min(lines.dense, lines.levels),
            audit=lines.audit,
        )
    if (pairs := stage.pairs) is not None:
        return PairPlanner(frame, pairs.count, pairs.distances, pairs.seed)
    if (refine := stage.refine) is None:
        return GridPlanner(frame)
    return RefinePlanner(
        frame,
        refine.levels,
        label,
        halo=refine.halo,
        audit=refine.audit,
        seed=refine.seed,
        known=before.results if isinstance(before, GridPlanner) else (),
    )
