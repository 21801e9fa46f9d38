"""Colours and names of outcomes, which figures, reports and screens share. Pure data."""

from typing import Final

from fractal_ray.plane.boundary import NOT_DIVERGED, NOT_TRAINED, OUTCOME_CODES, POSSIBLE
from fractal_ray.plane.outcome import Outcome

OUTCOME_COLORS: Final = {
    Outcome.TRAINED: "#0072B2",
    Outcome.NOT_IMPROVED: "#F0E442",
    Outcome.DIVERGED: "#D55E00",
}
"""Colours of outcomes: blue, yellow and vermilion of Okabe and Ito, which people with any common
colour blindness can distinguish."""

OUTCOME_NAMES: Final = {
    Outcome.TRAINED: "trained",
    Outcome.NOT_IMPROVED: "not improved",
    Outcome.DIVERGED: "diverged",
}
"""Outcomes as legends write them."""

NO: Final = {"trainable": "not trainable", "stable": "diverged"}
"""Names of points without a label yes, by boundary."""

MEASURED_COLORS: Final = ("#F2C6A5", "#D55E00", "#B3D4E8", "#0072B2")
"""Colours of labels, pale where inferred: no, no by a run, yes, yes by a run."""

CODE_COLORS: Final = {
    **{code: OUTCOME_COLORS[outcome] for outcome, code in OUTCOME_CODES.items()},
    NOT_TRAINED: MEASURED_COLORS[0],
    NOT_DIVERGED: MEASURED_COLORS[2],
}
"""Colours of the codes in `Raster.outcome`, in order; pale where an inferred node may have either
of two outcomes."""

CODE_NAMES: Final = {
    code: " or ".join(OUTCOME_NAMES[outcome] for outcome in possible)
    for code, possible in POSSIBLE.items()
}
"""Names of the codes in `Raster.outcome`."""
