"""Random numbers that depend on the place of their use, not on the order of calls."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX: Final = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
"""Multipliers of MurmurHash3's 64-bit finalizer (Appleby, public domain)."""


def scramble(bits: int) -> int:
    """Return the hash of one 64-bit number, the value that `mixed` gives for an array."""
    bits = ((bits ^ bits >> 33) * 0xFF51AFD7ED558CCD) & 0xFFFFFFFFFFFFFFFF
    bits = ((bits ^ bits >> 33) * 0xC4CEB9FE1A85EC53) & 0xFFFFFFFFFFFFFFFF
    return bits ^ bits >> 33


def mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes of 64-bit numbers: a bijection; each input bit flips half the output bits."""
    bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(_MIX[0])
    bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(_MIX[1])
    return bits ^ (bits >> np.uint64(33))


def key(seed: int, number: int = 0) -> np.uint64:
    """Return the key of the stream `number` under `seed`, both any integers."""
    return mixed(np.array([(seed * _GOLDEN + number) & _MASK], dtype=np.uint64))[0]


def bits_of(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the bits of float64 values, with -0.0 as 0.0: equal values have equal bits."""
    return (values + 0.0).view(np.uint64)


def uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return hashes as numbers in [0, 1), multiples of 2**-53."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_at(x: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for every point, keyed by the bits of its x and y and by `seed`."""
    return uniform(mixed(mixed(bits_of(x) ^ key(seed)) + bits_of(y)))
