"""The known sets by name, for specs and tests."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from fractal_ray.errors import SweepError, nearest
from fractal_ray.workloads.maps.sets.base import KnownSet
from fractal_ray.workloads.maps.sets.fbm import fbm
from fractal_ray.workloads.maps.sets.liu import liu_additive, liu_multiplicative, liu_redrawn
from fractal_ray.workloads.maps.sets.newton import newton
from fractal_ray.workloads.maps.sets.noise import noise
from fractal_ray.workloads.maps.sets.quadratic import basilica, julia, mandelbrot, rabbit
from fractal_ray.workloads.maps.sets.smooth import disc, line
from fractal_ray.workloads.maps.sets.weierstrass import weierstrass
from nanochat.errors import quoted

SETS: Final[Mapping[str, Callable[..., KnownSet]]] = {
    make.__name__: make
    for make in (
        line,
        disc,
        weierstrass,
        basilica,
        rabbit,
        julia,
        mandelbrot,
        newton,
        liu_multiplicative,
        liu_additive,
        liu_redrawn,
        fbm,
        noise,
    )
}
"""Functions that make the sets, by name; their arguments are the parameters in a spec."""


def known_set(name: str, parameters: Mapping[str, Any] | None = None) -> KnownSet:
    """Make a known set.

    Parameters
    ----------
    name
        One of `SETS`.
    parameters
        Parameters of the set; one that is left out takes its default.

    Raises
    ------
    SweepError
        If the set or a parameter is unknown, missing, of the wrong type or out of its range.
    """
    if name not in SETS:
        raise SweepError(
            f"unknown set {quoted(name)}{nearest(name, SETS)}; allowed: {', '.join(sorted(SETS))}"
        )
    allowed = inspect.signature(SETS[name]).parameters
    arguments: dict[str, Any] = {}
    for key, value in (parameters or {}).items():
        if key not in allowed:
            raise SweepError(
                f"the set {name} has no parameter {quoted(key)}{nearest(key, allowed)};"
                f" allowed: {', '.join(allowed)}"
            )
        arguments[key] = _number(f"{name}.{key}", value, allowed[key].annotation)
    missing = [
        key
        for key, p in allowed.items()
        if p.default is inspect.Parameter.empty and key not in arguments
    ]
    if missing:
        raise SweepError(f"the set {name} needs {' and '.join(missing)}")
    try:
        return SETS[name](**arguments)
    except ValueError as error:
        raise SweepError(f"the set {name}: {error}") from error


def _number(where: str, value: Any, kind: type) -> int | float:
    if (type(value) is int and abs(value) < 2**53) or (
        kind is float and type(value) is float and abs(value) < float("inf")
    ):
        return kind(value)
    number = "a whole number" if kind is int else "a finite number"
    number += " below 2^53" if type(value) is int else ""
    raise SweepError(f"{where} takes {number}; given {quoted(value)}")
