"""The section `workload` of a spec of kind `nanochat`."""

import dataclasses
import os
import re
import shlex
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal_ray.errors import nearest
from fractal_ray.plane.axes import Axis
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.precision import Arithmetic
from fractal_ray.workloads.base import Repeat, RepeatRequest, Seeding, Workload
from fractal_ray.workloads.nanochat.settings import NanochatSettings, swept_rates
from fractal_ray.workloads.section import (
    PlannedRuns,
    Rates,
    WorkloadSection,
)
from nanochat.data.source import DataSource
from nanochat.errors import nearest_name, quoted
from nanochat.sources.load import local_tokenizer
from nanochat.train.presets import get_preset
from nanochat.train.recipe import DERIVED, PARTS, Recipe

_DATA_AXES = ("num_tokens", "num_iterations", "device_batch_size", "target_examples_per_step")


class NanochatSpec(NanochatSettings, WorkloadSection):
    """The section of the workload `nanochat`, which fine-tunes a checkpoint at every point."""

    takes_card: ClassVar[bool] = True

    @classmethod
    def place_of(cls, name: str) -> str | None:
        """Return the key of the recipe that an unknown key of this section names, if any."""
        near = nearest_name(name, [field.name for field in dataclasses.fields(Recipe)])
        return near and f"recipe.{near}"

    @property
    def deterministic(self) -> bool:
        """Return True if a repeated run gives equal bits."""
        return self.fixed_recipe.deterministic

    @property
    def title(self) -> str:
        """Return a description of the model and its data."""
        return f"{self.model} on {self.data.source}"

    @property
    def loading_note(self) -> str:
        """Return a line to print before the model is loaded."""
        return "loading the model and tokenising the data"

    @property
    def start_note(self) -> str:
        """Return a line to print if the loss of the first batch takes long."""
        return "computing the loss of the first batch on the CPU, to check the model"

    def make(
        self,
        planned: PlannedRuns,
        criterion: Criterion,
        *,
        threads: int = 1,
        points_per_trial: int | Literal["auto"] = "auto",
    ) -> Workload:
        """Make the workload; PyTorch decides the number of threads."""
        from fractal_ray.workloads.nanochat.workload import NanochatWorkload

        x, y = planned.x.axis, planned.y.axis
        return NanochatWorkload(
            self,
            self.fixed_recipe,
            planned,
            criterion,
            self.token_budget((x, y)),
            self.largest_batch((x, y)),
            self.chosen_kernels,
            points_per_trial,
        )

    def check(self, planned: PlannedRuns) -> None:
        """Refuse kernels without their GPU, and axes that a recipe cannot take.

        Raises
        ------
        ValueError
            The message names the key, its value and the allowed values.
        """
        self._check_kernels(planned)
        recipe = self.fixed_recipe
        fields = Recipe.numeric_fields()
        for swept in planned.axes:
            side, axis = swept.side, swept.axis
            if axis.param not in fields:
                raise ValueError(
                    f"axes.{side}.param: {quoted(axis.param)} is not a numeric recipe field"
                    f"{nearest(axis.param, fields)}; allowed: {', '.join(sorted(fields))}"
                )
            if axis.integer and not (axis.min.is_integer() and axis.max.is_integer()):
                raise ValueError(
                    f"axes.{side}: {axis.param} takes whole numbers; given"
                    f" {axis.min!r} to {axis.max!r}"
                )
            if axis.param == "seed" and not recipe.shuffle:
                raise ValueError(
                    f"axes.{side}: seed changes nothing while the data stay in file order;"
                    " set recipe.shuffle: true"
                )
            if getattr(Recipe(), axis.param) == DERIVED and axis.min <= 0:
                raise ValueError(
                    f"axes.{side}: {axis.param} must stay above 0; min is {axis.min:g}"
                    " (-1 in a recipe means 'not given')"
                )
            for value in swept.values():
                recipe.with_values({axis.param: value})

    def idle_values(self, planned: PlannedRuns) -> list[str]:
        """Return a line for each idle axis, value that an axis replaces, and too large batch.

        A batch is compared with `data.limit`; the rows of data without a limit are counted when
        they are read (`NanochatWorkload.check_start`).
        """
        from fractal_ray.workloads.nanochat.idle import batches_beyond, idle_axes, replaced_values

        lines = replaced_values(self.recipe, planned.axes)
        lines += idle_axes(self.fixed_recipe, planned.axes)
        if limit := self.data.limit:
            sides = {swept.axis.param: swept.side for swept in planned.axes}
            largest = self.largest_batch((planned.x.axis, planned.y.axis))
            origin = f"workload.data.limit leaves {limit:,} rows"
            lines += batches_beyond(self.recipe, sides, largest, limit, origin)
        return lines

    @property
    def seeding(self) -> Seeding:
        """Return the seed of the order of the data, which `with_seed` shuffles."""
        return Seeding(self.fixed_recipe.seed, "shuffled data")

    def with_seed(self, seed: int) -> "NanochatSpec":
        """Return these fine-tunes on data that a seed shuffles; itself if it does already."""
        if self.fixed_recipe.shuffle and seed == self.fixed_recipe.seed:
            return self
        recipe = {**self.recipe, "seed": seed, "shuffle": True}
        Recipe.from_mapping(recipe)
        return self.model_copy(update={"recipe": recipe})

    def changes_data(self, param: str) -> bool:
        """Return True for the number of tokens or steps, and the size of a step."""
        return param in _DATA_AXES

    def effective_rates(self, values: Mapping[str, float], width: int | None) -> dict[str, float]:
        """Return the rates that swept values set, with those of AdamW scaled by the width.

        `learning_rate` and the multipliers set the rates of trained groups, which have the name of
        the group. The width of a preset is known without `width`.
        """
        if width is None and self.model.startswith("preset:"):
            width = get_preset(self.model.removeprefix("preset:")).n_embd
        return {} if width is None else swept_rates(self.fixed_recipe, values, width)

    def baseline_remedy(self, location: str) -> str:
        """Return a clause with the command that evaluates the untouched model."""
        return f"; fractal-ray advise {shlex.quote(location)} --baseline evaluates it"

    def idle_seeds(self) -> list[str]:
        """Return a line for a seed in the recipe while the data stay in file order."""
        if "seed" not in self.recipe or self.fixed_recipe.shuffle:
            return []
        line = (
            f"workload.recipe.seed is {self.recipe['seed']} and changes no run: it seeds the order"
            " of the data, which stay in file order without recipe.shuffle: true"
        )
        return [line]

    def _check_kernels(self, planned: PlannedRuns) -> None:
        if "cuda_graphs" not in self.kernels:
            return
        if planned.gpu == 0:
            raise ValueError(
                "workload.kernels: cuda_graphs records steps of a GPU, and resources.gpu is 0;"
                " leave it out, or set resources.gpu"
            )
        if not self.stacks:
            raise ValueError(
                "workload.kernels: cuda_graphs cannot record the loss scaling of dtype float16;"
                " take bfloat16, or leave it out"
            )

    def check_points_per_trial(self, points: int) -> None:
        """Refuse several points where the recipe or the kernels cannot stack them.

        Raises
        ------
        ValueError
            The message names the number and the reason.
        """
        if points > 1 and not self.stacks:
            raise ValueError(
                f"resources.points_per_trial is {points}; with dtype float16 (one loss scale for"
                " all) or kernels full_logits points cannot advance together: leave it out"
            )

    def is_integer(self, param: str) -> bool:
        """Return True if a recipe field takes whole numbers only."""
        return Recipe.numeric_fields().get(param) is int

    def arithmetic(self, axis: Axis) -> Arithmetic:
        """Return float32, in which optimizers apply rates; float64 for whole numbers (exact)."""
        return "float64" if axis.integer else "float32"

    def tokens_per_run(self, values: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
        """Return `num_tokens`, or the largest number of tokens in `num_iterations` steps.

        Of `num_tokens` a run takes up to one batch more. Either way it takes less if it diverges.
        """
        recipe = self.fixed_recipe

        def numbers(name: str) -> NDArray[np.int64]:
            return np.asarray(values.get(name, getattr(recipe, name))).astype(np.int64)

        if self.token_bound(values) is None:
            return numbers("num_tokens")
        rows = np.maximum(numbers("device_batch_size"), numbers("target_examples_per_step"))
        return numbers("num_iterations") * rows * (self.data.max_seq_len - 1)

    def planned_steps(self, values: Mapping[str, ArrayLike]) -> NDArray[np.int64] | None:
        """Return `num_iterations`; None where `num_tokens` and the data decide."""
        from fractal_ray.workloads.nanochat.steps import planned_steps

        return planned_steps(self.fixed_recipe, values)

    def token_bound(self, params: Container[str]) -> str | None:
        """Return the reason for an upper bound of the tokens where `num_iterations` is set."""
        if "num_iterations" not in params and self.fixed_recipe.num_iterations < 0:
            return None
        return (
            "num_iterations sets the number of steps, so every row counts with all"
            f" {self.data.max_seq_len - 1} tokens that data.max_seq_len {self.data.max_seq_len}"
            " leaves to predict; shorter rows take fewer"
        )

    def in_other_dtype(self) -> "NanochatSpec":
        """Return these fine-tunes in another dtype, to find the labels that depend on it."""
        other = "bfloat16" if self.fixed_recipe.dtype == "float32" else "float32"
        return self.model_copy(update={"recipe": {**self.recipe, "dtype": other}})

    def in_deterministic_mode(self) -> "NanochatSpec | None":
        """Return these fine-tunes with deterministic algorithms; None if they already are."""
        if self.deterministic:
            return None
        return self.model_copy(update={"recipe": {**self.recipe, "deterministic": True}})

    def files(self) -> Iterable[tuple[str, str]]:
        """Return the key and the path of the local model, tokenizer and data."""
        sources = {
            "workload.model": self.model,
            "workload.tokenizer_artifact": self.tokenizer_artifact,
            "workload.data.source": self.data.source,
            "workload.data.validation.file": self.data.validation and self.data.validation.file,
        }
        for key, source in sources.items():
            # preset:, hf: and wandb: are not paths, and neither is the data set of the package.
            if source and source != "stdlib_qa" and not re.match(r"\w\w+:", source):
                yield key, source

    def needed_files(self) -> Iterable[tuple[str, str]]:
        """Return the key and path of each file that a run reads in local folders.

        Of a folder in which no file fits, and of shards, none is named.
        """
        files = {
            "workload.model": self.to_source().local_files(),
            "workload.tokenizer_artifact": local_tokenizer(self.tokenizer_artifact or ""),
            "workload.data.source": self.data.to_source().local_files(),
            "workload.data.validation.file": self._validation_files(),
        }
        named = {key for key, _ in self.files()}
        return [
            (key, os.path.relpath(each)) for key in files if key in named for each in files[key]
        ]

    def package_data(self) -> Iterable[str]:
        """Return the conversations of the package where the model or the data need them."""
        shipped = self.data.source == "stdlib_qa"
        if shipped or self.model.startswith("preset:"):  # which is trained on them if need be
            yield "nanochat/data/stdlib_qa/train.jsonl"
        if shipped and (self.data.split != "train" or self.data.validation is not None):
            yield "nanochat/data/stdlib_qa/validation.jsonl"

    def check_inputs(self) -> None:
        """Refuse a model, tokenizer or data that can be on no machine, as the name `gpt2`."""
        self.to_source().check_place()
        self.data.to_source().check_place()
        if self.data.validation is not None and self.data.validation.file is not None:
            DataSource(self.data.validation.file, "validation").check_place()

    def _validation_files(self) -> list[Path]:
        validation = self.data.validation
        if validation is None or validation.file is None:
            return []
        return DataSource(validation.file, "validation").local_files()

    def notes_on_runs(self, planned: PlannedRuns) -> list[str]:
        """Return the least number of steps where the data decide it, and the validation's time."""
        from fractal_ray.workloads.nanochat.steps import least_steps_note

        note = least_steps_note(self.fixed_recipe, planned, self.data.max_seq_len)
        lines = [note] if note else []
        if (validation := self.data.validation) is None:
            return lines
        recipe = self.fixed_recipe
        steps = validation.batches / (3 * recipe.accumulation)
        line = (
            f"validation: {validation.batches:,} batches of {recipe.device_batch_size:,} rows"
            f" ({validation.origin}) after each run, about the time of {max(1, round(steps)):,}"
            f" training step{'s' if round(steps) > 1 else ''}"
        )
        return [*lines, line]

    def rates(self, values: Mapping[str, float], steps: int) -> Rates:
        """Return the learning rates of a run by step, under the keys of a single fine-tune.

        The rates of embedding and head are left out: the optimizer scales them by the width of the
        model, which a dataset does not hold. Their nominal values are in the configuration.
        """
        if not steps:
            return super().rates(values, steps)
        from nanochat.train.optim.learning_rates import lr_factor  # loads torch

        recipe = self.fixed_recipe.with_values(dict(values))
        full = recipe.group_lrs()
        groups = [part for part in PARTS if part in full] or ["matrix"]
        trained = "matrix" in recipe.trainable_param_groups
        lrs = {
            "lr": recipe.learning_rate,
            **{f"lr_{g}": full[g] if trained else 0.0 for g in groups},
        }

        def at_step(step: int) -> dict[str, float]:
            factor = lr_factor(step - 1, steps, recipe)
            scaled = {
                f"train/{name}": lr * recipe.init_lr_frac * factor for name, lr in lrs.items()
            }
            return {"train/lr_mult": factor, **scaled}

        return at_step

    def check_keeps_model(self) -> None:
        """Accept: a fine-tune leaves a model."""

    def run_again(self, request: RepeatRequest) -> Repeat:
        """Run one fine-tune again and keep its model.

        Raises
        ------
        SweepError
            If model, data or arithmetic have changed since the dataset was written.
        """
        from fractal_ray.workloads.nanochat.repeat import run_again

        return run_again(self, request)
