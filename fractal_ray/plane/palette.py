"""Colours and names of outcomes and labels, which figures, reports and screens share."""

from typing import Final

from fractal_ray.plane.boundary import (
    BROKEN,
    NOT_DIVERGED,
    NOT_TRAINED,
    OUTCOME_CODES,
    POSSIBLE,
    UNBROKEN,
)
from fractal_ray.plane.outcome import Outcome

OUTCOME_COLORS: Final = {
    Outcome.TRAINED: "#0072B2",
    Outcome.NOT_IMPROVED: "#F0E442",
    Outcome.DIVERGED: "#D55E00",
    Outcome.TOO_SLOW: "#56B4E9",
    Outcome.DEGRADED: "#E69F00",
    Outcome.TOO_SHORT: "#8C8C8C",
}
"""Colours of outcomes, of Okabe and Ito, which people with any common colour blindness can
distinguish: blues for runs that did no harm, orange and vermilion for those that broke the model,
yellow where the curve is not known, grey where the run shows nothing."""

OUTCOME_NAMES: Final = {
    Outcome.TRAINED: "trained",
    Outcome.NOT_IMPROVED: "not improved",
    Outcome.DIVERGED: "diverged",
    Outcome.TOO_SLOW: "too slow",
    Outcome.DEGRADED: "degraded",
    Outcome.TOO_SHORT: "too short",
}
"""Outcomes as legends write them."""

YES: Final = {"trainable": "trainable", "stable": "stable", "broken": "unbroken"}
NO: Final = {"trainable": "not trainable", "stable": "diverged", "broken": "broken"}
"""Names of points with the label yes, and with the label no, by boundary."""
UNLABELLED: Final = "too short, or without a curve"
"""Name of runs that have no label."""

MEASURED_COLORS: Final = ("#F0B59A", "#D55E00", "#B3D4E8", "#0072B2")
"""Colours of labels, pale where inferred: no, no by a run, yes, yes by a run."""

_COLORS: Final = {
    **{code: OUTCOME_COLORS[outcome] for outcome, code in OUTCOME_CODES.items()},
    NOT_TRAINED: MEASURED_COLORS[0],
    NOT_DIVERGED: MEASURED_COLORS[2],
    UNBROKEN: MEASURED_COLORS[2],
    BROKEN: MEASURED_COLORS[0],
}
CODE_COLORS: Final = {code: _COLORS[code] for code in POSSIBLE}
"""Colours of the codes in `Raster.outcome`, in order; pale where an inferred node may have either
of two outcomes."""

CODE_NAMES: Final = {
    code: " or ".join(OUTCOME_NAMES[outcome] for outcome in possible)
    for code, possible in POSSIBLE.items()
}
"""Names of the codes in `Raster.outcome`."""
