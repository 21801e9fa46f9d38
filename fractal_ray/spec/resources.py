"""The part `resources` of a spec: what one slot takes of the cluster, and how many there are."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field, ValidationInfo, field_validator, model_validator

from fractal_ray.workloads.section import Model

WHOLE_CARD = 1.0
MOST_TOGETHER = 256
"""Points that may advance together: each takes a copy of what is trained."""


class ResourcesSpec(Model):
    """What one slot takes of the cluster, and how many slots there are."""

    cpu: float = Field(default=1.0, gt=0)
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.0
    """A fraction packs several slots on a card; auto: as many as a measured probe says fit."""
    memory: ByteSize | None = Field(default=None, gt=0)
    """Of the node, set aside for each slot: 8GiB, 500MB."""
    accelerator_type: str | None = None
    """As Ray names it: H100, A100-80G, L4."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that a slot's node must have, in Ray's language: `spot`, `!spot`, `in(a, b)`."""
    homogeneous: bool = False
    """Whether one kind of device must compute the whole dataset."""
    slots: int | Literal["auto"] = "auto"
    """Workers for the whole sweep; auto: as many as the cluster has room for at the start."""
    lease_seconds: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """For which a worker may be silent before it counts as hung and is replaced."""
    storage_patience: float = Field(default=60.0, ge=0)
    """Seconds for which storage may refuse before the sweep stops."""
    tiles_per_worker: int | None = Field(default=None, ge=1)
    """After so many tiles a worker is replaced by a new process; null: never."""
    points_per_trial: int | Literal["auto"] = "auto"
    """Points of `nanochat` that advance together on one device; auto: measured by each worker
    while it works. On a CPU losses do not depend on it."""

    @property
    def cards(self) -> float:
        """GPUs of a slot, a whole one where that is still to be measured."""
        return WHOLE_CARD if self.gpu == "auto" else self.gpu

    @field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float | str) -> float | str:
        if isinstance(gpu, float) and gpu > 1 and gpu != int(gpu):
            raise ValueError(f"gpu above 1 must be a whole number; given {gpu:g}")
        return gpu

    @field_validator("slots", "points_per_trial")
    @classmethod
    def _some(cls, count: int | str, info: ValidationInfo) -> int | str:
        if isinstance(count, int) and count < 1:
            raise ValueError(f"{info.field_name} must be at least 1 or auto; given {count}")
        if (
            info.field_name == "points_per_trial"
            and isinstance(count, int)
            and count > MOST_TOGETHER
        ):
            raise ValueError(f"points_per_trial must be at most {MOST_TOGETHER}; given {count}")
        return count

    @model_validator(mode="after")
    def _card_for_a_type(self) -> "ResourcesSpec":
        if self.accelerator_type and not self.gpu:
            raise ValueError(
                f"accelerator_type {self.accelerator_type} is a GPU's; set gpu as well (a number"
                " or auto)"
            )
        return self
