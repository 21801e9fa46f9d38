"""The architecture that all networks of a sweep share."""

import math
from dataclasses import dataclass
from typing import Literal

Activation = Literal["tanh", "relu", "identity"]
OffsetMode = Literal["per_step", "init"]
Readout = Literal["mean_field", "standard"]


@dataclass(frozen=True)
class Net:
    """The architecture of a network and its number of steps.

    Parameters
    ----------
    activation
        "tanh" and "relu" with the gain sqrt(2), "identity" with 1.
    readout
        Factor of the output: "mean_field" 1/n (as in arXiv 2402.06184), "standard" 1/sqrt(n).
    steps
        Number of steps of gradient descent, at least 1.
    offset_mode
        Time at which the offset is added to every entry of W0: "per_step", before each step (a
        drift, as in the code of arXiv 2402.06184), or "init", once.
    """

    activation: Activation
    readout: Readout
    steps: int
    offset_mode: OffsetMode

    def input_factor(self, width: int) -> float:
        """Return the factor of the inputs: the gain of the activation over sqrt(n)."""
        return (1.0 if self.activation == "identity" else math.sqrt(2)) / math.sqrt(width)

    def output_factor(self, width: int) -> float:
        """Return the factor of the output."""
        return 1 / width if self.readout == "mean_field" else 1 / math.sqrt(width)
