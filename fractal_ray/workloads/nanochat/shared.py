"""Data of a fine-tune that the driver prepares once and every worker opens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nanochat.data.examples import Examples
    from nanochat.model.gpt import GPTConfig


@dataclass(frozen=True)
class Shared:
    """Weights and tokenised conversations as plain arrays, read-only for every worker.

    Under Ray they lie in the object store, so all workers of a machine share one copy.
    """

    config: "GPTConfig"
    weights: dict[str, NDArray[np.float32]]
    examples: "Examples"
    pad_id: int
    validation: "Examples | None" = None
    """Examples of the validation batches; None without validation."""
