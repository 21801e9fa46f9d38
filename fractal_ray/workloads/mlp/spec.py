"""The section `workload` of a spec of kind `mlp`."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal_ray.errors import nearest
from fractal_ray.plane.axes import Axis
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.precision import Arithmetic
from fractal_ray.workloads.base import Seeding, Workload
from fractal_ray.workloads.mlp.settings import MlpSettings
from fractal_ray.workloads.section import PlannedRuns, WorkloadSection
from nanochat.errors import quoted

MLP_AXES: Final = ("eta0", "eta1", "eta", "w0_offset")
"""Parameters that an axis can sweep."""


class MlpSpec(MlpSettings, WorkloadSection):
    """The section of the workload `mlp`: a small network of arXiv 2402.06184 at every point."""

    @property
    def title(self) -> str:
        """Return a description of the network, its data and its steps."""
        data = f"{self.examples} example{'s' if self.examples > 1 else ''}"
        data += f" in batches of {self.batch}" if self.batch else ""
        return f"{self.activation} network of width {self.width} on {data}, {self.steps} steps"

    @property
    def first_loss_is_baseline(self) -> bool:
        """Return True for full batches."""
        return self.batch is None

    @property
    def seeding(self) -> Seeding | None:
        """Return the seed of weights and examples; None where a file has them."""
        if isinstance(self.draw, str):
            return None
        return Seeding(self.draw, "weights and examples of their own")

    def with_seed(self, seed: int) -> "MlpSpec":
        """Return the network with weights and examples of a seed."""
        return self if seed == self.draw else self.model_copy(update={"draw": seed})

    def make(
        self,
        planned: PlannedRuns,
        criterion: Criterion,
        *,
        threads: int = 1,
        points_per_trial: int | Literal["auto"] = "auto",
    ) -> Workload:
        """Make the workload; points of a tile always train together."""
        from fractal_ray.workloads.mlp.workload import MlpWorkload

        return MlpWorkload(self, planned.x.axis.param, planned.y.axis.param, criterion, threads)

    def check(self, planned: PlannedRuns) -> None:
        """Refuse axes below 0, and a label window that is longer than the stored losses.

        Raises
        ------
        ValueError
            The message names the key, its value and the allowed values; also as `check_axes`.
        """
        self.check_axes(planned.x.axis.param, planned.y.axis.param)
        for swept in planned.axes:
            axis = swept.axis
            if axis.param != "w0_offset" and axis.min < 0:
                raise ValueError(
                    f"axes.{swept.side}: {axis.param} must not be below 0; min is {axis.min:g}"
                )
        stored = self.kept_losses
        if isinstance(stored, int) and planned.window > stored:
            raise ValueError(
                f"label.window is {planned.window}, and a row keeps the last {stored} losses"
                " (workload.kept_losses)"
            )

    def check_axes(self, x: str, y: str) -> None:
        """Refuse axes that leave a rate open, or set it twice.

        Raises
        ------
        ValueError
            The message names the axis or the setting.
        """
        for side, param in (("x", x), ("y", y)):
            if param not in MLP_AXES:
                raise ValueError(
                    f"axes.{side}.param: an mlp has no {quoted(param)}{nearest(param, MLP_AXES)};"
                    f" allowed: {', '.join(MLP_AXES)}"
                )
        for rate in ("eta0", "eta1"):
            swept = [param for param in (x, y) if param in (rate, "eta")]
            if len(swept) == 2:
                raise ValueError(f"axes.x and axes.y both set {rate}; eta is eta0 and eta1 at once")
            if not swept and getattr(self, rate) is None:
                raise ValueError(f"workload.{rate} is neither swept nor given")
            if swept and getattr(self, rate) is not None:
                raise ValueError(f"workload.{rate} is swept by {swept[0]}; leave it out")
        if "w0_offset" in (x, y) and self.w0_offset is not None:
            raise ValueError("workload.w0_offset is swept; leave it out")

    def idle_values(self, planned: PlannedRuns) -> list[str]:
        """Return a line for each axis of a rate where the network makes one step."""
        return [
            f"axes.{swept.side}: {swept.axis.param} changes no run: the one loss of a run with"
            " workload.steps 1 is computed before its update; set workload.steps: 2 or more"
            for swept in planned.axes
            if self.steps == 1 and swept.axis.param != "w0_offset"
        ]

    @property
    def step_setting(self) -> str:
        """Return the key of the number of steps."""
        return "workload.steps"

    def planned_steps(self, values: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
        """Return the steps of runs, which no axis changes."""
        shape = np.broadcast_shapes(*(np.shape(value) for value in values.values()))
        return np.full(shape, self.steps, np.int64)

    def arithmetic(self, axis: Axis) -> Arithmetic:
        """Return the dtype of the network, which uses every parameter in this dtype."""
        return self.dtype

    def in_other_dtype(self) -> "MlpSpec":
        """Return the network in float32, or in float64 if it is in float32."""
        other = "float32" if self.dtype == "float64" else "float64"
        return self.model_copy(update={"dtype": other})

    def check_inputs(self) -> None:
        """Refuse a draw that is neither a seed, nor `paper`, nor an .npz file."""
        if isinstance(self.draw, str) and self.draw != "paper" and not self.draw.endswith(".npz"):
            raise ValueError(
                f"workload.draw: {quoted(self.draw)} is no"
                f" draw{nearest(self.draw, ('paper',))}; allowed:"
                " a seed (0 or more), paper, or an .npz file"
            )

    def package_data(self) -> Iterable[str]:
        """Return the weights and examples of the paper, where they are the draw."""
        return ["fractal_ray/workloads/mlp/paper_draw.npz"] if self.draw == "paper" else []

    def files(self) -> Iterable[tuple[str, str]]:
        """Return the key and the .npz file of weights and examples, if the spec names one."""
        if str(self.draw).endswith(".npz"):
            yield "workload.draw", str(self.draw)
