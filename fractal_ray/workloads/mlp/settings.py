"""Settings of the workload `mlp`: the keys of its section in a spec."""

from typing import Literal

from pydantic import Field, field_validator

from fractal_ray.workloads.model import Model


class MlpSettings(Model):
    """Settings of the small network of arXiv 2402.06184 that trains at every point.

    The axes sweep `eta0` (rate of the first layer), `eta1` (rate of the second layer), `eta` (both
    rates) or `w0_offset` (added to every weight of the first layer). The section sets the
    parameters that no axis sweeps.
    """

    kind: Literal["mlp"] = "mlp"
    activation: Literal["tanh", "relu", "identity"] = "tanh"
    width: int = Field(default=16, ge=1, le=4096)
    """Number of inputs, and of hidden units."""
    examples: int = Field(default=272, ge=1)
    batch: int | None = Field(default=None, ge=1)
    """Number of examples per step, with replacement; by default all examples."""
    steps: int = Field(default=500, ge=1)
    readout: Literal["mean_field", "standard"] = "mean_field"
    """Factor of the output: 1/width as in arXiv 2402.06184, or 1/sqrt(width)."""
    offset_mode: Literal["per_step", "init"] = "per_step"
    """per_step adds `w0_offset` before every step (as in arXiv 2402.06184); init adds it once."""
    dtype: Literal["float64", "float32"] = "float64"
    draw: int | str = 0
    """Origin of weights and examples: a seed, `paper` (the published notebook), or an .npz file."""
    eta0: float | None = Field(default=None, ge=0)
    eta1: float | None = Field(default=None, ge=0)
    w0_offset: float | None = None
    """Offset of the first layer; 0 by default."""
    kept_losses: int | Literal["all"] = "all"
    """Losses that a row stores: all, or the first one and this number of the last ones."""

    @field_validator("kept_losses")
    @classmethod
    def _at_least_one(cls, number: int | str) -> int | str:
        if isinstance(number, int) and number < 1:
            raise ValueError(f"kept_losses must be at least 1 or all; given {number}")
        return number

    @field_validator("draw")
    @classmethod
    def _seed(cls, draw: int | str) -> int | str:
        if isinstance(draw, int) and draw < 0:
            raise ValueError(f"a seed is 0 or more; given {draw}")
        return draw
