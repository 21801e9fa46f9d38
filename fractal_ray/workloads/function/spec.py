"""The section `workload` of a spec of kind `function`: a Python function of the user's own.

Nothing here imports the function, and only `files` reads it, for jobs: `plan`, `status` and all
readers work without it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from fractal_ray.plane.outcome import Criterion
from fractal_ray.workloads.base import Repeat, RepeatRequest, Seeding, Workload
from fractal_ray.workloads.function.settings import (
    LARGEST_SEED,
    NOTEBOOK,
    RESERVED,
    FunctionSettings,
)
from fractal_ray.workloads.section import PlannedRuns, WorkloadSection
from nanochat.errors import quoted


class FunctionSpec(FunctionSettings, WorkloadSection):
    """The section of the workload `function`: a function of the user's own runs every point."""

    has_typed_axes: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """Return the name of the function and of its module."""
        place, _, name = self.call.rpartition(":")
        where = "a notebook" if place == NOTEBOOK else Path(place).name
        return f"the function {name} of {where}"

    @property
    def seeding(self) -> Seeding:
        """Return the seed of the generators; it may change nothing in a function."""
        return Seeding(self.seed, "random numbers of their own")

    def with_seed(self, seed: int) -> "FunctionSpec":
        """Return the function with another seed."""
        return self if seed == self.seed else self.model_copy(update={"seed": seed})

    @property
    def loading_note(self) -> str:
        """Return the name of the function, whose imports may take long."""
        return f"importing {self.call}"

    @property
    def step_setting(self) -> str:
        """Return the name of the function, which decides the number of losses."""
        return self.call

    @property
    def lease_note(self) -> str:
        """Return the ways to keep a long run from counting as hung."""
        return (
            f"{self.call} may run that long without a sign of life: raise"
            " resources.lease_seconds, or yield the losses, which renews the time"
        )

    def make(
        self,
        planned: PlannedRuns,
        criterion: Criterion,
        *,
        threads: int = 1,
        points_per_trial: int | Literal["auto"] = "auto",
    ) -> Workload:
        """Make the workload; nothing is imported before its `prepare`."""
        from fractal_ray.workloads.function.workload import FunctionWorkload

        return FunctionWorkload(self, planned.x.axis, planned.y.axis, criterion, threads)

    def check(self, planned: PlannedRuns) -> None:
        """Refuse axes with names that the function cannot get, and a negative seed.

        Raises
        ------
        ValueError
            The message names the key, its value and the allowed values.
        """
        for swept in planned.axes:
            side, axis = swept.side, swept.axis
            if axis.param in RESERVED:
                raise ValueError(
                    f"axes.{side}.param: {quoted(axis.param)} is a name that fractal-ray uses;"
                    " take another"
                )
            if axis.param == "seed" and not 0 <= axis.min <= axis.max <= LARGEST_SEED:
                raise ValueError(
                    f"axes.{side}: a seed is a whole number from 0 to {LARGEST_SEED}; the range is"
                    f" {axis.min:g} to {axis.max:g}"
                )

    def idle_values(self, planned: PlannedRuns) -> list[str]:
        """Return a line for each setting that an axis replaces."""
        return [
            f"workload.settings.{swept.axis.param}: axes.{swept.side} sweeps it; leave it out"
            for swept in planned.axes
            if swept.axis.param in self.settings
        ]

    def check_points_per_trial(self, points: int) -> None:
        """Refuse a number of points: the form `batch` of a function takes the points of a tile.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            f"resources.points_per_trial is {points}, and a function runs one point after the"
            f" other, or all of a tile by {self.call}.batch; leave it out (points_per_tile sets"
            " their number)"
        )

    def is_integer(self, param: str) -> bool:
        """Return True for the seed; other parameters are whole numbers by `type` of their axis."""
        return param == "seed"

    def window_note(self, window: int) -> str:
        """Return a line about the label window: the function decides the number of losses."""
        return (
            f"label.window {window} should be at most half of the losses of a run; {self.call}"
            " decides their number"
        )

    def plan_notes(self) -> list[str]:
        """Return lines for `plan`: chance between neighbours, and the time that a run may take."""
        lease = (
            f"resources.lease_seconds is the time that {self.call} may take without a yield; auto"
            " is 20 times the slowest point so far, and at least ten minutes"
        )
        chance = (
            "workload.seed_per_point seeds each point by itself: neighbours differ by chance too,"
            " not only by their settings"
        )
        return [lease, chance] if self.seed_per_point else [lease]

    def files(self) -> Iterable[tuple[str, str]]:
        """Return the files of the function, of its local modules, and the declared data."""
        from fractal_ray.workloads.function.source import module_files

        if self.file is not None and not Path(self.inside(self.file)).is_file():
            yield "workload.call", self.inside(self.file)
        elif not self.call.startswith(f"{NOTEBOOK}:"):
            here = Path.cwd()
            for path in map(Path, module_files(self.call, self.folder)):
                below = path.is_relative_to(here)
                yield "workload.call", str(path.relative_to(here) if below else path)
        for index, path in enumerate(self.inputs):
            yield f"workload.files.{index}", self.inside(path)

    def check_keeps_model(self) -> None:
        """Accept: a function that declares `out_dir` may keep files there."""

    def run_again(self, request: RepeatRequest) -> Repeat:
        """Run one point again, and keep the files that the function writes to `out_dir`.

        Raises
        ------
        SweepError
            If the function or its files have changed since the dataset was written.
        """
        from fractal_ray.workloads.function.repeat import repeat

        return repeat(self, request)
