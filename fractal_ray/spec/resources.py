"""The section `resources` of a spec: the share of the cluster for one slot, and their number."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field, ValidationInfo, field_validator, model_validator

from fractal_ray.workloads.model import Model

WHOLE_CARD = 1.0
MOST_TOGETHER = 256
"""Largest number of points that advance together; each holds a copy of the trained weights."""


class ResourcesSpec(Model):
    """The section `resources`: the share of the cluster for one slot, and the number of slots."""

    cpu: float = Field(default=1.0, gt=0)
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] | None = None
    """GPUs of a slot. A fraction packs several slots on a card; auto: a probe measures how many
    fit; 0: the CPU. Unset: a whole card for `nanochat` where there are cards, else the CPU."""
    memory: ByteSize | None = Field(default=None, gt=0)
    """Memory of the node that is set aside for each slot: 8GiB, 500MB."""
    accelerator_type: str | None = None
    """Type of GPU by the name that Ray uses: H100, A100-80G, L4."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that the node of a slot must have, in Ray's syntax: `spot`, `!spot`, `in(a, b)`."""
    homogeneous: bool = False
    """Requirement that one kind of device computes the whole dataset."""
    slots: int | Literal["auto"] = "auto"
    """Number of workers of the sweep; auto: as many as the cluster has room for at the start."""
    lease_seconds: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Seconds for which a worker may be silent before it counts as hung and is replaced."""
    storage_patience: float = Field(default=60.0, ge=0)
    """Seconds for which storage may refuse requests before the sweep stops."""
    tiles_per_worker: int | None = Field(default=None, ge=1)
    """Number of tiles after which a new process replaces a worker; null: never."""
    points_per_trial: int | Literal["auto"] = "auto"
    """Number of `nanochat` points that advance together on one device; auto: each worker measures
    the best number while it works. On a CPU losses do not depend on it."""

    @property
    def cards(self) -> float:
        """Return the GPUs of a slot; a whole one before its share is measured, 0 if it is unset."""
        return WHOLE_CARD if self.gpu == "auto" else self.gpu or 0.0

    @field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float | str | None) -> float | str | None:
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
