"""Choice of the most trustworthy estimator that the data allow."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from fractal_ray.errors import SweepError

Data = Literal["label function", "transects", "pairs", "refined levels", "raster"]


@dataclass(frozen=True)
class Choice:
    """Estimator with the reason to prefer it.

    Parameters
    ----------
    data
        Kind of data that it needs.
    estimator
        Its module and function below `fractal_ray.dimension`.
    why
        The reason, as text.
    """

    data: Data
    estimator: str
    why: str


PREFERRED: Final = (
    Choice(
        "label function",
        "transects.from_label",
        "lines meet the border at every scale, and the function is asked where it flips",
    ),
    Choice(
        "transects",
        "transects.from_flips",
        "every label counts at several scales, and random lines favour no part of the border",
    ),
    Choice(
        "pairs",
        "uncertainty.from_pairs",
        "random pairs favour no part of the border, but a label counts at one scale only",
    ),
    Choice(
        "refined levels",
        "levels.from_refinement",
        "the finest lattice for its runs, but boxes bend on graphs and islands may be missed",
    ),
    Choice(
        "raster",
        "transects.from_raster",
        "flips along rows and columns bend less than boxes do on a lattice that is never fine"
        " enough",
    ),
)
"""Estimators, the best first, ordered by benchmarks/dimension.py (see docs/benchmarks.md)."""


def recommended(available: Collection[str]) -> Choice:
    """Return the most trustworthy estimator.

    Parameters
    ----------
    available
        Kinds of data at hand, from the `data` of `PREFERRED`. A grid has a raster; a refined stage
        has levels and a raster.

    Raises
    ------
    SweepError
        If `available` is empty, or holds an unknown kind of data.
    """
    known = [choice.data for choice in PREFERRED]
    if not available or set(available) - set(known):
        raise SweepError(
            f"an estimator needs one or more of {', '.join(known)};"
            f" given {', '.join(sorted(available)) or 'nothing'}"
        )
    return next(choice for choice in PREFERRED if choice.data in available)
