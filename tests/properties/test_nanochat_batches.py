"""Every example is in every epoch once, and nothing that is padding is ever a target."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data.examples import Examples
from nanochat.train.batches import make_batches
from nanochat.train.recipe import Recipe

PAD = 0


@st.composite
def example_sets(draw: Any) -> Any:
    """Draw examples whose tokens all differ, so that each can be recognized in a batch."""
    lengths = draw(st.lists(st.integers(2, 12), min_size=1, max_size=20))
    offsets = np.cumsum([0, *lengths])
    total = int(offsets[-1])
    bits = draw(st.lists(st.integers(0, 1), min_size=total, max_size=total))
    mask = np.asarray(bits, np.uint8)
    mask[offsets[1:] - 1] = 1
    examples = Examples(np.arange(1, total + 1, dtype=np.int32), mask, offsets.astype(np.int64))
    for array in (examples.ids, examples.mask, examples.offsets):
        array.flags.writeable = False
    return examples


@settings(deadline=None)
@given(example_sets(), st.integers(1, 7), st.booleans(), st.integers(0, 3))
def test_an_epoch_holds_each_example_once(
    examples: Any, size: Any, shuffle: Any, epoch: Any
) -> None:
    batches = make_batches(examples, Recipe(device_batch_size=size, shuffle=shuffle), PAD)
    seen, supervised = [], 0
    for index in range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch):
        inputs, targets = (tensor.numpy() for tensor in batches[index])
        assert inputs.shape == targets.shape
        assert len(inputs) <= size
        real = inputs != PAD
        assert (real.sum(1).max()) == inputs.shape[1]  # no column is padding throughout
        assert (targets[~real] == -1).all()
        spoken = targets != -1
        assert (targets[spoken] == inputs[spoken] + 1).all()  # the token that follows
        assert spoken.any(1).all()
        assert batches.supervised(index) == spoken.sum() > 0
        seen += inputs[:, 0].tolist()
        supervised += int(spoken.sum())
    assert sorted(seen) == examples.ids[examples.offsets[:-1]].tolist()
    assert supervised == examples.num_supervised
    if not shuffle:
        assert seen == sorted(seen)


@settings(deadline=None)
@given(example_sets(), st.integers(1, 7), st.integers(0, 40))
def test_batches_do_not_depend_on_what_was_asked_before(
    examples: Any, size: Any, index: Any
) -> None:
    recipe = Recipe(device_batch_size=size, shuffle=True)
    used, fresh = (make_batches(examples, recipe, PAD) for _ in range(2))
    for earlier in range(index):
        used[earlier]
    for one, other in zip(used[index], fresh[index], strict=True):
        assert (one == other).all()


def test_no_examples_are_refused() -> None:
    empty = Examples(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="no examples"):
        make_batches(empty, Recipe(), PAD)
