"""Axes of a sweep of fine-tunes that change no run, and recipe values that an axis replaces."""

from collections.abc import Mapping
from typing import Any, Final

from fractal_ray.workloads.section import SweptAxis
from nanochat.errors import NanochatError
from nanochat.train.recipe import GROUPS, PARTS, Recipe

Axes = tuple[SweptAxis, SweptAxis]

_BATCH: Final = "device_batch_size"


def replaced_values(settings: Mapping[str, Any], axes: Axes) -> list[str]:
    """Return a line for each value of a recipe whose parameter an axis sweeps.

    Parameters
    ----------
    settings
        The recipe as the spec gives it, keys with underscores or dashes.
    axes
        Both axes.
    """
    sides = {swept.axis.param: swept.side for swept in axes}
    return [
        f"workload.recipe.{key} is {value!r}, and axes.{sides[param]} sweeps {param}, which"
        " replaces it at every point; leave it out of the recipe"
        for key, value in settings.items()
        if (param := str(key).replace("-", "_")) in sides
    ]


def idle_axes(recipe: Recipe, axes: Axes) -> list[str]:
    """Return a line with the reason for each axis along which all runs are equal.

    Parameters
    ----------
    recipe
        The recipe before the axes set their fields.
    axes
        Both axes.
    """
    x, y = axes
    lines = []
    for swept, other in ((x, y), (y, x)):
        param = swept.axis.param
        if _is_idle(recipe, swept, other):
            reason = _reason(recipe, param, other.axis.param)
            lines.append(f"axes.{swept.side}: {param} changes no run: {reason}")
    return lines


def batches_beyond(
    settings: Mapping[str, Any], sides: Mapping[str, str], largest: int, rows: int, origin: str
) -> list[str]:
    """Return a line for a batch, on an axis or in the recipe, that is larger than the data.

    Where an optimizer step takes one batch, every batch of at least all rows is all rows. Where
    `target_examples_per_step` is set or swept, the batch also decides the number of batches.

    Parameters
    ----------
    settings
        The recipe as the spec gives it, keys with underscores or dashes.
    sides
        Side of each swept parameter.
    largest
        Largest `device_batch_size` of all points.
    rows
        Number of rows of the data.
    origin
        Sentence that gives this number, for the message.
    """
    named = {str(key).replace("-", "_"): value for key, value in settings.items()}
    target = "target_examples_per_step"
    if largest <= rows or target in sides or Recipe.from_mapping(settings).accumulation > 1:
        return []
    if side := sides.get(_BATCH):
        line = (
            f"axes.{side}: {_BATCH} goes up to {largest:,}, and {origin}: every value from"
            f" {rows:,} on is one run; set axes.{side}.max: {rows}, or use more data"
        )
        return [line]
    if _BATCH not in named:
        return []
    line = (
        f"workload.recipe.{_BATCH} is {largest:,}, and {origin}: a batch of {rows:,} makes the"
        f" same run; set {_BATCH}: {rows}, or use more data"
    )
    return [line]


def _is_idle(recipe: Recipe, swept: SweptAxis, other: SweptAxis) -> bool:
    # What a run uses never turns back along an axis, so its ends tell.
    ends = (swept.axis.min, swept.axis.max)
    for at in (other.axis.min, other.axis.max):
        try:
            first, last = (
                recipe.with_values({swept.axis.param: end, other.axis.param: at}).used_settings()
                for end in ends
            )
        except NanochatError:  # two values that exclude each other: that point fails in its run
            return False
        if first != last:
            return False
    return True


def _reason(recipe: Recipe, param: str, other: str) -> str:
    """Return the reason for which an axis changes no run, and the setting that would mend it."""
    if param == "num_tokens":
        return "num_iterations sets the number of steps; leave one of the two out"
    if param == "target_examples_per_step":
        return f"every value means one batch of device_batch_size {recipe.device_batch_size}"
    trained = recipe.trainable_param_groups
    if not trained:
        return "no group of parameters is trained; set recipe.trainable"
    if recipe.num_iterations == 1:
        return (
            "the one loss of a run with num_iterations 1 is recorded before its update; set"
            " recipe.num_iterations: 2 or more"
        )
    if param == "weight_decay":
        return (
            f"{', '.join(trained)} is trained alone, and its optimizer (Muon) has no decay; add"
            " embedding or unembedding to recipe.trainable"
        )
    if param == "warmup_frac":
        steps = recipe.num_iterations
        return f"every value warms up for an equal number of the {steps} steps of num_iterations"
    if param == "final_lr_frac":
        return "the warm-up leaves no step with a lower rate; set fewer warm-up or more steps"
    if param == "learning_rate":
        return f"each trained group ({', '.join(trained)}) has a rate of its own"
    name = param.removesuffix("_mult").removesuffix("_lr")
    group = "matrix" if name in PARTS else name
    if group in GROUPS and group not in trained:
        return f"the group {group} is frozen; add {group} to recipe.trainable"
    if param == "matrix_lr":
        return "attention_lr and mlp_lr set the rates of both parts; leave one of them out"
    own = f"{name}_lr"
    by = "the other axis" if other == own else "the recipe"
    return f"{by} sets {own}, which this multiplier does not change; leave one of the two out"
