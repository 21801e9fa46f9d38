"""The plan language: what a sweep's YAML may say, checked before anything starts.

`spec_file.py` reads it, and reports every mistake at once.
"""

import re
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fractal_ray.plane.axes import Axis, Frame, Scale
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.precision import Arithmetics
from fractal_ray.spec.limits import check_lattice
from fractal_ray.spec.resources import ResourcesSpec
from fractal_ray.spec.stages import StageSpec
from fractal_ray.spec.tracking import TrackingSpec
from fractal_ray.spec.workloads import WorkloadSpec
from fractal_ray.workloads.section import Model, PlannedRuns, SweptAxis

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
        self.workload.check(self._planned_runs())
        for index in range(len(self.stages)):
            check_lattice(self, index)
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

    def _planned_runs(self) -> PlannedRuns:
        """Return what the workload is checked against."""
        tracked = self.tracking.wandb if self.tracking else None
        return PlannedRuns(
            self._swept("x"),
            self._swept("y"),
            gpu=self.resources.gpu,
            window=self.label.window,
            logged_points=tracked.sampled if tracked else 0,
        )

    def _swept(self, side: Side) -> SweptAxis:
        which = 0 if side == "x" else 1
        cells = {self.cells(i)[which] << self.level(i) for i in range(len(self.stages))}
        return SweptAxis(side, self.axis(side), frozenset(cells))

    def axis(self, side: Side) -> Axis:
        """The axis `x` or `y` in lattice form."""
        given = self.axes.x if side == "x" else self.axes.y
        integer = self.workload.is_integer(given.param)
        return Axis(given.param, given.scale, given.min, given.max, integer)

    @property
    def arithmetics(self) -> Arithmetics:
        """What will use the values of x and of y."""
        workload = self.workload
        return workload.arithmetic(self.axis("x")), workload.arithmetic(self.axis("y"))

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
