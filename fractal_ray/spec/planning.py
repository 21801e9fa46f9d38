"""The planner of a spec.

Stages work on fields: the planners of the frames that the last grid or zoom has made, refined if
the spec has a refinement. The frames of one zoom are filled side by side.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fractal_ray.plane.axes import PER_STAGE, Frame, sampler_id, stage_of
from fractal_ray.plane.boundary import is_yes
from fractal_ray.plane.zoom import Centre, Zoom, centre_of, zoom_in, zoom_out
from fractal_ray.planners.base import Planner, Result
from fractal_ray.planners.bisect import BisectPlanner, segments_in
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.inferred_labels import labels_of
from fractal_ray.planners.pairs import PairPlanner
from fractal_ray.planners.program import Program, StageMaker
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.side_by_side import SideBySide
from fractal_ray.planners.transects import TransectPlanner
from fractal_ray.planners.windows import densest, diverse, random_cells
from fractal_ray.spec.stages import (
    GridStage,
    PairsStage,
    RefineStage,
    TransectsStage,
    ZoomStage,
)
from fractal_ray.spec.sweep_spec import SweepSpec

FramePlanner = GridPlanner | RefinePlanner


def make_program(spec: SweepSpec, zooms: Sequence[Zoom] = ()) -> Program:
    """Return the planner of a sweep, which runs its stages in order.

    Parameters
    ----------
    spec
    zooms
        Frames that were already chosen; they are not chosen again.
    """
    stages = _Stages(spec, list(zooms))
    return Program(list(stages.steps()), stages.zooms)


def refinement_of(spec: SweepSpec, index: int, frame: Frame) -> RefinePlanner:
    """Return the planner with which stage number `index`, a refinement, works on a frame alone."""
    part = spec.stages[index].part
    assert isinstance(part, RefineStage)
    return _refine(spec, part, frame)


class _Stages:
    """The state of the stages: the frames of the zooms, and the fields of the last stage."""

    def __init__(self, spec: SweepSpec, zooms: list[Zoom]) -> None:
        self._spec = spec
        self.zooms = zooms
        self._fields: list[FramePlanner] = []
        self._zoomable: list[FramePlanner] = []  # the fields from which the next zoom cuts
        self._bisections: list[BisectPlanner] = []

    def steps(self) -> Iterator[tuple[str, StageMaker]]:
        """Yield the name and the maker of each step.

        A zoom with a chain of frames yields itself and the stages that follow it several times.
        """
        index = 0
        stages = self._spec.stages
        while index < len(stages):
            stop = index + 1
            while stop < len(stages) and stages[stop].base is None:
                stop += 1
            part = stages[index].part
            zoom = part if isinstance(part, ZoomStage) else None
            known = any(stage_of(made.frame.id) == index for made in self.zooms)
            if zoom is not None and zoom.pick == "boundary-point" and not known:
                yield f"{index}:bisect", functools.partial(self._bisect, index, zoom)
            turns = zoom.depth if zoom is not None and zoom.chosen_again else 1
            for turn in range(turns):
                for number in range(index, stop):
                    name = f"{number}:{stages[number].name}"
                    yield name, functools.partial(self._make, number, turn)
            index = stop

    def _make(self, index: int, turn: int) -> Planner:
        spec, part = self._spec, self._spec.stages[index].part
        if isinstance(part, GridStage):
            self._fields = self._zoomable = [GridPlanner(spec.plan.frame(index))]
        elif isinstance(part, ZoomStage):
            self._zoom(index, part, turn)
        elif isinstance(part, RefineStage):
            refined: list[FramePlanner] = []
            for field in self._fields:
                known = field.results if isinstance(field, GridPlanner) else ()
                refined.append(_refine(spec, part, field.frame, known))
            zoomable_ids = {field.frame.id for field in self._zoomable}
            self._zoomable = [field for field in refined if field.frame.id in zoomable_ids]
            self._fields = refined
        else:
            return _together([_sampler(spec, part, frame) for frame in self._frames(index)])
        return _together(self._fields)

    def _frames(self, index: int) -> Iterator[Frame]:
        """Yield the frames of the fields, numbered for a stage whose points are not nodes."""
        for field in self._fields:
            yield replace(field.frame, id=sampler_id(field.frame.id, index))

    def _bisect(self, index: int, zoom: ZoomStage) -> Planner:
        """Return the planner that searches for the points of the border to which a zoom goes."""
        label = _label(self._spec)
        unresolved = self._spec.allow_unresolved
        arithmetics = ("float64", "float64") if unresolved else self._spec.arithmetics
        self._bisections = []
        for number, field in enumerate(self._zoomable):
            labels, measured, level = labels_of(field, label)
            run = np.where(measured, labels, -1).astype(np.int8)  # an inferred label may be wrong
            cells = random_cells(run, zoom.factor, zoom.windows, zoom.seed)
            frame = replace(field.frame, id=(index + 1) * PER_STAGE - 1 - number)
            segments = segments_in(frame, level, run, cells, zoom.seed)
            self._bisections.append(BisectPlanner(frame, segments, label, zoom.seed, arithmetics))
        return SideBySide(self._bisections)

    def _zoom(self, index: int, zoom: ZoomStage, turn: int) -> None:
        """Make the fields of a zoom, from frames that were already chosen or are chosen now."""
        before = {field.frame.id for field in self._zoomable}
        mine = [made for made in self.zooms if stage_of(made.frame.id) == index]
        chosen = [made for made in mine if made.parent_id in before] if zoom.chosen_again else mine
        if not chosen:
            first = index * PER_STAGE + len(mine)
            chosen = self._choose(index, zoom, 1 if turn else zoom.windows, first)
            self.zooms += chosen
        inner = {made.parent_id for made in chosen}
        self._fields = [GridPlanner(made.frame) for made in chosen]
        self._zoomable = [field for field in self._fields if field.frame.id not in inner]

    def _choose(self, index: int, zoom: ZoomStage, windows: int, first: int) -> list[Zoom]:
        cuts: list[Zoom] = []
        for number, field in enumerate(self._zoomable):
            for centre in self._centres(zoom, windows, number, field):
                cut = zoom_out if zoom.direction == "out" else zoom_in
                cuts += cut(
                    field.frame,
                    centre,
                    zoom.factor,
                    cells=self._spec.plan.cells(index),
                    first_id=first + len(cuts),
                    rule=zoom.pick,
                    depth=1 if zoom.chosen_again else zoom.depth,
                    seed=zoom.seed,
                )
        label = self._spec.label.model_dump()
        return [replace(made, label=label) for made in cuts]

    def _centres(
        self, zoom: ZoomStage, windows: int, number: int, field: FramePlanner
    ) -> list[Centre]:
        if zoom.center is not None:
            return [centre_of(field.frame, zoom.center.x, zoom.center.y)]
        if zoom.pick == "boundary-point":
            brackets = self._bisections[number].brackets()
            return [centre_of(field.frame, *bracket.yes) for bracket in brackets]
        labels, _, _ = labels_of(field, _label(self._spec))
        if zoom.pick == "densest":
            return densest(labels, zoom.factor, windows)
        return diverse(labels, zoom.factor, windows, zoom.seed)


def _together(planners: Sequence[Planner]) -> Planner:
    return planners[0] if len(planners) == 1 else SideBySide(planners)


def _label(spec: SweepSpec) -> functools.partial[bool]:
    return functools.partial(is_yes, boundary=spec.label.boundary)


def _refine(
    spec: SweepSpec, refine: RefineStage, frame: Frame, known: Iterable[Result] = ()
) -> RefinePlanner:
    return RefinePlanner(
        frame,
        refine.levels,
        _label(spec),
        halo=refine.halo,
        audit=refine.audit,
        seed=refine.seed,
        probes=refine.probes,
        known=known,
    )


def sampler_of(spec: SweepSpec, index: int, frame: Frame) -> Planner:
    """Return the planner with which stage number `index`, lines or pairs, works on a frame."""
    part = spec.stages[index].part
    assert isinstance(part, TransectsStage | PairsStage)
    return _sampler(spec, part, frame)


def _sampler(spec: SweepSpec, part: TransectsStage | PairsStage, frame: Frame) -> Planner:
    if isinstance(part, PairsStage):
        return PairPlanner(frame, part.count, part.distances, part.seed)
    return TransectPlanner(
        frame,
        part.count,
        part.levels,
        part.seed,
        _label(spec),
        dense=min(part.dense, part.levels),
        audit=part.audit,
    )
