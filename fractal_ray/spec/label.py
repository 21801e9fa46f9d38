"""The section `label` of a spec: the rules that label a run."""

from typing import Literal

from pydantic import Field

from fractal_ray.plane.outcome import Criterion
from fractal_ray.workloads.section import Model


class LabelSpec(Model):
    """The section `label`: the label drawn on the map, and the rule of the outcome `trained`."""

    boundary: Literal["trainable", "stable"] = "trainable"
    window: int = Field(default=20, ge=1)
    threshold: float = Field(default=1.0, gt=0)

    @property
    def criterion(self) -> Criterion:
        """Return the rule that labels a loss curve."""
        return Criterion(self.window, self.threshold)
