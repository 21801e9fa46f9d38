"""The section `axes` of a spec: the plane that a sweep covers."""

import math
from typing import Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from fractal_ray.plane.axes import Scale
from fractal_ray.workloads.model import FIXED_COLUMNS, Model
from nanochat.errors import quoted

Side = Literal["x", "y"]


class AxisSpec(Model):
    """The section of one axis, in real values."""

    param: str
    scale: Scale = "log"
    min: float
    max: float
    type: Literal["float", "int"] | None = None
    """`int` rounds values to whole numbers; only for workloads whose parameters have no types."""

    @model_serializer(mode="wrap")
    def _without_type(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A sweep.json written before this key existed must still equal its spec.
        return {k: v for k, v in dump(self).items() if k != "type" or v is not None}

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
