"""The base class of the section of every kind of workload in a spec."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis
from fractal_ray.plane.boundary import Boundary
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.precision import Arithmetic
from fractal_ray.workloads.base import Repeat, RepeatRequest, Seeding, Workload
from fractal_ray.workloads.model import Model

if TYPE_CHECKING:
    from fractal_ray.workloads.windows import WindowFit

SCALING = "(width / 768)^-1/2"
"""Factor from nominal to effective rates of AdamW, in words."""


@dataclass(frozen=True)
class SweptAxis:
    """An axis with the cells of all lattices that a sweep lays along it.

    Parameters
    ----------
    side
        Key of the axis below `axes`.
    axis
        The axis.
    cells
        Number of cells along the axis for each stage, at its finest level.
    grid_cells
        Number of cells of the first grid along the axis.
    """

    side: Literal["x", "y"]
    axis: Axis
    cells: frozenset[int]
    grid_cells: int = 1

    def values(self) -> list[float]:
        """Return the values to check: both ends, or on an integer axis all values in use."""
        axis = self.axis
        if not axis.integer:
            return [axis.min, axis.max]
        return sorted({value for cells in self.cells for value in axis.values(cells).tolist()})


@dataclass(frozen=True)
class PlannedRuns:
    """The parts of a spec that the section of a workload checks.

    Parameters
    ----------
    x, y
        The axes.
    gpu
        `resources.gpu`; None if it is not set.
    window
        `label.window`, in steps.
    logged_points
        Number of points whose loss curves are logged as runs of their own.
    """

    x: SweptAxis
    y: SweptAxis
    gpu: float | Literal["auto"] | None
    window: int
    logged_points: int

    @property
    def axes(self) -> tuple[SweptAxis, SweptAxis]:
        """Return both axes."""
        return self.x, self.y

    def grid_values(self) -> dict[str, NDArray[np.float64]]:
        """Return the values of both parameters at the nodes of the first grid, (1, nx), (ny, 1).

        Nodes of equal values are one run.
        """
        xs, ys = (np.unique(s.axis.values(s.grid_cells)) for s in self.axes)
        return {self.x.axis.param: xs[None, :], self.y.axis.param: ys[:, None]}

    def window_fit(self, steps: NDArray[np.int64], setting: str) -> "WindowFit":
        """Compare the label window with the steps of the runs of the first grid.

        Parameters
        ----------
        steps
            Steps of the runs at `grid_values`, (ny, nx).
        setting
            Key of the setting that decides the number of steps.
        """
        from fractal_ray.workloads.windows import WindowFit

        varies = ((steps != steps[:, :1]).any(), (steps != steps[:1]).any())
        changes = zip(self.axes, varies, strict=True)
        changed_by = tuple(swept.axis.param for swept, changed in changes if changed)
        return WindowFit(self.window, steps, changed_by, setting)


Rates = Callable[[int], dict[str, float]]
"""Function from a step, counted from 1, to its learning rates by name."""


class WorkloadSection(Model):
    """The section `workload` of a spec. Each kind of workload has a subclass of its own.

    The defaults describe a workload that computes in float64, gives equal bits when repeated, reads
    no files and keeps no model.
    """

    can_use_card: ClassVar[bool] = True
    """True if a GPU can compute the runs."""
    takes_card: ClassVar[bool] = False
    """True if slots take a card each, where there are any and the spec names no number."""
    records_losses: ClassVar[bool] = True
    """True if a run trains and records losses."""
    has_typed_axes: ClassVar[bool] = False
    """True if the section does not know which parameters take whole numbers."""

    @classmethod
    def kind_name(cls) -> str:
        """Return the value of `kind` in YAML."""
        return str(cls.model_fields["kind"].default)

    @classmethod
    def place_of(cls, name: str) -> str | None:
        """Return the dotted key below this section that an unknown key of it names, if any."""
        return None

    @property
    def title(self) -> str:
        """Return a description of a run, for headings."""
        raise NotImplementedError

    @property
    def default_boundary(self) -> Boundary:
        """Return `label.boundary` of a new sweep whose spec names none."""
        return "broken"

    @property
    def first_loss_is_baseline(self) -> bool:
        """Return True if all steps of a run have one batch, so that the first loss is untouched."""
        return False

    @property
    def seeding(self) -> Seeding | None:
        """Return the seed of the runs; None if no seed can change a run."""
        return None

    def with_seed(self, seed: int) -> Self:
        """Return this section with runs that depend on a seed; itself if they do already."""
        return self

    def changes_data(self, param: str) -> bool:
        """Return True if a swept parameter changes the data that a run sees."""
        return False

    def effective_rates(self, values: Mapping[str, float], width: int | None) -> dict[str, float]:
        """Return the rates applied in a model of a width, by parameter or group; {} if unknown."""
        return {}

    def baseline_remedy(self, location: str) -> str:
        """Return a clause on how to get losses of the untouched model, for a sweep without them."""
        return ""

    def finetune_command(self, values: Mapping[str, str]) -> str | None:
        """Return the command of a single run with swept values as texts; None without one."""
        return None

    def trained_rule(self, criterion: Criterion) -> str:
        """Return the rule of the outcome `trained` in words."""
        return (
            f"mean of the last {criterion.window} losses below {criterion.threshold:g} x the first"
        )

    @property
    def loading_note(self) -> str | None:
        """Return a line to print before `Workload.prepare`; None if that takes no time."""
        return None

    @property
    def start_note(self) -> str:
        """Return a line to print if `StartChecked.check_start` takes long."""
        return "checking the state that all runs start from"

    @property
    def deterministic(self) -> bool:
        """Return True if a repeated run gives equal bits."""
        return True

    def make(
        self,
        planned: PlannedRuns,
        criterion: Criterion,
        *,
        threads: int = 1,
        points_per_trial: int | Literal["auto"] = "auto",
    ) -> Workload:
        """Make the workload.

        Parameters
        ----------
        planned, criterion
            The axes with their lattices, and the rule that labels a loss curve.
        threads
            CPU threads of one worker.
        points_per_trial
            Points that advance together on one device.
        """
        raise NotImplementedError

    def check(self, planned: PlannedRuns) -> None:
        """Refuse axes, resources or tracking that this workload cannot serve.

        Raises
        ------
        ValueError
            The message names the key, its value and the allowed values.
        """
        raise NotImplementedError

    def idle_values(self, planned: PlannedRuns) -> list[str]:
        """Return a line for each axis that changes no run, and each value that an axis replaces.

        They are refused where a new dataset is begun (`fractal_ray.spec.idle`). Here nothing is
        refused, so that older datasets with such axes can be opened.
        """
        return []

    def idle_seeds(self) -> list[str]:
        """Return a line for each seed that the section gives and no run uses."""
        return []

    def check_points_per_trial(self, points: int) -> None:
        """Refuse a number of points that cannot advance together.

        Raises
        ------
        ValueError
            The message names the number and the reason.
        """
        raise ValueError(
            f"resources.points_per_trial is {points}, and a workload {self.kind_name()} computes"
            " all points of a tile at once; leave it out (points_per_tile sets their number)"
        )

    @property
    def lease_note(self) -> str:
        """Return the settings that keep a long tile from counting as hung."""
        return "resources.lease_seconds sets how long it may be"

    @property
    def context(self) -> Mapping[str, Any]:
        """Return facts outside of the text, for a new validation: the `folder` of its paths."""
        return {}

    def is_integer(self, param: str) -> bool:
        """Return True if a swept parameter takes whole numbers only."""
        return False

    def arithmetic(self, axis: Axis) -> Arithmetic:
        """Return the arithmetic that uses the values of an axis."""
        return "float64"

    def tokens_per_run(self, values: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
        """Return the supervised tokens of a run.

        Parameters
        ----------
        values
            Swept parameters with the values at which runs are counted: numbers, or arrays that
            broadcast.

        Returns
        -------
        int64 array
            In the shape of the values that change the tokens.
        """
        return np.zeros((), np.int64)

    def notes_on_runs(self, planned: PlannedRuns) -> list[str]:
        """Return lines on the length of a run, and on the validation after it."""
        return []

    @property
    def step_setting(self) -> str:
        """Return the key of the setting that decides the number of steps, for messages."""
        return "the number of steps"

    def planned_steps(self, values: Mapping[str, ArrayLike]) -> NDArray[np.int64] | None:
        """Return the steps of runs, unless they diverge.

        Parameters
        ----------
        values
            Swept parameters with the values of the runs: numbers, or arrays that broadcast.

        Returns
        -------
        int64 array or None
            In the common shape of the values; None if the data decide, or if nothing is trained.
        """
        return None

    def window_fit(self, planned: PlannedRuns) -> "WindowFit | None":
        """Compare the label window with the steps of the first grid; None if they are not known."""
        steps = self.planned_steps(planned.grid_values())
        return None if steps is None else planned.window_fit(steps, self.step_setting)

    def window_note(self, window: int) -> str:
        """Return a line about a label window where the number of steps is not known yet."""
        return (
            f"label.window {window} is compared with the number of steps when run has read the"
            f" data ({self.step_setting} decides it)"
        )

    def plan_notes(self) -> list[str]:
        """Return lines for `plan` about runs of this kind."""
        return []

    def token_bound(self, params: Container[str]) -> str | None:
        """Return the reason for which `tokens_per_run` is an upper bound; None for a budget.

        A bound counts every token of a row, with a label or without. `params` are those swept.
        """
        return None

    def in_other_dtype(self) -> Self | None:
        """Return this section with another dtype; None if the workload has only one."""
        return None

    def in_deterministic_mode(self) -> Self | None:
        """Return this section with deterministic runs; None if they already are."""
        return None

    def files(self) -> Iterable[tuple[str, str]]:
        """Return the key in the spec and the path of each file or folder that is read."""
        return ()

    def needed_files(self) -> Iterable[tuple[str, str]]:
        """Return the key in the spec and the path of each single file that a folder must hold."""
        return ()

    def package_data(self) -> Iterable[str]:
        """Return the data files of the packages that runs read, by their paths in a job."""
        return ()

    def check_inputs(self) -> None:
        """Refuse inputs that can be on no machine; nothing is read or downloaded.

        Raises
        ------
        ValueError
            The message names the input and the allowed forms.
        """

    def rates(self, values: Mapping[str, float], steps: int) -> Rates:
        """Return the learning rates of a run by step.

        Parameters
        ----------
        values
            Swept parameters with their values.
        steps
            Planned number of steps of the run; 0 if it is not known, which gives no rates.
        """
        return lambda step: {}

    def check_keeps_model(self) -> None:
        """Refuse a workload whose runs leave no model.

        Raises
        ------
        SweepError
            The message names the kind.
        """
        raise SweepError(
            f"a {self.kind_name()} keeps no model; only points of nanochat and of functions are run"
            " again"
        )

    def run_again(self, request: RepeatRequest) -> Repeat:
        """Run one point again and keep its model.

        Raises
        ------
        SweepError
            If no model is kept, or if model, data or arithmetic have changed since the dataset was
            written.
        """
        raise NotImplementedError
