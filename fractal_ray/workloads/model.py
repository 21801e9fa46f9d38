"""The base class of all parts of a spec, and what is known of a part before it is checked."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

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


class Model(BaseModel):
    """A part of a spec: without unknown keys, with finite numbers only, and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic reads true as 1; YAML reads on and yes as true.
        annotation = cls.model_fields[str(info.field_name)].annotation
        types = _types_in(annotation)
        values = value if isinstance(value, list | tuple) else [value]
        values = list(value.values()) if isinstance(value, Mapping) else values
        if (
            bool not in types
            and types & {int, float}
            and any(v is True or v is False for v in values)
        ):
            raise ValueError(
                "takes a number, not true or false (YAML reads on, off, yes and no as these)"
            )
        return value


def _types_in(annotation: Any) -> set[Any]:
    """Return the types that an annotation names, those of its arguments and literals included."""
    if get_origin(annotation) is Literal:
        return {type(each) for each in get_args(annotation)}
    parts = [_types_in(each) for each in get_args(annotation)]
    return {annotation}.union(*parts) if isinstance(annotation, type) else set().union(*parts)


def kind_of(workload: Any) -> str:
    """Return the kind that the section `workload` names; `nanochat` where it names none."""
    if isinstance(workload, Mapping):
        return str(workload.get("kind", "nanochat"))
    return getattr(workload, "kind", "nanochat")
