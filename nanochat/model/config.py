"""Shape of a model. Needs no torch: the cost of a model is computed without loading it."""

from dataclasses import dataclass
from typing import Any, Self

from nanochat.errors import NanochatError

ROPE_REACH = 10  # length of the rotary table in units of sequence_len
LARGEST = 10**9  # limit of any number of a shape: no machine holds a larger model


@dataclass(frozen=True)
class GPTConfig:
    """Shape of the model; the fields are those of ``model_config`` in a checkpoint's meta file.

    Attributes
    ----------
    sequence_len
        Tokens the model was trained on at once. It accepts up to ten times as many.
    vocab_size
        Logits that come out. The two vocabulary matrices may have more rows (padding).
    n_layer, n_head, n_kv_head, n_embd
        Blocks, query heads, key/value heads (a divisor of `n_head`), width (`n_head` times an
        even head size).

    Raises
    ------
    NanochatError
        On construction, where a number is not from 1 to `LARGEST`, or they do not fit together.
    """

    sequence_len: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_number(name, value)
        if self.n_embd % self.n_head or (self.n_embd // self.n_head) % 2:
            raise NanochatError(
                f"model n_embd must be n_head times an even head size, not {self.n_embd} for "
                f"{self.n_head} heads"
            )
        if self.n_head % self.n_kv_head:
            raise NanochatError(
                f"n_kv_head must divide the {self.n_head} heads, not {self.n_kv_head}"
            )

    @classmethod
    def from_depth(
        cls,
        depth: int,
        *,
        vocab_size: int,
        sequence_len: int,
        model_dim: int | None = None,
        head_dim: int = 128,
        n_kv_head: int | None = None,
    ) -> Self:
        """Derive a config from the depth, as nanochat does: width 64·depth, heads of `head_dim`.

        Parameters
        ----------
        depth
            Number of blocks.
        model_dim
            Width in place of 64·depth.
        head_dim
            Size of a head, even, that decides how many there are; they share the width equally.
        n_kv_head
            Key/value heads in place of one per query head.

        Raises
        ------
        NanochatError
            Where the numbers do not fit together; it names the parameter.
        """
        width = depth * 64 if model_dim is None else model_dim
        for name, value in (("depth", depth), ("model_dim", width), ("head_dim", head_dim)):
            check_number(name, value)
        if head_dim % 2:
            raise NanochatError(f"head_dim must be even, not {head_dim}")
        heads = -(-width // head_dim)
        if width % heads or width // heads % 2:
            raise NanochatError(
                f"model_dim {width} cannot be shared by {heads} heads of an even size (head_dim "
                f"{head_dim}, rounded up)"
            )
        kv_heads = heads if n_kv_head is None else n_kv_head
        return cls(sequence_len, vocab_size, depth, heads, kv_heads, width)

    @property
    def reach(self) -> int:
        """Return the largest number of tokens of an input: the length of the rotary table."""
        return ROPE_REACH * self.sequence_len

    @property
    def head_dim(self) -> int:
        """Return the size of a head."""
        return self.n_embd // self.n_head

    @property
    def kv_width(self) -> int:
        """Return the number of channels of the keys, and of the values."""
        return self.n_kv_head * self.head_dim


def check_number(name: str, value: Any) -> None:
    """Raise unless `value` is a whole number from 1 to `LARGEST`."""
    if type(value) is not int or not 1 <= value <= LARGEST:
        text = f"{value:,}" if type(value) is int else repr(value)
        raise NanochatError(f"{name} must be from 1 to {LARGEST:,}, not {text}")
