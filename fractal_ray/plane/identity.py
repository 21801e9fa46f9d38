"""The identity of a point, equal in all frames, stages and sweeps.

The identity hashes the workload's fingerprint and the whole recipe with the point's own values in
it. Numbers enter as their exact float64 bits, so neighbours of a deep zoom never collide.
"""

import hashlib
from collections.abc import Mapping

from fractal_ray.plane.axes import Point

Setting = str | bool | int | float


def canonical(value: Setting) -> str:
    """Return one text per value: numbers by their float64 bits, so 1 and 1.0 have one text."""
    if isinstance(value, bool | str):
        return repr(value)
    return float(value).hex()


class PointIdentity:
    """Function that names points: ``identity(point) -> 32 hex digits``.

    Parameters
    ----------
    fingerprint
        Names everything but the recipe that changes a run's numbers.
    recipe
        Every setting of the fixed recipe; those of the two axes are overridden per point.
    x_param, y_param
        Recipe fields that the axes sweep.
    """

    def __init__(
        self, fingerprint: str, recipe: Mapping[str, Setting], x_param: str, y_param: str
    ) -> None:
        parts = [f"fractal-ray point 1\n{fingerprint}\n"]
        self._order: list[str] = []
        for name in sorted({*recipe, x_param, y_param}):
            parts[-1] += f"{name}="
            if name in (x_param, y_param):
                self._order.append("x" if name == x_param else "y")
                parts.append("\n")
            else:
                parts[-1] += f"{canonical(recipe[name])}\n"
        self._head, self._middle, self._tail = parts

    def __call__(self, point: Point) -> str:
        """Return the identity of a point, 128 bits of BLAKE2b."""
        first, second = (point.x, point.y) if self._order[0] == "x" else (point.y, point.x)
        text = f"{self._head}{first.hex()}{self._middle}{second.hex()}{self._tail}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
