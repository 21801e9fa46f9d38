"""The common result of all estimators of a dimension."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """Dimension with the facts needed to judge it.

    Parameters
    ----------
    method
        Name of the estimator and of its data, such as "transects of a label function".
    value
        The dimension, 0 to 2; None without an answer, and `warnings` gives the reason.
    interval
        (low, high) at 95 %, within 0 to 2: bootstrap over blocks and the spread over scale ranges
        together, never the least-squares error. None if there is nothing to resample.
    unit
        Unit of the scales: "cells", "frame sides", "line lengths".
    scales
        (k,) all measured scales, the coarsest first.
    measured
        (k,) the quantity at each scale (a count, a share, an area: see the estimator).
    fit_scales
        (coarsest, finest) scale that entered the fit, or None like `value`.
    local_slopes
        (k - 1,) dimensions from each scale to the next; NaN if a scale shows nothing.
    blocks
        Number of independent parts behind the interval.
    warnings
        Sentences to print beside the dimension.
    """

    method: str
    value: float | None
    interval: tuple[float, float] | None
    unit: str
    scales: tuple[float, ...]
    measured: tuple[float, ...]
    fit_scales: tuple[float, float] | None
    local_slopes: tuple[float, ...]
    blocks: int
    warnings: tuple[str, ...]

    @property
    def base(self) -> int:
        """Return the base of the fit (`scaling.py`): the slope of the line is ``base - D``."""
        pairs = zip(pairwise(self.scales), pairwise(self.measured), strict=True)
        for ((wide, fine), (first, then)), local in zip(pairs, self.local_slopes, strict=True):
            if first > 0 and then > 0:
                return round(local + math.log(then / first) / math.log(fine / wide))
        return 0

    def __str__(self) -> str:
        """Return the value, its interval and its range on one line."""
        if self.value is None or self.fit_scales is None:
            return f"{self.method}: no dimension ({'; '.join(self.warnings)})"
        within = "no interval"
        if self.interval is not None:
            within = f"95 %: {self.interval[0]:.3f} to {self.interval[1]:.3f}"
        coarse, fine = self.fit_scales
        span = f"over {fine:.3g} to {coarse:.3g} {self.unit}"
        return f"{self.method}: D = {self.value:.3f} ({within}), {span}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)
