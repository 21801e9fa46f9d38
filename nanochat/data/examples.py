"""Tokenised conversations as flat arrays: small, quick to pickle, safe to share read-only."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanochat.errors import NanochatError

if TYPE_CHECKING:  # a machine that only trains needs no tokenizer
    from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Examples:
    """Token ids of conversations, joined. Methods never write to the arrays.

    Attributes
    ----------
    ids
        int32 array (N,).
        Token ids of all examples.
    mask
        uint8 array (N,).
        1 where the token is to be predicted, else 0.
    offsets
        int64 array (examples + 1,).
        Example i is ``ids[offsets[i]:offsets[i + 1]]``.
    truncated
        Conversations that were cut to the maximal length.
    skipped
        Conversations left out because nothing in them is to be predicted.
    """

    ids: NDArray[np.int32]
    mask: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    truncated: int = 0
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each example, at least 2."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Return the examples with these numbers, in this order."""
        ends = self.offsets[rows + 1]
        where = [np.arange(a, b) for a, b in zip(self.offsets[rows], ends, strict=True)]
        at = np.concatenate(where)
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64)
        return Examples(self.ids[at], self.mask[at], offsets)

    @cached_property
    def num_supervised(self) -> int:
        """Return the number of tokens to predict; never the first token of an example."""
        return int(self.mask.sum(dtype=np.int64) - self.mask[self.offsets[:-1]].sum(dtype=np.int64))

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the three arrays."""
        digest = hashlib.sha256()
        for array in (self.ids, self.mask, self.offsets):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def tokenize_conversations(
    conversations: Iterable[Sequence[Mapping[str, Any]]], tokenizer: "Tokenizer", max_seq_len: int
) -> Examples:
    """Tokenise conversations, in their order.

    Parameters
    ----------
    max_seq_len
        Tokens kept of a conversation, at least 2.

    Raises
    ------
    NanochatError
        For a bad length or conversation, or when no conversation leaves anything to predict.
    """
    if max_seq_len < 2:
        raise NanochatError(f"max_seq_len must be at least 2, not {max_seq_len}")
    kept: list[tuple[list[int], list[int]]] = []
    truncated = skipped = 0
    for number, messages in enumerate(conversations, 1):
        try:
            # One token more than is kept shows if a conversation was cut or just fits.
            ids, mask = tokenizer.render_conversation(messages, max_seq_len + 1)
        except NanochatError as error:
            raise NanochatError(f"conversation {number}: {error}") from error
        truncated += len(ids) > max_seq_len
        ids, mask = ids[:max_seq_len], mask[:max_seq_len]
        if any(mask[1:]):
            kept.append((ids, mask))
        else:
            skipped += 1
    if not kept:
        raise NanochatError(
            f"none of the {skipped} conversations leaves anything to predict within "
            f"max_seq_len {max_seq_len}"
        )
    return Examples(
        ids=np.concatenate([np.asarray(ids, np.int32) for ids, _ in kept]),
        mask=np.concatenate([np.asarray(mask, np.uint8) for _, mask in kept]),
        offsets=np.cumsum([0, *(len(ids) for ids, _ in kept)], dtype=np.int64),
        truncated=truncated,
        skipped=skipped,
    )
