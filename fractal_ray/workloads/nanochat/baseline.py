"""Losses of the untouched model for a sweep of fine-tunes, computed in the driver."""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fractal_ray.plane.baseline import Baseline, Sides
from fractal_ray.workloads.nanochat.shared import Shared
from fractal_ray.workloads.nanochat.validation import validation_batches
from fractal_ray.workloads.section import SweptAxis
from nanochat.errors import NanochatError
from nanochat.train.recipe import Recipe

if TYPE_CHECKING:
    from nanochat.train.batches import Batches
    from nanochat.train.untouched import BatchName

LONGEST_ON_CPU: Final = 15 * 60.0
"""Seconds that the losses may take on a CPU; they are left out where they would take longer."""
MOST_ORDERS: Final = 1000
"""Largest number of orders of batches whose losses are computed."""
_SILENT: Final = 2.0
"""Seconds before the first line about the progress."""
_BETWEEN_LINES: Final = 30.0
_LATER: Final = "fractal-ray advise SWEEP --baseline computes them later, on a machine with a GPU"

Say = Callable[[str], None]


class _TooLongError(Exception):
    """The end of work that would take too long."""


def order_sides(recipe: Recipe, axes: tuple[SweptAxis, SweptAxis]) -> Sides:
    """Return the sides of the plane whose parameter changes the batches of a step."""
    changing = {"device_batch_size", "target_examples_per_step"}
    changing |= {"seed"} if recipe.shuffle else set()
    return tuple(swept.side for swept in axes if swept.axis.param in changing)


def longest_recipes(
    recipe: Recipe, axes: tuple[SweptAxis, SweptAxis]
) -> dict[tuple[float, ...], Recipe] | None:
    """Return the recipe of the longest run for each order of batches; None for too many orders.

    Returns
    -------
    dict or None
        Keys are those of `Baseline.curves`. Values that exclude each other are left out: such a
        point fails in its run.
    """
    sides = order_sides(recipe, axes)
    chosen = [swept for swept in axes if swept.side in sides]
    # Axes of whole numbers have lattices only, so these are the values of all runs.
    values = [swept.values() for swept in chosen]
    if math.prod(len(numbers) for numbers in values) > MOST_ORDERS:
        return None
    longest = {
        swept.axis.param: swept.axis.max
        for swept in axes
        if swept.axis.param in ("num_tokens", "num_iterations")
    }
    recipes: dict[tuple[float, ...], Recipe] = {}
    for key in itertools.product(*values):
        order = {swept.axis.param: value for swept, value in zip(chosen, key, strict=True)}
        try:
            recipes[key] = recipe.with_values({**longest, **order})
        except NanochatError:
            continue
    return recipes


@dataclass(frozen=True)
class FirstBatch:
    """Loss of the first batch of a recipe, computed on the CPU."""

    name: "BatchName"
    loss: float
    dtype: str
    seconds: float


def measure_baseline(
    shared: Shared,
    recipe: Recipe,
    axes: tuple[SweptAxis, SweptAxis],
    device: str,
    say: Say,
    first: FirstBatch | None = None,
) -> Baseline:
    """Compute the losses of the untouched model on the batches of all runs.

    A GPU is used if `device` is "cuda" and this machine has one. A CPU computes them only if that
    takes at most `LONGEST_ON_CPU`.

    Parameters
    ----------
    shared
        Data of `NanochatWorkload.prepare`.
    recipe
        The fixed recipe.
    axes
        Both axes.
    device
        "cpu" or "cuda": the device of the runs.
    say
        Called with lines about long work.
    first
        Loss that needs no computation.
    """
    import torch

    sides = order_sides(recipe, axes)
    recipes = longest_recipes(recipe, axes)
    if recipes is None:
        say(
            f"the axes make more than {MOST_ORDERS:,} orders of the batches: losses of the"
            " untouched model are left out"
        )
        return Baseline(sides)
    if device == "cuda" and torch.cuda.is_available():
        try:
            return _measure(shared, recipe, recipes, sides, "cuda", recipe.dtype, say, {})
        except torch.OutOfMemoryError:
            say("the GPU of this machine has no room for the untouched model: the CPU takes over")
        finally:
            torch.cuda.empty_cache()
    # Every CPU computes fast in float32, which has the range of bfloat16. Runs on a CPU are
    # compared with losses in their own dtype.
    narrow = device == "cpu" or recipe.dtype == "float16"
    dtype = recipe.dtype if narrow else "float32"
    known = {first.name: first.loss} if first is not None and first.dtype == dtype else {}
    seconds = first.seconds if known and first is not None else None
    return _measure(shared, recipe, recipes, sides, "cpu", dtype, say, known, seconds)


def _measure(
    shared: Shared,
    recipe: Recipe,
    recipes: Mapping[tuple[float, ...], Recipe],
    sides: Sides,
    device: str,
    dtype: str,
    say: Say,
    known: "Mapping[BatchName, float]",
    seconds_of_first: float | None = None,
) -> Baseline:
    import torch

    from nanochat.train.batches import make_batches
    from nanochat.train.forward_loss import mean_losses, untouched_model
    from nanochat.train.untouched import Order, losses_of_batches, untouched_curve

    batches: dict[Any, Batches] = {}
    for each in recipes.values():
        if each.batch_key() not in batches:
            made = make_batches(shared.examples, each, shared.pad_id, device)
            batches[each.batch_key()] = made
    orders = {
        key: Order.of_recipe(batches[each.batch_key()], each) for key, each in recipes.items()
    }
    model = untouched_model(shared.config, shared.weights, device)
    kind: torch.dtype = getattr(torch, dtype)
    validation = validation_batches(
        shared.validation, shared.pad_id, recipe.device_batch_size, device
    )
    longest = LONGEST_ON_CPU if device == "cpu" else None
    pace = _Pace(say, longest, seconds_of_first, len(validation))
    try:
        losses = losses_of_batches(model, orders.values(), kind, known, pace)
    except _TooLongError as error:
        say(f"{error}; {_LATER}")
        return Baseline(sides)
    curves = {key: untouched_curve(each, losses) for key, each in orders.items()}
    val_loss = float(mean_losses(model, validation, kind)) if validation else None
    return Baseline(sides, curves, val_loss, shared.config.n_embd)


class _Pace:
    """The progress of the losses: its lines, and its end where a CPU would take too long.

    Parameters
    ----------
    say
        Called with each line.
    longest
        Seconds that all batches may take; None for no limit.
    seconds
        Time of one batch, where it is known.
    more
        Number of batches that follow.
    """

    def __init__(self, say: Say, longest: float | None, seconds: float | None, more: int) -> None:
        self._say, self._longest, self._seconds, self._more = say, longest, seconds, more
        self._start = time.monotonic()
        self._second: float | None = None
        self._next_line = _SILENT

    def __call__(self, done: int, total: int) -> None:
        """Take the number of batches that are done, and of all.

        Raises
        ------
        _TooLongError
            If all would take too long.
        """
        passed = time.monotonic() - self._start
        if done == 1:
            self._second = passed  # the first batch also warms up
        elif done > 1 and self._second is not None:
            self._seconds = (passed - self._second) / (done - 1)
        all_seconds = passed + (self._seconds or 0.0) * (total + self._more - done)
        if self._longest is not None and all_seconds > self._longest:
            raise _TooLongError(
                f"the losses of the untouched model on {total + self._more:,} batches would take"
                f" about {all_seconds / 60:,.0f} min on this CPU (at most"
                f" {self._longest / 60:.0f} min): they are left out"
            )
        if passed >= self._next_line:
            self._next_line = passed + _BETWEEN_LINES
            self._say(f"untouched model: loss of {done:,} of {total:,} batches")
