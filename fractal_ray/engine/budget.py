"""How much a sweep may spend: a limit that it stops at cleanly."""

import math
from dataclasses import dataclass

from fractal_ray.errors import SweepError


@dataclass(frozen=True)
class Budget:
    """Limits of a whole sweep, what earlier runs of it spent included; None for none.

    Parameters
    ----------
    points
        Runs that the dataset may hold.
    gpu_hours
        Of training, as the runs report it, times `gpu`. What is running when it is reached is
        finished and kept, so it may be passed by one tile for each slot.
    gpu
        GPUs that a slot takes.
    """

    points: int | None = None
    gpu_hours: float | None = None
    gpu: float = 0.0

    def check(self) -> None:
        """Refuse what cannot be meant.

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
        """How many more points may be begun; None for any number.

        Parameters
        ----------
        points
            In the dataset or running.
        seconds
            Spent in training so far, over all slots.
        """
        if self.gpu_hours is not None and seconds * self.gpu >= 3600 * self.gpu_hours:
            return 0
        return None if self.points is None else max(0, self.points - points)

    def text(self) -> str:
        """The limits for a reader."""
        limits = []
        if self.points is not None:
            limits.append(f"{self.points:,} points")
        if self.gpu_hours is not None:
            limits.append(f"{self.gpu_hours:g} GPU-hours")
        return " and ".join(limits)
