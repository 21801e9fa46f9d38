"""Labels from the outcomes on a lattice, and boundary cells from labels.

A *label* is a yes/no made from outcomes; a *boundary cell* is a lattice square whose four corners
disagree. That is the sign-change test of Sohl-Dickstein (arXiv 2402.06184, `extract_edges`), which
is one cell thick and sees nothing at the rim of the picture. The dilation-xor-erosion edge of
fractal-llm is two points thick and counts a rim of trainable points as border, so a frame in which
everything trains gets a "dimension" of 1.15 from it.

Points that were not measured stay unknown here: no neighbour's answer is copied into them. A
refined lattice comes with its unmeasured points filled in, and marked (`analysis/frame_data.py`).
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fractal_ray.errors import SweepError, nearest
from fractal_ray.plane.outcome import SPLIT, Outcome
from nanochat.errors import quoted

UNKNOWN: Final = -1
"""Code of a point without an outcome, in rasters and in label arrays alike."""

NOT_TRAINED: Final = 3
NOT_DIVERGED: Final = 4
UNBROKEN: Final = 8
BROKEN: Final = 9
"""Codes of inferred nodes with one known label and two possible outcomes: not improved or diverged;
trained or not improved; trained or too slow; degraded or diverged."""

POSSIBLE: Final = {
    0: (Outcome.TRAINED,),
    1: (Outcome.NOT_IMPROVED,),
    2: (Outcome.DIVERGED,),
    NOT_TRAINED: (Outcome.NOT_IMPROVED, Outcome.DIVERGED),
    NOT_DIVERGED: (Outcome.TRAINED, Outcome.NOT_IMPROVED),
    5: (Outcome.TOO_SLOW,),
    6: (Outcome.DEGRADED,),
    7: (Outcome.TOO_SHORT,),
    UNBROKEN: (Outcome.TRAINED, Outcome.TOO_SLOW),
    BROKEN: (Outcome.DEGRADED, Outcome.DIVERGED),
}
"""Possible outcomes by code in `Raster.outcome`, for all codes but `UNKNOWN`."""

OUTCOME_CODES: Final = {
    possible[0]: code for code, possible in POSSIBLE.items() if len(possible) == 1
}
"""Codes of outcomes in `Raster.outcome`."""

_NOT_IMPROVED: Final = (Outcome.NOT_IMPROVED, *SPLIT)
# boundary name -> the outcomes that are labelled 1 ("yes") and 0 ("no"); others have no label
_LABELS: Final = {
    "trainable": ((Outcome.TRAINED,), (*_NOT_IMPROVED, Outcome.DIVERGED)),
    "stable": ((Outcome.TRAINED, *_NOT_IMPROVED), (Outcome.DIVERGED,)),
    "broken": ((Outcome.TRAINED, Outcome.TOO_SLOW), (Outcome.DEGRADED, Outcome.DIVERGED)),
}
BOUNDARIES: Final = tuple(_LABELS)
"""Names of the boundaries that `labels` accepts."""
Boundary = Literal["trainable", "stable", "broken"]
"""Type of these names."""


@dataclass(frozen=True)
class Raster:
    """Outcomes of one frame's lattice, ``ny`` by ``nx`` points.

    Arrays are (ny, nx): row = y address (low to high), column = x address.

    Parameters
    ----------
    outcome
        (ny, nx) int8: `UNKNOWN` (-1) where nothing is known, else a key of `POSSIBLE`. A run has
        one outcome; `NOT_TRAINED` and `NOT_DIVERGED` are of inferred nodes only.
    loss
        (ny, nx) float64 final loss in nats per token, NaN where not known; a diverged run may
        carry infinity or NaN.
    x, y
        (nx,) and (ny,) float64 axis values in real units (not logarithms), never decreasing.
    x_name, y_name
        Names of the swept parameters.
    x_scale, y_scale
        "log" or "linear".
    inferred
        (ny, nx) bool, True where the outcome is not a run's own but follows from the cell that the
        node lies in; None where there is no such node.
    long_window
        (ny, nx) bool, True at runs whose label window is more than half of their steps; None where
        there is no such run.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a scale is neither "log" nor "linear".
    """

    outcome: NDArray[np.int8]
    loss: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_name: str
    y_name: str
    x_scale: str
    y_scale: str
    inferred: NDArray[np.bool_] | None = None
    long_window: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not describe one lattice."""
        shape = (*self.y.shape, *self.x.shape)
        if not self.outcome.shape == self.loss.shape == shape:
            raise ValueError(
                f"outcome {self.outcome.shape} and loss {self.loss.shape} must both be "
                f"(len(y), len(x)) = {shape}"
            )
        for scale in (self.x_scale, self.y_scale):
            if scale not in ("log", "linear"):
                raise ValueError(f"scale {scale!r} is neither 'log' nor 'linear'")

    @property
    def known(self) -> NDArray[np.bool_]:
        """Return (ny, nx) bool, True at nodes with one or two outcomes, run or inferred."""
        return self.outcome != UNKNOWN

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Return (ny, nx) bool, True where the outcome is that of a run."""
        return self.known if self.inferred is None else self.known & ~self.inferred


@dataclass(frozen=True)
class BoundaryCells:
    """The cells of a lattice of ``ny`` by ``nx`` points.

    Parameters
    ----------
    mixed
        (ny - 1, nx - 1) bool, True where known corners disagree: the boundary cells.
    known
        (ny - 1, nx - 1) bool, False where unknown corners leave open whether the cell is mixed.
        Every mixed cell is known.
    """

    mixed: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def total(self) -> int:
        """Return the number of cells of the lattice."""
        return self.mixed.size

    @property
    def n_mixed(self) -> int:
        """Return the number of boundary cells."""
        return int(np.count_nonzero(self.mixed))

    @property
    def n_unknown(self) -> int:
        """Return the number of cells that missing corners leave undecided."""
        return self.total - int(np.count_nonzero(self.known))


def is_yes(outcome: Outcome, boundary: str) -> bool:
    """Return True if an outcome is labelled yes; `boundary` is one of `BOUNDARIES`."""
    return outcome in _LABELS[boundary][0]


def label(outcome: Outcome, boundary: str) -> bool | None:
    """Return True for an outcome that is labelled yes, False for no, None without a label.

    `boundary` is one of `BOUNDARIES`.
    """
    yes, no = _LABELS[boundary]
    return outcome in yes if outcome in (*yes, *no) else None


def labels(raster: Raster, boundary: str) -> NDArray[np.int8]:
    """Turn outcomes into labels: yes (1), no (0) and not known (-1).

    Parameters
    ----------
    raster
        Outcomes of a frame.
    boundary
        "trainable": trained against the rest (fractal-llm's `converged`, features D2); "stable":
        not diverged against diverged (features D1); "broken": trained or too slow against degraded
        or diverged. A run that was too short has no label at the last one.

    Returns
    -------
    (ny, nx) int8 of 1, 0 and -1; -1 also for a node with two possible outcomes of different labels.

    Raises
    ------
    SweepError
        If `boundary` is not one of `BOUNDARIES`; the error is also a ValueError.
    """
    if boundary not in _LABELS:
        allowed = ", ".join(BOUNDARIES)
        raise SweepError(
            f"unknown boundary {quoted(boundary)}; allowed:"
            f" {allowed}{nearest(boundary, BOUNDARIES)}"
        )
    labelled = np.full(raster.outcome.shape, UNKNOWN, dtype=np.int8)
    for code, possible in POSSIBLE.items():
        answers = {label(outcome, boundary) for outcome in possible}
        if len(answers) == 1 and (answer := answers.pop()) is not None:
            labelled[raster.outcome == code] = answer
    return labelled


def boundary_cells(labels: NDArray[np.int8]) -> BoundaryCells:
    """Find the 2x2 squares of neighbouring points whose labels disagree.

    Parameters
    ----------
    labels
        (ny, nx) int8 of 1, 0 and -1 (not known), as `labels` returns it.

    Returns
    -------
    Cells of shape (ny - 1, nx - 1). A cell with missing corners is a boundary cell if its known
    corners disagree; otherwise it is neither boundary nor known.

    Raises
    ------
    ValueError
        If `labels` is not two-dimensional.
    """
    if labels.ndim != 2:
        raise ValueError(f"labels must be (ny, nx), not of shape {labels.shape}")
    mixed = _any_corner(labels == 1) & _any_corner(labels == 0)
    return BoundaryCells(mixed=mixed, known=mixed | ~_any_corner(labels == UNKNOWN))


def _any_corner(points: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark cells with a set corner: (ny, nx) bool -> (ny - 1, nx - 1) bool."""
    pairs = points[:-1] | points[1:]
    return pairs[:, :-1] | pairs[:, 1:]
