"""The stages of a spec on its axes: the frames of each stage, their size and their number."""

from dataclasses import dataclass

from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.spec.axes import Side
from fractal_ray.spec.stages import GridStage, RefineStage, StageSpec, ZoomStage


@dataclass(frozen=True)
class StagePlan:
    """The stages of a sweep, on axes in lattice form.

    A stage is named by its index. Its base is the grid or zoom that makes the frames it works on.

    Attributes
    ----------
    stages
        Stages in the order in which they run; the first is a grid.
    axes
        The axes x and y.
    """

    stages: tuple[StageSpec, ...]
    axes: tuple[Axis, Axis]

    def axis(self, side: Side) -> Axis:
        """Return the axis `x` or `y`."""
        return self.axes[0] if side == "x" else self.axes[1]

    def base(self, index: int) -> int:
        """Return the index of the grid or zoom whose frames a stage works on."""
        return max(i for i, stage in enumerate(self.stages[: index + 1]) if stage.base is not None)

    def root(self, index: int) -> int:
        """Return the index of the grid from whose frame the frames of a stage were cut."""
        stages = self.stages[: index + 1]
        return max(i for i, stage in enumerate(stages) if isinstance(stage.part, GridStage))

    def refinement(self, base: int) -> int | None:
        """Return the index of the stage that refines the frames of the grid or zoom `base`."""
        after = base + 1
        refined = after < len(self.stages) and isinstance(self.stages[after].part, RefineStage)
        return after if refined else None

    def frame(self, index: int) -> Frame:
        """Return the frame of a stage on the axes as the spec gives them.

        A grid has its own frame, and a refinement the frame of the grid before it. Lines and pairs
        have the lattice of the stage before them under a frame number of their own, because their
        addresses are not nodes.

        Raises
        ------
        ValueError
            For a zoom and the stages that follow it, because labels choose their frames.
        """
        base = self.base(index)
        grid = self.stages[base].part
        if not isinstance(grid, GridStage):
            raise ValueError(f"stage {index} works on frames that are chosen from labels")
        nx, ny = grid.shape
        number = base if self.stages[index].on_lattice else index
        return Frame(number, *self.axes, nx - 1, ny - 1)

    def cells(self, index: int) -> tuple[int, int]:
        """Return the cells along x and y, at level 0, of the frames of a stage."""
        nx, ny = self._base_stage(index).shape
        return nx - 1, ny - 1

    def frames(self, index: int) -> int:
        """Return the largest number of frames that a stage works on.

        A zoom cuts its frames from each frame that the grid or zoom before it leaves (`chains`).
        """
        base = self._base_stage(index)
        return 1 if isinstance(base, GridStage) else base.frames * self.chains(self.base(index) - 1)

    def chains(self, index: int) -> int:
        """Return the largest number of frames that a stage leaves for a zoom to cut from."""
        base = self._base_stage(index)
        return (
            1 if isinstance(base, GridStage) else base.windows * self.chains(self.base(index) - 1)
        )

    def level(self, index: int) -> int:
        """Return the finest level at which a stage requests points."""
        stage = self.stages[index].part
        return stage.levels if isinstance(stage, RefineStage) else 0

    def _base_stage(self, index: int) -> GridStage | ZoomStage:
        return next(
            stage.base for stage in reversed(self.stages[: index + 1]) if stage.base is not None
        )
