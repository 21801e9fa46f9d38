"""How the steps of a fine-tune are computed: switches that change its speed, not its mathematics.

No torch here: a spec is checked without loading it. What each switch gains is in
docs/benchmarks.md.
"""

from bisect import bisect_left
from dataclasses import dataclass, fields

SMALLEST = 32
_BUCKETS = sorted(part << power for power in range(28) for part in (SMALLEST, SMALLEST * 3 // 2))


@dataclass(frozen=True)
class Kernels:
    """Which kernels compute a step.

    Attributes
    ----------
    full_logits : bool
        Every position through the whole last block and the head, and the loss by autograd, as the
        source does: its numbers to the last bit (float32, bfloat16), at more time and memory. By
        default only supervised positions, whose sums round differently.
    compile : bool
        Forward and backward pass and the orthogonalization of Muon through ``torch.compile``:
        fewer and larger kernels, which round differently from the plain ones. It takes tens of
        seconds for each worker and bucket; torch keeps what it compiled on the node's disk
        (TORCHINDUCTOR_CACHE_DIR), where other workers find it.
    cuda_graphs : bool
        Whole steps recorded once for each bucket and replayed, without Python between their
        kernels. On a CUDA device only; the kernels are those of the step that was recorded.
    """

    full_logits: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def static(self) -> bool:
        """Whether shapes must repeat: batches are then padded to the lengths of `bucket`."""
        return self.compile or self.cuda_graphs

    def stack(self, dtype: str) -> bool:
        """Whether copies can be trained side by side in this `Recipe.dtype`: logits of all
        positions go through autograd as one model's, and float16 has one loss scale for all."""
        return not self.full_logits and dtype != "float16"

    def __str__(self) -> str:
        """Names of those that are on; empty for the plain kernels."""
        return ", ".join(field.name for field in fields(self) if getattr(self, field.name))


PLAIN = Kernels()


def bucket(size: int) -> int:
    """The least of 32, 48, 64, 96, 128, 192, ... that is at least `size`.

    A size is padded by half at most, from 32 on, and between two powers of two there are only two
    shapes to compile.
    """
    return _BUCKETS[bisect_left(_BUCKETS, size)]
