"""Switches of the computation of a step: they change its speed, not its mathematics.

Importing this loads no torch: a spec is checked without it. docs/benchmarks.md has the gain of
each switch.
"""

from bisect import bisect_left
from dataclasses import dataclass, fields

SMALLEST = 32
_BUCKETS = sorted(part << power for power in range(28) for part in (SMALLEST, SMALLEST * 3 // 2))


@dataclass(frozen=True)
class Kernels:
    """Switches of the kernels that compute a step.

    Attributes
    ----------
    full_logits
        Every position through the whole last block and the head, and the loss by autograd, as
        nanochat 8f979a8 does: its numbers to the last bit (float32, bfloat16), at more time
        and memory. By default only supervised positions, whose sums round differently.
    compile
        Forward and backward pass and the orthogonalization of Muon through ``torch.compile``:
        fewer and larger kernels, which round differently from the plain ones. It takes tens of
        seconds for each worker and bucket; torch keeps what it compiled on the node's disk
        (TORCHINDUCTOR_CACHE_DIR), where other workers find it.
    cuda_graphs
        Whole steps recorded once for each bucket and replayed, without Python between their
        kernels. On a CUDA device only; the kernels are those of the step that was recorded.
    """

    full_logits: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def static(self) -> bool:
        """Return True if shapes must repeat: batches are then padded to the lengths of `bucket`."""
        return self.compile or self.cuda_graphs

    def stack(self, dtype: str) -> bool:
        """Return True if copies can be trained side by side in this `Recipe.dtype`.

        False for `full_logits`, whose logits go through autograd as one model's, and for float16,
        which has one loss scale for all copies.
        """
        return not self.full_logits and dtype != "float16"

    def __str__(self) -> str:
        """Return the names of the switches that are on; empty for the plain kernels."""
        return ", ".join(field.name for field in fields(self) if getattr(self, field.name))


PLAIN = Kernels()


def bucket(size: int) -> int:
    """Return the least of 32, 48, 64, 96, 128, 192, ... that is at least `size`.

    A size is padded by half at most, from 32 on, and between two powers of two there are only two
    shapes to compile.
    """
    return _BUCKETS[bisect_left(_BUCKETS, size)]
