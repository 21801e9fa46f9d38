"""The section `axes` of a spec: the plane that a sweep covers."""

import math
from typing import Final, Literal, Self

from pydantic import model_validator

from fractal_ray.plane.axes import Scale
from fractal_ray.workloads.section import Model
from nanochat.errors import quoted

Side = Literal["x", "y"]
FIXED_COLUMNS: Final = frozenset(
    {
        *("point_id", "stage", "ix", "iy", "frame", "level", "fingerprint", "created_at"),
        *("outcome", "reason", "diverged_step", "losses", "steps", "tokens_seen", "seconds"),
        *("first_loss", "tail_loss", "ratio", "final_loss", "best_loss", "val_loss"),
        *("deterministic", "side_by_side", "kernels", "host", "device", "attempt"),
    }
)
"""Columns of all rows that no parameter may be named after.

Not among them are `x`, `y` and `seed`, whose columns hold the values of such parameters.
"""


class AxisSpec(Model):
    """The section of one axis, in real values."""

    param: str
    scale: Scale = "log"
    min: float
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log axis needs min > 0; min is {self.min:g}")
        if self.min >= self.max:
            raise ValueError(f"min must be below max; min is {self.min:g}, max is {self.max:g}")
        if not math.isfinite(self.max - self.min):
            raise ValueError(
                f"the range from {self.min:g} to {self.max:g} is wider than any number; take a"
                " narrower one"
            )
        return self


class AxesSpec(Model):
    """The section `axes`: the plane with x to the right and y upwards."""

    x: AxisSpec
    y: AxisSpec

    @model_validator(mode="after")
    def _no_fixed_column(self) -> Self:
        for side, axis in (("x", self.x), ("y", self.y)):
            if axis.param in FIXED_COLUMNS:
                raise ValueError(
                    f"{side}.param: {quoted(axis.param)} is the name of a column of every dataset;"
                    " give the parameter another name"
                )
        return self

    @model_validator(mode="after")
    def _different(self) -> Self:
        if self.x.param == self.y.param:
            raise ValueError(f"x and y both sweep {quoted(self.x.param)}; the axes must differ")
        return self
