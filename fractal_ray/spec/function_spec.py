"""The spec of a sweep of a Python function, made from the function itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.workloads.function.call import declared_arguments
from fractal_ray.workloads.function.notebook import place_of
from fractal_ray.workloads.function.settings import NOTEBOOK, FunctionSettings, HeldFunction
from nanochat.errors import quoted

_OWN_KEYS = frozenset(FunctionSettings.model_fields) - {"kind", "call", "inputs"} | {"files"}


def function_spec(
    function: Callable[..., Any],
    axes: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    name: str | None,
    storage: str,
    keys: Mapping[str, Any],
) -> SweepSpec:
    """Return the spec of a sweep of a function.

    Parameters
    ----------
    function
        A function of a module, or of a notebook.
    axes, stages, storage
        As in YAML; an axis may be an `Axis`.
    name
        Name of the sweep; None for that of the function.
    keys
        Keys of the section `workload` (`settings`, `metrics`, ...), and of the whole spec
        (`label`, `resources`, ...).

    Raises
    ------
    SweepError
        For a wrong key, and for what is no function.
    """
    title = getattr(function, "__name__", type(function).__name__)
    declared_arguments(function, title)
    place = place_of(function)
    if place is None:
        plain = title if title.isidentifier() else "function"
        context: dict[str, Any] = {"folder": str(Path.cwd()), "function": HeldFunction(function)}
        call = f"{NOTEBOOK}:{plain}"
    else:
        call, context = place[0], {"folder": place[1]}
    own = {key: value for key, value in keys.items() if key in _OWN_KEYS}
    rest = {key: value for key, value in keys.items() if key not in _OWN_KEYS}
    raw = {
        "name": name or title.strip("<>"),
        "workload": {"kind": "function", "call": call, **own},
        "axes": {side: _axis(side, axis) for side, axis in axes.items()},
        "stages": list(stages),
        "storage": storage,
        **rest,
    }
    return parse_spec(raw, origin=f"the sweep of {title}", context=context)


def _axis(side: str, axis: Any) -> Any:
    if isinstance(axis, Axis):
        facts = {"param": axis.param, "scale": axis.scale, "min": axis.min, "max": axis.max}
        return {**facts, "type": "int"} if axis.integer else facts
    if not isinstance(axis, Mapping):
        raise SweepError(
            f"axes.{side} takes a mapping of param, scale, min, max, or a fractal_ray.Axis; given"
            f" {quoted(axis)}"
        )
    return dict(axis)
