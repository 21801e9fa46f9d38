"""Settings of the workload `nanochat` in a spec: model, data, recipe and kernels."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from fractal_ray.plane.axes import Axis
from fractal_ray.workloads.model import Model
from nanochat.data.source import DataSource
from nanochat.errors import quoted
from nanochat.finetune_run.settings import Settings
from nanochat.sources.load import ModelSource, check_source
from nanochat.train.kernels import Kernels
from nanochat.train.recipe import ADAMW, PARTS, Recipe


class ValidationSpec(Model):
    """The section `validation`: conversations whose loss is computed after each run."""

    split: str | None = None
    """Another split of the data."""
    file: str | None = None
    """Other conversations, in the forms of `source`."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """Share of the data that is held out, chosen by a hash of each conversation."""
    batches: int = Field(default=8, ge=1)
    """Number of batches of `device_batch_size` rows, always the first ones."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in ("split", "file", "share") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"takes one of split, file, share; given {' and '.join(given) or 'none of them'}"
            )
        return self

    @property
    def key(self) -> str:
        """Return the key that names the conversations."""
        return next(name for name in ("split", "file", "share") if getattr(self, name) is not None)

    @property
    def origin(self) -> str:
        """Return a description of the conversations."""
        if self.share is not None:
            return f"{self.share:.3g} of the data, held out by hash"
        return self.file if self.file is not None else f"split {self.split}"

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class DataSpec(Model):
    """The section `data`: the conversations to fine-tune on."""

    source: str
    """`stdlib_qa` (part of this package), a .jsonl or .parquet file, a folder with
    `<split>.jsonl` or with shards, or `hf:repo[:config][@rev]`."""
    split: str = "train"
    max_seq_len: int = Field(default=1024, ge=2)
    limit: int | None = Field(default=None, ge=1)
    """Number of conversations to use, from the first; all of them by default."""
    skip_bad_rows: int = Field(default=0, ge=0)
    """Number of bad rows that may be left out; by default the first bad row is an error."""
    validation: ValidationSpec | None = None
    """Conversations whose loss is computed after each run; none by default."""

    @model_validator(mode="after")
    def _another_split(self) -> Self:
        if self.validation is not None and self.validation.split == self.split:
            raise ValueError(
                f"validation.split {quoted(self.split)} is trained on; name another split"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A sweep.json written before these fields existed must still equal its spec.
        fields = dump(self)
        return {k: v for k, v in fields.items() if k not in ("skip_bad_rows", "validation") or v}

    def to_source(self) -> DataSource:
        """Return this section as nanochat's data source."""
        return DataSource(self.source, self.split, self.limit, self.max_seq_len, self.skip_bad_rows)


class NanochatSettings(Model):
    """Settings of the fine-tune that runs at every point."""

    kind: Literal["nanochat"] = "nanochat"
    model: str
    """A checkpoint folder, `preset:tiny`, `hf:repo[@rev]`, or `wandb:entity/project/name:v7`."""
    model_step: int | None = Field(default=None, ge=0)
    """Step of one of several checkpoints; the newest by default."""
    model_tag: str | None = None
    """Tag of one of several models in `<stage>_checkpoints`; the deepest by default."""
    source_stage: Literal["base", "mid", "sft", "rl"] | None = None
    """Stage of the checkpoints, if there are several stages; sft by default."""
    tokenizer_artifact: str | None = None
    """Location of the tokenizer, if it is not with the model; in the forms of `model`."""
    data: DataSpec
    recipe: dict[str, Any] = Field(default_factory=dict)
    kernels: tuple[Literal["full_logits", "compile", "cuda_graphs"], ...] = ()
    """Switches of `nanochat.train.kernels.Kernels` that are on."""

    @field_validator("model", "tokenizer_artifact")
    @classmethod
    def _known_form(cls, source: str | None) -> str | None:
        if source is not None:
            check_source(source)
        return source

    @field_validator("recipe")
    @classmethod
    def _valid_recipe(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        Recipe.from_mapping(recipe)
        return recipe

    @field_validator("kernels", mode="before")
    @classmethod
    def _one_or_more(cls, kernels: Any) -> Any:
        return [kernels] if isinstance(kernels, str) else kernels

    @field_validator("kernels")
    @classmethod
    def _not_both(cls, kernels: tuple[str, ...]) -> tuple[str, ...]:
        if "full_logits" in kernels and len(set(kernels)) > 1:
            raise ValueError(
                "full_logits computes as nanochat 8f979a8 does; it excludes other kernels"
            )
        return tuple(sorted(set(kernels)))

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A sweep.json written before this field existed must still equal its spec.
        fields = dump(self)
        return fields if self.kernels else {k: v for k, v in fields.items() if k != "kernels"}

    def to_source(self) -> ModelSource:
        """Return the model of this section as nanochat's model source."""
        return ModelSource(
            self.model,
            step=self.model_step,
            tag=self.model_tag,
            stage=self.source_stage,
            tokenizer=self.tokenizer_artifact,
        )

    @property
    def fixed_recipe(self) -> Recipe:
        """Return the recipe before the axes set their fields."""
        return Recipe.from_mapping(self.recipe)

    @property
    def chosen_kernels(self) -> Kernels:
        """Return the kernel switches."""
        return Kernels(**dict.fromkeys(self.kernels, True))

    @property
    def stacks(self) -> bool:
        """Return True if points can advance side by side."""
        return self.chosen_kernels.stack(self.fixed_recipe.dtype)

    @property
    def step_setting(self) -> str:
        """Return the key of the setting that decides the number of steps."""
        by_steps = self.fixed_recipe.num_iterations > 0
        return f"workload.recipe.{'num_iterations' if by_steps else 'num_tokens'}"

    def finetune_command(self, values: Mapping[str, str]) -> str:
        """Return the command ``nanochat finetune`` that trains as the run of a point does.

        Settings with their default are left out. A validation on other data is left out too,
        because it changes no run.

        Parameters
        ----------
        values
            Values of the swept parameters, as texts; they replace those of the recipe.
        """
        validation = self.data.validation
        settings = Settings.of_sources(
            self.to_source(),
            self.data.to_source(),
            val_share=validation.share or 0.0 if validation else 0.0,
        )
        recipe = {key.replace("-", "_"): value for key, value in self.recipe.items()}
        options = {**_changed(settings), **recipe, **values}
        words = [word for name, value in options.items() for word in _option(name, value)]
        return shlex.join(["nanochat", "finetune", *words])

    def token_budget(self, axes: tuple[Axis, Axis]) -> int | None:
        """Return the largest `num_tokens` of all points; None if the recipe sets the steps."""
        largest = {axis.param: axis.max for axis in axes}
        recipe = self.fixed_recipe
        if recipe.num_iterations > 0 or "num_iterations" in largest:
            return None
        return int(largest.get("num_tokens", recipe.num_tokens))

    def largest_batch(self, axes: tuple[Axis, Axis]) -> int:
        """Return the largest `device_batch_size` of all points."""
        largest = {axis.param: axis.max for axis in axes}
        return int(largest.get("device_batch_size", self.fixed_recipe.device_batch_size))


def _changed(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their default."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _option(name: str, value: Any) -> list[str]:
    """Return an option with its value as words of a command line."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return [f"--{dashed}", str(value)]


def swept_rates(recipe: Recipe, values: Mapping[str, float], width: int) -> dict[str, float]:
    """Return the rates that swept values set, before warm-up and `init_lr_frac`.

    Parameters
    ----------
    recipe
        The recipe before the axes set their fields.
    values
        Swept parameters.
    width
        Width of the model.

    Returns
    -------
    dict
        Swept rates of groups under their own name, as `matrix_lr`; then the rates of trained groups
        that derive from `learning_rate` or a multiplier, under the name of the group. Empty where
        AdamW has none of these rates, so that all of them are applied as given.
    """
    rates = {name: value for name, value in values.items() if _is_rate(name)}
    at_point = recipe.with_values(rates)
    full = at_point.effective_lrs(width)
    own = {name: name.removesuffix("_lr") for name in rates if name.endswith("_lr")}
    chosen = own | {group: group for group in _derived(at_point, rates)}
    if not set(chosen.values()) & set(ADAMW):
        return {}
    return {name: full[group] for name, group in chosen.items()}


def _is_rate(name: str) -> bool:
    return name == "learning_rate" or name.endswith(("_lr", "_lr_mult"))


def _derived(recipe: Recipe, rates: Mapping[str, float]) -> list[str]:
    """Return the trained groups whose rate derives from `learning_rate` or a swept multiplier."""
    groups = set(recipe.trainable_param_groups)
    lrs = recipe.group_lrs()
    if "matrix" in groups and lrs.keys() >= set(PARTS):
        groups = groups - {"matrix"} | set(PARTS)
    sources = {group: {"learning_rate", f"{group}_lr_mult"} & rates.keys() for group in lrs}
    return [g for g in lrs if g in groups and sources[g] and not _has_own(recipe, g)]


def _has_own(recipe: Recipe, group: str) -> bool:
    names = {group, "matrix"} if group in PARTS else {group}
    return any(getattr(recipe, f"{name}_lr") > 0 for name in names)
