"""The planned steps of the runs of a spec, and the label window against them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal_ray.spec.sweep_spec import SweepSpec


def planned_steps(spec: SweepSpec, x: ArrayLike, y: ArrayLike) -> NDArray[np.int64] | None:
    """Return the planned steps of runs at values of both axes; stored rows have the steps made.

    Returns
    -------
    int64 array or None
        In the common shape of the values; None where the data decide (`num_tokens`).
    """
    return spec.workload.planned_steps({spec.axes.x.param: x, spec.axes.y.param: y})


def window_note(spec: SweepSpec) -> str | None:
    """Return a line about points whose label window is more than half of their steps, if any.

    Where the data decide the number of steps, the line says that `run` compares them.
    """
    if not spec.workload.records_losses:
        return None
    fit = spec.workload.window_fit(spec.planned_runs)
    return fit.note() if fit is not None else spec.workload.window_note(spec.label.window)
