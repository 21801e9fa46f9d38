"""The number of steps of the runs of a sweep of fine-tunes."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fractal_ray.workloads.nanochat.shared import Shared
from fractal_ray.workloads.section import PlannedRuns
from nanochat.errors import NanochatError
from nanochat.train.recipe import Recipe

ORDERING = ("device_batch_size", "target_examples_per_step", "seed")
"""Parameters that can change the batches of a step."""


def planned_steps(
    recipe: Recipe,
    values: Mapping[str, ArrayLike],
    tokens_of_step: Callable[[Recipe], int] | None = None,
) -> NDArray[np.int64] | None:
    """Return the planned steps of runs.

    Parameters
    ----------
    recipe
        The fixed recipe.
    values
        Swept parameters with their values: numbers, or arrays that broadcast.
    tokens_of_step
        Function that returns the supervised tokens of the first step of a recipe; None where the
        data are not at hand.

    Returns
    -------
    int64 array or None
        In the common shape of the values; 0 for values that exclude each other. None where the data
        decide and are not at hand.
    """
    arrays = {name: np.asarray(value) for name, value in values.items()}
    shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    if "num_iterations" in arrays or recipe.num_iterations > 0:
        steps = arrays.get("num_iterations", np.asarray(recipe.num_iterations))
        return np.broadcast_to(steps, shape).astype(np.int64)
    if tokens_of_step is None:
        return None
    tokens = np.broadcast_to(arrays.get("num_tokens", np.asarray(recipe.num_tokens)), shape)
    order = [name for name in ORDERING if name in arrays]
    columns = [np.broadcast_to(arrays[name], shape).ravel() for name in order]
    if not columns:
        first = np.asarray(tokens_of_step(recipe))
    else:
        pairs, which = np.unique(np.stack(columns), axis=1, return_inverse=True)
        each = [
            _or_zero(tokens_of_step, recipe, dict(zip(order, pair, strict=True)))
            for pair in pairs.T.tolist()
        ]
        first = np.asarray(each)[which.ravel()].reshape(shape)
    steps = -(-tokens.astype(np.int64) // np.maximum(1, first))
    return np.where(first > 0, np.maximum(1, steps), 0)


def least_steps_note(recipe: Recipe, planned: PlannedRuns, max_seq_len: int) -> str | None:
    """Return a line on the least number of steps of a run; None where `num_iterations` sets it.

    The data decide the number: a step takes the supervised tokens of its rows, at most
    `max_seq_len` - 1 each. To count them, the tokenizer and all rows have to be read.
    """
    values = planned.grid_values()
    if planned_steps(recipe, values) is not None:
        return None
    tokens = values.get("num_tokens", np.asarray(recipe.num_tokens)).astype(np.int64)
    sizes = [
        values.get(name, np.asarray(getattr(recipe, name))).astype(np.int64)
        for name in ("device_batch_size", "target_examples_per_step")
    ]
    most = np.maximum(*sizes) * (max_seq_len - 1)
    steps = -(-tokens // np.maximum(1, most))
    fewest, largest = int(steps.min()), int(steps.max())
    least = f"{fewest:,}" if fewest == largest else f"{fewest:,} to {largest:,}"
    return (
        f"steps: at least {least} a run (num_tokens over rows of at most {max_seq_len - 1:,}"
        " supervised tokens); run counts them in the data"
    )


def _or_zero(
    tokens_of_step: Callable[[Recipe], int], recipe: Recipe, values: Mapping[str, float]
) -> int:
    try:
        return tokens_of_step(recipe.with_values(values))
    except NanochatError:  # two values that exclude each other: that point fails in its run
        return 0


def tokens_of_step(shared: Shared, recipe: Recipe) -> int:
    """Return the supervised tokens of the first batch of a recipe, times its batches in a step."""
    from nanochat.train.batches import make_batches

    batches = make_batches(shared.examples, recipe, shared.pad_id)
    return batches.first_supervised * recipe.accumulation
