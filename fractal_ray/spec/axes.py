"""The section `axes` of a spec: the plane that a sweep covers."""

import math
from typing import Literal, Self

from pydantic import model_validator

from fractal_ray.plane.axes import Scale
from fractal_ray.workloads.section import Model
from nanochat.errors import quoted

Side = Literal["x", "y"]


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
    def _different(self) -> Self:
        if self.x.param == self.y.param:
            raise ValueError(f"x and y both sweep {quoted(self.x.param)}; the axes must differ")
        return self
