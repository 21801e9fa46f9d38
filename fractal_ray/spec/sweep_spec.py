"""The plan language: what a sweep's YAML may say, checked before anything starts.

`spec_file.py` reads it, and reports every mistake at once.
"""

import re
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fractal_ray.errors import nearest
from fractal_ray.plane.axes import Axis, Frame, Scale
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.precision import Arithmetics, arithmetic_of
from fractal_ray.spec.limits import check_lattice
from fractal_ray.spec.resources import ResourcesSpec
from fractal_ray.spec.stages import Model, StageSpec
from fractal_ray.spec.tracking import TrackingSpec
from fractal_ray.spec.workloads import MapSpec, MlpSpec, NanochatSpec, WorkloadSpec
from nanochat.train.recipe import DERIVED, Recipe

Side = Literal["x", "y"]


class AxisSpec(Model):
    """One axis in real values."""

    param: str
    scale: Scale = "log"
    min: float
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log axis needs min > 0; min is {self.min:g}")
        if self.min >= self.max:
            raise ValueError(f"min must be below max; min is {self.min:g}, max is {self.max:g}")
        return self


class AxesSpec(Model):
    """The plane: x to the right, y upwards."""

    x: AxisSpec
    y: AxisSpec

    @model_validator(mode="after")
    def _different(self) -> Self:
        if self.x.param == self.y.param:
            raise ValueError(f"x and y both sweep {self.x.param!r}; the axes must differ")
        return self


class LabelSpec(Model):
    """The yes/no drawn on the map, and the rule behind `trained`."""

    boundary: Literal["trainable", "stable"] = "trainable"
    window: int = Field(default=20, ge=1)
    threshold: float = Field(default=1.0, gt=0)

    @property
    def criterion(self) -> Criterion:
        """The rule that labels a loss curve."""
        return Criterion(self.window, self.threshold)


class CostSpec(Model):
    """What `plan` reckons with. An estimate of yours, never used by a run."""

    tokens_per_second: float = Field(gt=0)
    """All tokens, prompts included, that one slot trains on in a second."""
    supervised_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of tokens that carry a label; `num_tokens` counts only those."""


_LONGEST_NAME = 100  # figures and job ids have more behind it


class SweepSpec(Model):
    """A whole sweep."""

    name: str
    workload: WorkloadSpec
    axes: AxesSpec
    stages: tuple[StageSpec, ...] = Field(min_length=1)
    label: LabelSpec = LabelSpec()
    resources: ResourcesSpec = ResourcesSpec()
    points_per_tile: int | Literal["auto"] = "auto"
    """Points a slot takes at a time; auto: by measured time, about 2 s of work."""
    trials: Literal["slots", "points"] = "slots"
    """One Tune trial per slot, or (small grids) one per point with Tune's own tables."""
    storage: str = "results"
    """Folder or pyarrow URI that holds sweeps, one folder each."""
    tracking: TrackingSpec | None = None
    cost: CostSpec | None = None
    allow_unresolved: bool = False
    """Run lattices finer than the arithmetic of their values, where neighbours are one run."""

    @field_validator("name")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(f"name becomes a folder: letters, digits, . _ - only; given {name!r}")
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"name may have {_LONGEST_NAME} letters; given {len(name)}")
        return name

    @field_validator("points_per_tile")
    @classmethod
    def _some(cls, points: int | str) -> int | str:
        if isinstance(points, int) and points < 1:
            raise ValueError(f"points_per_tile must be at least 1 or auto; given {points}")
        return points

    @model_validator(mode="after")
    def _sweepable(self) -> Self:
        if self.stages[0].grid is None:
            raise ValueError(f"the first stage must be a grid; given {self.stages[0].name}")
        for index, (before, stage) in enumerate(pairwise(self.stages)):
            if stage.refine is not None and before.base is None:
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
        self._check_kernels()
        if isinstance(self.workload, MapSpec):
            self._check_plane()
        elif isinstance(self.workload, MlpSpec):
            self._check_net(self.workload)
        else:
            self._check_recipe(self.workload)
        for index in range(len(self.stages)):
            check_lattice(self, index)
        return self

    def _check_points_per_trial(self) -> None:
        points = self.resources.points_per_trial
        if points == "auto":
            return
        if not isinstance(self.workload, NanochatSpec):
            raise ValueError(
                f"resources.points_per_trial is {points}, and a workload {self.workload.kind}"
                " computes all points of a tile at once; leave it out (points_per_tile says how"
                " many those are)"
            )
        if points > 1 and not self.workload.stacks:
            raise ValueError(
                f"resources.points_per_trial is {points}; with dtype float16 (one loss scale for"
                " all) or kernels full_logits points cannot advance together: leave it out"
            )
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

    def _check_kernels(self) -> None:
        if (
            not isinstance(self.workload, NanochatSpec)
            or "cuda_graphs" not in self.workload.kernels
        ):
            return
        if not self.resources.gpu:
            raise ValueError(
                "workload.kernels: cuda_graphs records steps of a GPU, and resources.gpu is 0;"
                " leave it out, or set resources.gpu"
            )
        if not self.workload.stacks:
            raise ValueError(
                "workload.kernels: cuda_graphs cannot record the loss scaling of dtype float16;"
                " take bfloat16, or leave it out"
            )

    def _check_plane(self) -> None:
        for side, axis in self._sides():
            if axis.param != side:
                raise ValueError(
                    f"axes.{side}.param: a map has its own plane, so the param of axis {side} is"
                    f" {side}; given {axis.param!r}"
                )
        if self.resources.gpu:
            raise ValueError(
                f"a map is evaluated on the CPU; resources.gpu must be 0, not {self.resources.gpu}"
            )
        if self.tracking and self.tracking.wandb and self.tracking.wandb.sampled:
            raise ValueError(
                "tracking.wandb.points: points of a map have no loss curve to log; leave it out"
            )

    def _check_net(self, workload: MlpSpec) -> None:
        workload.check_axes(self.axes.x.param, self.axes.y.param)
        for side, axis in self._sides():
            if axis.param != "w0_offset" and axis.min < 0:
                raise ValueError(
                    f"axes.{side}: {axis.param} must not be below 0; min is {axis.min:g}"
                )
        kept = workload.kept_losses
        if isinstance(kept, int) and self.label.window > kept:
            raise ValueError(
                f"label.window is {self.label.window}, and a row keeps the last {kept} losses"
                " (workload.kept_losses)"
            )

    def _sides(self) -> tuple[tuple[Side, AxisSpec], ...]:
        return (("x", self.axes.x), ("y", self.axes.y))

    def _check_recipe(self, workload: NanochatSpec) -> None:
        recipe = Recipe.from_mapping(workload.recipe)
        fields = Recipe.numeric_fields()
        for side, axis in self._sides():
            if axis.param not in fields:
                raise ValueError(
                    f"axes.{side}.param: {axis.param!r} is not a numeric recipe field"
                    f"{nearest(axis.param, fields)}; allowed: {', '.join(sorted(fields))}"
                )
            if fields[axis.param] is int and not (axis.min.is_integer() and axis.max.is_integer()):
                raise ValueError(
                    f"axes.{side}: {axis.param} takes whole numbers; given"
                    f" {axis.min!r} to {axis.max!r}"
                )
            if axis.param == "seed" and not recipe.shuffle:
                raise ValueError(
                    f"axes.{side}: seed changes nothing while the data stay in file order;"
                    " set recipe.shuffle: true"
                )
            if getattr(Recipe(), axis.param) == DERIVED and axis.min <= 0:
                raise ValueError(
                    f"axes.{side}: {axis.param} must stay above 0; min is {axis.min:g}"
                    " (-1 in a recipe means 'not given')"
                )
            for value in self._values(side):
                recipe.with_values({axis.param: value})

    def _values(self, side: Side) -> list[float]:
        """Values that a recipe must allow: the ends, and on an integer axis all that are used."""
        axis = self.axis(side)
        if not axis.integer:
            return [axis.min, axis.max]
        which = 0 if side == "x" else 1
        sides = {self.cells(i)[which] << self.level(i) for i in range(len(self.stages))}
        return sorted({value for cells in sides for value in axis.values(cells).tolist()})

    def axis(self, side: Side) -> Axis:
        """The axis `x` or `y` in lattice form."""
        given = self.axes.x if side == "x" else self.axes.y
        integer = self.workload.kind == "nanochat" and (Recipe.numeric_fields()[given.param] is int)
        return Axis(given.param, given.scale, given.min, given.max, integer)

    @property
    def arithmetics(self) -> Arithmetics:
        """What will use the values of x and of y."""
        if isinstance(self.workload, MlpSpec):
            return self.workload.dtype, self.workload.dtype
        kind = self.workload.kind
        return arithmetic_of(kind, self.axis("x")), arithmetic_of(kind, self.axis("y"))

    def base(self, index: int) -> int:
        """Number of the grid or zoom whose frames stage number `index` works on."""
        return max(i for i, stage in enumerate(self.stages[: index + 1]) if stage.base is not None)

    def root(self, index: int) -> int:
        """Number of the grid whose frame the frames of stage number `index` were cut from."""
        return max(i for i, stage in enumerate(self.stages[: index + 1]) if stage.grid is not None)

    def refinement(self, base: int) -> int | None:
        """Number of the stage that refines the frames of the grid or zoom `base`."""
        after = base + 1
        refined = after < len(self.stages) and self.stages[after].refine is not None
        return after if refined else None

    def frame(self, index: int) -> Frame:
        """The frame of stage number `index`, on the axes as they are given.

        A grid has its own, a refinement that of the grid before. Lines and pairs have one with
        the lattice of the stage before and a number of its own, since their addresses are no nodes.

        Raises
        ------
        ValueError
            For a zoom and what follows it: labels choose their frames.
        """
        base = self.base(index)
        grid = self.stages[base].grid
        if grid is None:
            raise ValueError(f"stage {index} works on frames that are chosen from labels")
        nx, ny = grid.shape
        number = base if self.stages[index].on_lattice else index
        return Frame(number, self.axis("x"), self.axis("y"), nx - 1, ny - 1)

    def cells(self, index: int) -> tuple[int, int]:
        """Cells along x and y, at level 0, of the frames of stage number `index`."""
        base = self.stages[self.base(index)].base
        assert base is not None
        nx, ny = base.shape
        return nx - 1, ny - 1

    def frames(self, index: int) -> int:
        """How many frames stage number `index` works on, at most.

        A zoom cuts its frames from each of those that the grid or zoom before it has ended with.
        """
        base = self.base(index)
        zoom = self.stages[base].zoom
        return 1 if zoom is None else zoom.frames * self.chains(base - 1)

    def chains(self, index: int) -> int:
        """How many frames, at most, stage number `index` leaves for a zoom after it to cut from."""
        zoom = self.stages[base := self.base(index)].zoom
        return 1 if zoom is None else zoom.windows * self.chains(base - 1)

    def level(self, index: int) -> int:
        """The finest level at which stage number `index` asks for points."""
        refine = self.stages[index].refine
        return 0 if refine is None else refine.levels
