"""Batches of examples, collated once and used by every fine-tune that shares them."""

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nanochat.data.examples import Examples
from nanochat.errors import NanochatError
from nanochat.model.gpt import IGNORED
from nanochat.train.kernels import PLAIN, Kernels, bucket
from nanochat.train.recipe import Recipe

CACHED_BATCHES = 8192


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of a batch for a training step, on the device of the model.

    Attributes
    ----------
    inputs
        int64 tensor (B, T).
    labels
        int64 tensor (B, T).
        The tokens that follow, -1 where they are not supervised.
    positions
        int64 tensor (N,).
        Supervised ones in B·T, ascending. Where shapes repeat, position 0 again and again behind
        them.
    targets
        int64 tensor (N,).
        Token ids that follow these positions; -1 behind the supervised ones.
    count
        float32 tensor ().
        Supervised positions, at least 1.
    """

    inputs: Tensor
    labels: Tensor
    positions: Tensor
    targets: Tensor
    count: Tensor

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        if self.inputs.device == device:
            return self
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


class Batches:
    """Endless sequence of batches: ``batches[i]`` is made at its first use, then cached.

    It goes through the examples epoch after epoch; the last batch of an epoch holds what is left
    and may be smaller. Batches are shared: do not write to them.

    Parameters
    ----------
    batch_size
        At least 1.
    shuffle_seed
        A permutation drawn from (seed, epoch) in each epoch; None keeps the order.
    pad_id
        Token that fills rows up to the longest of the batch.
    device
        Device of the tensors.
    kernels
        If its shapes must repeat, rows have the length of a `bucket`, the
        last batch of an epoch has as many rows as the others, and what fills them is not
        supervised: the loss is the same.
    reach
        Positions that the model has, to which rows are padded at most.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        shuffle_seed: int | None,
        pad_id: int,
        device: str | torch.device = "cpu",
        kernels: Kernels = PLAIN,
        reach: int | None = None,
    ) -> None:
        if len(examples) == 0:
            raise NanochatError("there are no examples to make batches of")
        self.examples = examples
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.pad_id = pad_id
        self.device = torch.device(device)
        self._orders: dict[int, NDArray[np.int64]] = {}
        self.static = kernels.static
        self.reach = reach
        self._cache: OrderedDict[int, tuple[Batch, int]] = OrderedDict()

    @property
    def key(self) -> tuple[int, int | None]:
        """Return `Recipe.batch_key` of the recipes these batches are for."""
        return self.batch_size, self.shuffle_seed

    @property
    def per_epoch(self) -> int:
        """Return the number of batches in an epoch, at least 1."""
        return -(-len(self.examples) // self.batch_size)

    @property
    def first_supervised(self) -> int:
        """Return the number of supervised tokens in the first batch, at least 1."""
        return self.supervised(0)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return batch `index` (0, 1, ... without end).

        Returns
        -------
        inputs : int64 tensor (B, T)
            T is one less than the tokens of the longest example of the batch.
        targets : int64 tensor (B, T)
            The tokens that follow, -1 where they are not supervised.
        """
        batch = self.batch(index)
        return batch.inputs, batch.labels

    def batch(self, index: int) -> Batch:
        """Return the tensors of batch `index` for a training step."""
        return self._get(index)[0]

    def supervised(self, index: int) -> int:
        """Return the number of supervised tokens in batch `index`."""
        return self._get(index)[1]

    def filled(self, index: int) -> int:
        """Return the number of positions of batch `index` that are not padding."""
        if self.shuffle_seed is None:
            index %= self.per_epoch
        return int((self.examples.lengths[self._members(index)] - 1).sum())

    def _get(self, index: int) -> tuple[Batch, int]:
        if index < 0:
            raise IndexError(f"batch {index}: counted from 0")
        # Without shuffling every epoch is the first one.
        index = index % self.per_epoch if self.shuffle_seed is None else index
        if index not in self._cache:
            if len(self._cache) >= CACHED_BATCHES:
                self._cache.popitem(last=False)
            inputs, targets = self._collate(self._members(index))
            positions = np.flatnonzero(targets != IGNORED)
            chosen = targets.ravel()[positions]
            count = len(positions)
            if self.static:
                more = (0, bucket(count) - count)
                positions = np.pad(positions, more)
                chosen = np.pad(chosen, more, constant_values=IGNORED)
            parts = (inputs, targets, positions, chosen, np.float32(count))
            batch = Batch(*(torch.as_tensor(part, device=self.device) for part in parts))
            self._cache[index] = (batch, count)
        return self._cache[index]

    def _padded(self, length: int) -> int:
        """Return the bucket of a length, or the model's reach if it is less."""
        size = bucket(length)
        return size if self.reach is None else max(length, min(size, self.reach))

    def _members(self, index: int) -> NDArray[np.int64]:
        epoch, batch = divmod(index, self.per_epoch)
        return self._order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            count = len(self.examples)
            if self.shuffle_seed is None:
                order = np.arange(count)
            else:
                order = np.random.default_rng((self.shuffle_seed, epoch)).permutation(count)
            self._orders = {epoch: order}
        return self._orders[epoch]

    def _collate(self, members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        data = self.examples
        longest = int(data.lengths[members].max()) - 1
        shape = (self.batch_size, self._padded(longest)) if self.static else (len(members), longest)
        inputs = np.full(shape, self.pad_id, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        for row, member in enumerate(members):
            start, end = data.offsets[member], data.offsets[member + 1]
            length = end - start - 1
            inputs[row, :length] = data.ids[start : end - 1]
            spoken = data.mask[start + 1 : end] != 0
            targets[row, :length] = np.where(spoken, data.ids[start + 1 : end], IGNORED)
        return inputs, targets


def make_batches(
    examples: Examples,
    recipe: Recipe,
    pad_id: int,
    device: str | torch.device = "cpu",
    kernels: Kernels = PLAIN,
    reach: int | None = None,
) -> Batches:
    """Make the batches for every recipe with this `Recipe.batch_key`.

    Parameters
    ----------
    recipe
        Its batch size, and its seed where it shuffles.
    pad_id
        Id of ``<|assistant_end|>``, which is what fine-tunes pad with.
    reach
        Positions that the model has.
    """
    batch_size, seed = recipe.batch_key()
    return Batches(examples, batch_size, seed, pad_id, device, kernels, reach)
