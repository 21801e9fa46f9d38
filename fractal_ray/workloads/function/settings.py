"""Settings of a function in a spec: the keys of the section `workload`, and their checks."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from fractal_ray.workloads.model import FIXED_COLUMNS, Model
from nanochat.errors import quoted

CALL: Final = re.compile(r"(?P<place>[^:]*\.py|[\w.]+):(?P<name>[A-Za-z_]\w*)")
"""Forms of `call`: ``FILE.py:NAME``, or ``MODULE:NAME``."""
NOTEBOOK: Final = "__main__"
"""Module of functions that are defined in a notebook or a script."""
LARGEST_SEED: Final = 2**32 - 1
"""Largest seed that numpy takes."""
_TOO_WIDE = ("Exception", "BaseException", "RuntimeError", "OSError")
_MEMORY = ("MemoryError", "OutOfMemoryError")
RESERVED = ("seed_per_point", "function")
_METRIC = re.compile(r"[A-Za-z_]\w{0,63}")


class DivergenceSpec(Model):
    """An exception of the function that means divergence.

    Parameters
    ----------
    error
        Name of the exception's class, or of a class that it derives from.
    text
        Text that its message contains; "" for every message.
    """

    error: str
    text: str = ""


@dataclass(frozen=True, eq=False)
class HeldFunction:
    """A function of this process that a spec refers to; it stays here when the spec is pickled."""

    function: Any = field(default=None, repr=False)

    def __reduce__(self) -> Any:
        """Leave the function out."""
        return HeldFunction, ()


class FunctionSettings(Model):
    """The function of a sweep, and what it gets and gives."""

    kind: Literal["function"] = "function"
    call: str
    """``train.py:train``, a file relative to the spec, or ``package.module:train``."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Fixed values, which the function gets in `params` beside those of the axes."""
    metrics: dict[str, Literal["min", "max"]] = Field(default_factory=dict)
    """Metrics that the function gives, with the direction of better values."""
    inputs: Annotated[tuple[str, ...], Field(alias="files")] = ()
    """Data files and folders that the function reads, relative to the spec: the key `files`."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    seed_per_point: bool = False
    """True seeds each point by itself, so that neighbours differ by chance too."""
    diverges_on: tuple[DivergenceSpec, ...] = ()
    """Exceptions that mean divergence, besides FloatingPointError and `Diverged`."""
    _folder: str = PrivateAttr(default="")
    _held: HeldFunction = PrivateAttr(default=HeldFunction())

    @field_validator("call")
    @classmethod
    def _place_and_name(cls, call: str) -> str:
        if CALL.fullmatch(call) is None:
            raise ValueError(
                f"takes FILE.py:NAME or MODULE:NAME, for example train.py:train; given"
                f" {quoted(call)}"
            )
        return call

    @field_validator("settings")
    @classmethod
    def _no_reserved_setting(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for name, value in settings.items():
            if name == "seed":
                raise ValueError("the seed has a key of its own: workload.seed")
            if name in RESERVED:
                raise ValueError(f"{quoted(name)} is a name that fractal-ray uses; take another")
            if not _is_plain(value):
                raise ValueError(
                    f"{name} takes a text, a number, true or false, or lists and mappings of them;"
                    f" given {quoted(value)}"
                )
        return settings

    @field_validator("metrics")
    @classmethod
    def _free_names(cls, metrics: dict[str, Any]) -> dict[str, Any]:
        for name, direction in metrics.items():
            if _METRIC.fullmatch(name) is None:
                raise ValueError(f"a metric is a name of letters, digits and _; given {name!r:.80}")
            if name == "val_loss":
                if direction != "min":
                    raise ValueError("val_loss is a loss, so its direction is min")
            elif name in FIXED_COLUMNS:
                raise ValueError(
                    f"{quoted(name)} is the name of a column of every dataset; give the metric"
                    " another name"
                )
        return metrics

    @field_validator("diverges_on", mode="before")
    @classmethod
    def _from_short_form(cls, rules: Any) -> Any:
        return [_rule(each) for each in rules] if isinstance(rules, list | tuple) else rules

    @model_validator(mode="after")
    def _in_folder(self, info: ValidationInfo) -> Self:
        context = info.context or {}
        self._folder = context.get("folder", "")
        self._held = context.get("function", self._held)
        return self

    @model_serializer(mode="wrap")
    def _by_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # `files` is a method of every section, so the field has another name than its key.
        return {("files" if key == "inputs" else key): value for key, value in dump(self).items()}

    def __eq__(self, other: object) -> bool:
        """Compare the keys; the folder is no part of a spec."""
        return isinstance(other, FunctionSettings) and self.__dict__ == other.__dict__

    __hash__ = None  # pyright: ignore[reportAssignmentType] - settings have no hash either

    @property
    def context(self) -> dict[str, Any]:
        """Return the context in which this section is validated again."""
        return {"folder": self._folder, "function": self._held}

    @property
    def held_function(self) -> Any:
        """Return the function of a notebook; None for a function of a module."""
        return self._held.function

    @property
    def folder(self) -> str:
        """Return the folder that `call` and `files` are relative to."""
        return self._folder

    @property
    def file(self) -> str | None:
        """Return the path of the function's file as the spec has it; None for a module."""
        place = self.call.rpartition(":")[0]
        return place if place.endswith(".py") else None

    def inside(self, path: str) -> str:
        """Return a path of the spec as seen from the current folder."""
        return str(Path(self._folder) / path)


def _is_plain(value: Any) -> bool:
    """Return True for values that JSON holds without loss, and that are not null."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _rule(rule: Any) -> Any:
    """Return a rule in its long form: `ValueError`, or `ValueError: text of the message`."""
    if isinstance(rule, str):
        rule = {"error": rule}
    elif isinstance(rule, Mapping) and len(rule) == 1 and "error" not in rule:
        ((error, text),) = rule.items()
        rule = {"error": error, "text": text}
    if not isinstance(rule, Mapping) or not isinstance(rule.get("error"), str):
        raise ValueError(
            'takes a list of exceptions, such as [OverflowError, {ValueError: "Floating-point"}];'
            f" given {quoted(rule)}"
        )
    name = rule["error"].rpartition(".")[2]
    if name in _MEMORY:
        raise ValueError(f"{name} is a failure of the machine and never a divergence; leave it out")
    if name in _TOO_WIDE and not rule.get("text"):
        raise ValueError(
            f"every bug could be a {name}; give a text that the message contains:"
            f' {{{name}: "text"}}'
        )
    return {**rule, "error": name}
