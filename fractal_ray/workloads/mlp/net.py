"""What all networks of a sweep have in common."""

import math
from dataclasses import dataclass
from typing import Literal

Activation = Literal["tanh", "relu", "identity"]
OffsetMode = Literal["per_step", "init"]
Readout = Literal["mean_field", "standard"]


@dataclass(frozen=True)
class Net:
    """What all networks have in common.

    Parameters
    ----------
    activation
        "tanh" and "relu" with the gain sqrt(2), "identity" with 1.
    readout
        Factor of the output: "mean_field" 1/n (the paper's), "standard" 1/sqrt(n).
    steps
        Of gradient descent, at least 1.
    offset_mode
        When the offset is added to every entry of W0: "per_step", before each step (what the
        published code does: a drift), or "init", once.
    """

    activation: Activation
    readout: Readout
    steps: int
    offset_mode: OffsetMode

    def input_factor(self, width: int) -> float:
        """Of the inputs: the activation's gain over sqrt(n)."""
        return (1.0 if self.activation == "identity" else math.sqrt(2)) / math.sqrt(width)

    def output_factor(self, width: int) -> float:
        """Of the readout."""
        return 1 / width if self.readout == "mean_field" else 1 / math.sqrt(width)
