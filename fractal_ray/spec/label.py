"""The section `label` of a spec: the rules that label a run."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from fractal_ray.plane.boundary import Boundary
from fractal_ray.plane.outcome import Criterion
from fractal_ray.workloads.model import Model


class LabelSpec(Model):
    """The section `label`: the label drawn on the map, and the rules of outcomes."""

    boundary: Boundary = "trainable"
    """Border to follow. Its default is that of the kind of workload (`SweepSpec`)."""
    window: int = Field(default=20, ge=1)
    threshold: float = Field(default=1.0, gt=0)
    rise: float = Field(default=0.02, ge=0)
    """Share by which a loss of a degraded run exceeds that of the untouched model."""
    reference: Literal["first_loss", "same_batches", "held_out"] = "first_loss"
    """Loss that the last losses of a run are compared with."""

    risk: float = Field(default=0.5, gt=0, le=1)
    """Share of broken seeds from which a point that was run with several seeds is broken."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A sweep.json written before these fields existed must still equal its spec.
        fields, defaults = dump(self), type(self).model_fields
        added = ("rise", "reference", "risk")
        return {k: v for k, v in fields.items() if k not in added or v != defaults[k].default}

    @property
    def criterion(self) -> Criterion:
        """Return the rule that labels a loss curve."""
        return Criterion(self.window, self.threshold, self.rise, self.reference)

    def with_default(self, boundary: Boundary) -> "LabelSpec":
        """Return this section with a boundary where it names none; it still counts as unnamed."""
        if "boundary" in self.model_fields_set or self.boundary == boundary:
            return self
        values = {**dict(self), "boundary": boundary}
        return type(self).model_construct(self.model_fields_set, **values)
