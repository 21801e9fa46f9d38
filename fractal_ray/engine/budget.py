"""The budget of a sweep: a limit at which it stops cleanly."""

import math
from dataclasses import dataclass

from fractal_ray.errors import SweepError


@dataclass(frozen=True)
class Budget:
    """Limits of a whole sweep, its earlier runs included; None for no limit.

    Parameters
    ----------
    points
        Number of runs that the dataset may hold.
    gpu_hours
        Hours of training, as the runs report them, times `gpu`. Tiles that run when the limit is
        reached are finished and kept, so a sweep may exceed it by one tile for each slot.
    gpu
        Number of GPUs that a slot takes.
    other_points, other_seconds
        Runs in other datasets that count too, and their time.
    """

    points: int | None = None
    gpu_hours: float | None = None
    gpu: float = 0.0
    other_points: int = 0
    other_seconds: float = 0.0

    def check(self) -> None:
        """Refuse limits that make no sense.

        Raises
        ------
        SweepError
            For limits that are not above 0, or GPU-hours where slots take no GPU.
        """
        if self.points is not None and self.points < 1:
            raise SweepError(f"--budget-points must be at least 1; given {self.points}")
        if self.gpu_hours is None:
            return
        if not 0 < self.gpu_hours < math.inf:
            raise SweepError(f"--budget-gpu-hours must be above 0; given {self.gpu_hours:g}")
        if not self.gpu:
            raise SweepError(
                "--budget-gpu-hours: this sweep's slots take no GPU (resources.gpu is 0); limit it"
                " with --budget-points"
            )

    def room(self, points: int, seconds: float) -> int | None:
        """Return how many more points may be started; None for any number.

        Parameters
        ----------
        points
            Number of points in the dataset or running.
        seconds
            Training time so far, over all slots.
        """
        hours = (seconds + self.other_seconds) * self.gpu / 3600
        if self.gpu_hours is not None and hours >= self.gpu_hours:
            return 0
        return None if self.points is None else max(0, self.points - points - self.other_points)

    def text(self) -> str:
        """Return the limits as text."""
        limits = []
        if self.points is not None:
            limits.append(f"{self.points:,} points")
        if self.gpu_hours is not None:
            limits.append(f"{self.gpu_hours:g} GPU-hours")
        return " and ".join(limits)
