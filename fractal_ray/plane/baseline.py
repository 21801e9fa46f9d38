"""Losses of the untouched model on the batches of a fine-tune: the zero of "better" and "worse".

Batches differ in difficulty. A loss that rises from one step to the next may be a harder batch; a
loss above that of the untouched model on the same batch is damage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float32]
"""Losses by step, (n,) float32, in nats per token."""
Sides = tuple[Literal["x", "y"], ...]


@dataclass(frozen=True, eq=False)
class Baseline:
    """Losses of the untouched model by step, for each order of the batches of a sweep.

    Parameters
    ----------
    sides
        Sides of the plane whose parameter changes the order of the batches: (), ("x",), ("y",) or
        ("x", "y").
    curves
        For each value of these parameters, in the order of `sides`: the loss of the untouched model
        on the batch of each step, as many as the longest run with this order has.
    val_loss
        Loss of the untouched model on the validation batches; None without validation.
    width
        Width of the model, by which its rates are scaled; None where it is not known.
    """

    sides: Sides = ()
    curves: Mapping[tuple[float, ...], Curve] = field(default_factory=dict)
    val_loss: float | None = None
    width: int | None = None

    def curve(self, x: float, y: float) -> Curve | None:
        """Return the losses on the batches of a point, by step; None if they are not known."""
        values = {"x": x, "y": y}
        return self.curves.get(tuple(values[side] for side in self.sides))


NO_BASELINE: Final = Baseline()
"""The baseline of a sweep whose untouched model has not been evaluated."""
