"""fractal-ray: how far can a fine-tune be pushed before it breaks?

``fractal_ray.load("results/quickstart")`` opens a sweep in Python or a notebook; ``fractal-ray
--help`` does the same from a shell. `__all__` lists the public names. Each is imported when it is
first used, so that ``import fractal_ray`` takes a few milliseconds and loads no other package.

Examples
--------
>>> import fractal_ray
>>> axis = fractal_ray.Axis("matrix_lr", "log", 1e-4, 1.0)
>>> axis.value(2, 4)
0.01
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fractal_ray.dataset.version import VERSION as __version__

if TYPE_CHECKING:
    from fractal_ray.errors import SweepError, SweepStoppedError
    from fractal_ray.plane.axes import Axis, Frame, Point
    from fractal_ray.plane.outcome import RunRecord
    from fractal_ray.planners.base import Planner
    from fractal_ray.sweep import Sweep, load
    from fractal_ray.workloads.base import Prepared, Runner, Workload
    from fractal_ray.workloads.function.recording import Diverged, record

__all__ = [
    "Axis",
    "Diverged",
    "Frame",
    "Planner",
    "Point",
    "Prepared",
    "RunRecord",
    "Runner",
    "Sweep",
    "SweepError",
    "SweepStoppedError",
    "Workload",
    "__version__",
    "load",
    "record",
]

_MODULES: Final = {
    "Axis": "fractal_ray.plane.axes",
    "Diverged": "fractal_ray.workloads.function.recording",
    "Frame": "fractal_ray.plane.axes",
    "Planner": "fractal_ray.planners.base",
    "Point": "fractal_ray.plane.axes",
    "Prepared": "fractal_ray.workloads.base",
    "RunRecord": "fractal_ray.plane.outcome",
    "Runner": "fractal_ray.workloads.base",
    "Sweep": "fractal_ray.sweep",
    "SweepError": "fractal_ray.errors",
    "SweepStoppedError": "fractal_ray.errors",
    "Workload": "fractal_ray.workloads.base",
    "load": "fractal_ray.sweep",
    "record": "fractal_ray.workloads.function.recording",
}
"""Module that defines each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    """List the names that completion offers, those not imported yet included."""
    return sorted({*globals(), *__all__})
