"""The spec of a sweep: the content of its YAML file, checked before anything starts.

`spec/yaml_file.py` reads the file and reports every mistake at once.
"""

import re
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fractal_ray.plane.axes import Axis
from fractal_ray.plane.baseline import Baseline
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.precision import Arithmetics
from fractal_ray.spec.axes import AxesSpec, AxisSpec, Side
from fractal_ray.spec.label import LabelSpec
from fractal_ray.spec.limits import check_lattices, check_sizes
from fractal_ray.spec.plan import StagePlan
from fractal_ray.spec.resources import ResourcesSpec
from fractal_ray.spec.stages import GridStage, RefineStage, StageSpec
from fractal_ray.spec.tracking import TrackingSpec
from fractal_ray.spec.workloads import WorkloadSpec
from fractal_ray.workloads.model import Model
from fractal_ray.workloads.section import PlannedRuns, SweptAxis, WorkloadSection
from nanochat.errors import quoted


class CostSpec(Model):
    """The section `cost`: your estimates for the command `plan`; no run uses them."""

    tokens_per_second: float = Field(gt=0)
    """Tokens that one slot trains on in a second, prompts included."""
    supervised_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the tokens that carry a label; `num_tokens` counts only those."""


_LONGEST_NAME = 100
"""Largest length of the name of a sweep; the names of its figures and jobs are longer."""


_MOST_STAGES = 200
"""Largest number of stages; the checks of a plan compare stages with one another."""


class SweepSpec(Model):
    """The spec of a whole sweep."""

    name: str
    workload: WorkloadSpec
    axes: AxesSpec
    stages: tuple[StageSpec, ...] = Field(min_length=1, max_length=_MOST_STAGES)
    label: LabelSpec = Field(default_factory=LabelSpec, validate_default=True)
    resources: ResourcesSpec = ResourcesSpec()
    points_per_tile: int | Literal["auto"] = "auto"
    """Number of points that a slot takes at a time; auto: about 2 s of work, by measured time."""
    trials: Literal["slots", "points"] = "slots"
    """slots: one Tune trial per slot; points: one per point, with Tune's tables (small grids)."""
    storage: str = "results"
    """Folder or pyarrow URI that holds the folders of sweeps."""
    tracking: TrackingSpec | None = None
    cost: CostSpec | None = None
    allow_unresolved: bool = False
    """Permission for lattices finer than the arithmetic of their values; neighbours share runs."""

    @field_validator("name")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                f"name becomes a folder: letters, digits, . _ - only; given {quoted(name)}"
            )
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"name may have {_LONGEST_NAME} letters; given {len(name)}")
        return name

    @field_validator("label")
    @classmethod
    def _default_boundary(cls, label: LabelSpec, info: ValidationInfo) -> LabelSpec:
        workload: WorkloadSection | None = info.data.get("workload")  # None if it is not valid
        return label if workload is None else label.with_default(workload.default_boundary)

    @field_validator("points_per_tile")
    @classmethod
    def _some(cls, points: int | str) -> int | str:
        if isinstance(points, int) and points < 1:
            raise ValueError(f"points_per_tile must be at least 1 or auto; given {points}")
        return points

    @model_validator(mode="after")
    def _sweepable(self) -> Self:
        if not isinstance(self.stages[0].part, GridStage):
            raise ValueError(f"the first stage must be a grid; given {self.stages[0].name}")
        for index, (before, stage) in enumerate(pairwise(self.stages)):
            if isinstance(stage.part, RefineStage) and before.base is None:
                raise ValueError(
                    f"stages.{index + 1}: refine must follow a grid or a zoom; to go deeper, give"
                    f" the stage before more levels"
                )
        if self.trials == "points" and self.resources.tiles_per_worker is not None:
            raise ValueError(
                "resources.tiles_per_worker is for slots, which take tiles; with trials: points"
                " leave it out"
            )
        self._check_points_per_trial()
        self._check_types()
        check_sizes(self.plan)  # before any values are listed
        self.workload.check(self.planned_runs)
        check_lattices(self.plan, self.arithmetics, allow_unresolved=self.allow_unresolved)
        return self

    def _check_points_per_trial(self) -> None:
        points = self.resources.points_per_trial
        if points == "auto":
            return
        self.workload.check_points_per_trial(points)
        if self.points_per_tile != "auto" and points > self.points_per_tile:
            raise ValueError(
                f"resources.points_per_trial is {points}, and a tile has points_per_tile ="
                f" {self.points_per_tile}; leave that out, or take a multiple of points_per_trial"
            )
        if self.trials == "points" and points > 1:
            raise ValueError(
                f"resources.points_per_trial is {points}, and with trials: points every trial has"
                " one point; leave it out, or take trials: slots"
            )

    def _check_types(self) -> None:
        for side, axis in (("x", self.axes.x), ("y", self.axes.y)):
            if axis.type is not None and not self.workload.has_typed_axes:
                raise ValueError(
                    f"axes.{side}.type: a parameter of the workload"
                    f" {self.workload.kind_name()} has a type of its own; leave the key out"
                )

    @property
    def planned_runs(self) -> PlannedRuns:
        """Return the facts of the plan that the workload checks."""
        tracked = self.tracking.wandb if self.tracking else None
        return PlannedRuns(
            self._swept("x"),
            self._swept("y"),
            gpu=self.resources.gpu,
            window=self.label.window,
            logged_points=tracked.sampled if tracked else 0,
        )

    def _swept(self, side: Side) -> SweptAxis:
        plan, which = self.plan, 0 if side == "x" else 1
        cells = {plan.cells(i)[which] << plan.level(i) for i in range(len(self.stages))}
        return SweptAxis(
            side,
            plan.axis(side),
            frozenset(cells),
            grid_cells=plan.cells(0)[which],
        )

    def label_rule(self, baseline: Baseline) -> LabelRule:
        """Return the rule that labels the rows of a dataset with this baseline."""
        label = self.label
        first = self.workload.first_loss_is_baseline
        return LabelRule(label.criterion, label.boundary, baseline, first)

    # Not a cached_property: pydantic's model_copy would copy its value beside changed fields.
    @property
    def plan(self) -> StagePlan:
        """Return the stages on the axes in lattice form."""
        axes = self._lattice_axis(self.axes.x), self._lattice_axis(self.axes.y)
        return StagePlan(self.stages, axes)

    def _lattice_axis(self, axis: AxisSpec) -> Axis:
        integer = axis.type == "int" or self.workload.is_integer(axis.param)
        return Axis(axis.param, axis.scale, axis.min, axis.max, integer)

    @property
    def arithmetics(self) -> Arithmetics:
        """Return the arithmetic that uses the values of x, and that of y."""
        x, y = self.plan.axes
        return self.workload.arithmetic(x), self.workload.arithmetic(y)
