"""Products that a fine-tune's step cannot do without, and what a card could do in the same time."""

import re

import numpy as np
from numpy.typing import NDArray

from nanochat.model.config import GPTConfig
from nanochat.train.optim.muon import NEWTON_SCHULZ_STEPS

PEAKS = {
    r"H100 80GB HBM3|H100 SXM": 989e12,
    r"H200": 989e12,
    r"A100": 312e12,
    r"\bL4\b": 121e12,
}
"""Dense bfloat16 FLOP/s by NVIDIA's data sheets; cards by what CUDA calls them."""


def peak_flops(card: str) -> float | None:
    """Look up the bfloat16 FLOP/s of a card; None if it is not in `PEAKS`."""
    return next((peak for name, peak in PEAKS.items() if re.search(name, card)), None)


def step_flops(
    config: GPTConfig, lengths: NDArray[np.int64], supervised: int, trained: tuple[str, ...]
) -> float:
    """Count the FLOPs of those matrix products that the result of a step on one batch needs.

    With width d, keys of width k, L blocks, vocabulary V, rows of n positions without padding
    (N in all), of which S are supervised; a multiply-add is 2:

    ====================  =======================================================================
    queries, keys,        2·d·(d + 2k) · N in each block
    values
    attention             2·d·n·(n + 1) for each row in each block: two products, the causal half
    the rest              18·d² in each block for each of the N positions, in the last block of
                          the S: after attention positions are apart, and no other has a loss
    head                  2·d·V · S
    ====================  =======================================================================

    The backward pass takes as much again for the gradients of trained matrices, and once more
    (attention: twice) for those of activations that lie behind something trained: all, but for the
    input of the first block where the embedding is fixed, and none of the blocks where the head
    alone is trained. Not counted: operations other than products, those that gradient
    checkpointing or attention repeats, and the optimizer (`muon_flops`).

    Parameters
    ----------
    config : GPTConfig
    lengths : int array (rows,)
        Positions of each row that are no padding.
    supervised : int
    trained : tuple of str
        Groups of `nanochat.train.recipe.GROUPS`.
    """
    width, blocks, positions = config.n_embd, config.n_layer, int(lengths.sum())
    projected = 2 * width * (width + 2 * config.kv_width) * positions
    mixed = 2.0 * width * float((lengths * (lengths + 1)).sum())
    rest = 18 * width**2 * ((blocks - 1) * positions + supervised)
    head = 2 * width * config.vocab_size * supervised
    total = blocks * (projected + mixed) + rest + head
    if "unembedding" in trained:
        total += head
    if "matrix" in trained:
        total += blocks * projected + rest
    if "matrix" in trained or "embedding" in trained:
        total += head + blocks * (projected + 2 * mixed) + rest
        if "embedding" not in trained:
            total -= projected
    return total


def muon_flops(config: GPTConfig) -> float:
    """Count FLOPs of Newton-Schulz on all block matrices: 4m²M + 2m³ a step for m x M, m ≤ M."""
    width, kv = config.n_embd, config.kv_width
    shapes = [(width, width)] * 2 + [(kv, width)] * 2 + [(width, 4 * width)] * 2
    each = sum(4.0 * m * m * n + 2.0 * m**3 for m, n in shapes)
    return config.n_layer * NEWTON_SCHULZ_STEPS * each
