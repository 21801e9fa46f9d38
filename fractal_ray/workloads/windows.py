"""The label window of a sweep against the steps of its runs.

A window of more than half of the steps averages losses from before the model has changed much, and
a run of one step has no loss from after an update. Both make labels that show the number of steps
rather than the rates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class WindowFit:
    """The label window and the steps of the runs of a grid.

    Parameters
    ----------
    window
        `label.window`.
    steps
        Planned steps of each run; 0 for one that cannot run.
    changed_by
        Parameters of the axes that change the steps; empty where all runs have equally many.
    setting
        Setting that decides the number of steps, for messages.
    """

    window: int
    steps: NDArray[np.int64]
    changed_by: tuple[str, ...]
    setting: str

    @property
    def too_long(self) -> NDArray[np.bool_]:
        """Return True for each run whose window is more than half of its steps."""
        return too_long(self.window, self.steps)

    def refusal(self) -> str | None:
        """Return the line with which a new dataset is refused; None if it is not.

        Only a number of steps that no axis changes is refused.
        """
        if self.changed_by or not self.too_long.any():
            return None
        steps = int(self.steps.max())
        if steps == 1:
            return (
                "a run has 1 step, and its one loss is computed before the update; set"
                f" {self.setting}, for 2 steps or more"
            )
        return (
            f"label.window is {self.window}, more than half of the {steps:,} steps of a run; set"
            f" label.window: {steps // 2} or less, or {self.setting}, for"
            f" {2 * self.window:,} steps or more"
        )

    def note(self) -> str | None:
        """Return the line about runs that are too short where an axis changes the steps."""
        count = int(self.too_long.sum())
        if not self.changed_by or not count:
            return None
        points = f"{count:,} of the {self.steps.size:,} points of the grid"
        changes = "change" if len(self.changed_by) > 1 else "changes"
        line = (
            f"label.window {self.window} is more than half of the steps of {points}"
            f" ({' and '.join(self.changed_by)} {changes} the steps)"
        )
        single = int((self.steps == 1).sum())
        if not single:
            return line
        have = "has" if single == 1 else "have"
        return f"{line}; {single:,} {have} one step and no loss after an update (too_short)"


def too_long(window: int, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return True for each run whose label window is more than half of its steps, 1 or more."""
    return (steps > 0) & (2 * window > steps)
