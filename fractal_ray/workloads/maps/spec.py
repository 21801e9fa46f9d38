"""The section `workload` of a spec of kind `map`."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fractal_ray.plane.boundary import Boundary
from fractal_ray.plane.outcome import Criterion
from fractal_ray.workloads.base import Workload
from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.section import PlannedRuns, WorkloadSection
from nanochat.errors import quoted


class MapSpec(WorkloadSection):
    """The section of the workload `map`, which takes labels from a known set without training."""

    can_use_card: ClassVar[bool] = False
    records_losses: ClassVar[bool] = False

    kind: Literal["map"] = "map"
    set: str
    """One of `fractal_ray.workloads.maps.known_sets.SETS`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the set; one that is left out takes its default."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        known_set(self.set, self.parameters)
        return self

    @property
    def title(self) -> str:
        """Return a description of the set and its parameters."""
        parameters = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"the set {self.set}" + (f" with {parameters}" if parameters else "")

    @property
    def default_boundary(self) -> Boundary:
        """Return "trainable": without loss curves nothing is known about damage."""
        return "trainable"

    def trained_rule(self, criterion: Criterion) -> str:
        """Return that the set decides, and no setting of the label."""
        return f"a point of {self.title}; label.window and label.threshold have no effect"

    def make(
        self,
        planned: PlannedRuns,
        criterion: Criterion,
        *,
        threads: int = 1,
        points_per_trial: int | Literal["auto"] = "auto",
    ) -> Workload:
        """Make the workload; a set needs only its name and parameters."""
        from fractal_ray.workloads.maps.workload import MapWorkload

        return MapWorkload(self.set, self.parameters)

    def check(self, planned: PlannedRuns) -> None:
        """Refuse axes other than x and y, a GPU, and logged loss curves.

        Raises
        ------
        ValueError
            The message names the key, its value and the allowed values.
        """
        for swept in planned.axes:
            side, param = swept.side, swept.axis.param
            if param != side:
                raise ValueError(
                    f"axes.{side}.param: a map has its own plane, so the param of axis {side} is"
                    f" {side}; given {quoted(param)}"
                )
        if planned.gpu:
            raise ValueError(
                f"a map is evaluated on the CPU; resources.gpu must be 0, not {planned.gpu}"
            )
        if planned.logged_points:
            raise ValueError(
                "tracking.wandb.points: points of a map have no loss curve to log; leave it out"
            )
