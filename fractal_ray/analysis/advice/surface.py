"""Losses, states and labels of the nodes of a frame: the input of all advice."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["log", "linear"]

SIDES: Final = ("-x", "+x", "-y", "+y")
"""Names of the sides of a frame, and of the directions along the axes."""
_STEPS: Final = {"-x": (0, -1), "+x": (0, 1), "-y": (-1, 0), "+y": (1, 0)}
_TIES: Final = 12
"""Largest number of nodes of a lattice that are equally near to another node, plus some."""


class State(IntEnum):
    """States of the run at a node."""

    NOT_RUN = 0
    """State of a node without a run."""
    TRAINED = 1
    """State of a run that improved the model."""
    TOO_SLOW = 2
    """State of a run that changed the model too little to improve it."""
    DEGRADED = 3
    """State of a run that made the model worse."""
    DIVERGED = 4
    """State of a run that ended in a loss that was not finite."""
    UNKNOWN = 5
    """State of a run that shows nothing about the cliff: too short, or without a curve."""
    FAILED = 6
    """State of a run that failed for a reason of the machine."""


@dataclass(frozen=True)
class Surface:
    """Losses and labels on the finest lattice of a frame; arrays are (ny, nx).

    Parameters
    ----------
    loss
        Validation loss if every row has one, else the mean of the last losses. NaN where there is
        no run or no finite loss.
    state
        A `State` per node.
    broken
        1 unbroken, 0 broken, -1 unknown. Nodes without a run may have the label of their cell.
    measured
        True where a run has ended. Nodes that failed are not measured.
    x, y
        Real values of the columns and of the rows, rising.
    untouched
        Loss of the untouched model: one number, or (ny, nx) where an axis changes the data. None
        where it is not known.
    weight
        Area of each measured node, as `area_weights` gives it. By default it is computed.
    """

    loss: NDArray[np.float64]
    state: NDArray[np.int8]
    broken: NDArray[np.int8]
    measured: NDArray[np.bool_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_name: str = "x"
    y_name: str = "y"
    x_scale: Scale = "log"
    y_scale: Scale = "log"
    untouched: float | NDArray[np.float64] | None = None
    weight: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Compute the weights where none are passed, and check the shapes."""
        shape = self.y.size, self.x.size
        if not self.weight.size:
            object.__setattr__(self, "weight", area_weights(self.measured))
        for name in ("loss", "state", "broken", "measured", "weight"):
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; the lattice has {shape}")

    @property
    def u(self) -> NDArray[np.float64]:
        """Return the axis coordinates of the columns: log10 on a log axis."""
        return coordinates(self.x, self.x_scale)

    @property
    def v(self) -> NDArray[np.float64]:
        """Return the axis coordinates of the rows: log10 on a log axis."""
        return coordinates(self.y, self.y_scale)

    @property
    def trained(self) -> NDArray[np.bool_]:
        """Return True at nodes whose run trained and has a finite loss, (ny, nx)."""
        return self.measured & (self.state == State.TRAINED) & np.isfinite(self.loss)

    def transposed(self) -> "Surface":
        """Return the surface with its axes swapped."""
        untouched = self.untouched
        return Surface(
            loss=self.loss.T,
            state=self.state.T,
            broken=self.broken.T,
            measured=self.measured.T,
            x=self.y,
            y=self.x,
            x_name=self.y_name,
            y_name=self.x_name,
            x_scale=self.y_scale,
            y_scale=self.x_scale,
            untouched=untouched.T if isinstance(untouched, np.ndarray) else untouched,
            weight=self.weight.T,
        )


def coordinates(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Return axis coordinates of real values: log10 on a log axis, else the values."""
    return np.log10(values) if scale == "log" else np.asarray(values, dtype=np.float64)


def real_value(coordinate: float, scale: Scale) -> float:
    """Return the real value at an axis coordinate."""
    return float(10.0**coordinate) if scale == "log" else float(coordinate)


def area_weights(measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area of each measured node, in nodes of the lattice; 0 at other nodes.

    Every node of the lattice counts for the measured node that is nearest in steps, in equal parts
    for several that are equally near. On a grid all weights are 1.
    """
    weight = measured.astype(np.float64)
    if measured.all() or not measured.any():
        return weight
    from scipy.spatial import KDTree  # takes a while to import

    nodes = np.argwhere(measured)
    others = np.argwhere(~measured)
    ties = min(_TIES, len(nodes))
    distance, index = KDTree(nodes).query(others, k=ties)
    distance, index = distance.reshape(-1, ties), index.reshape(-1, ties)
    nearest = distance <= distance[:, :1] * (1 + 1e-9)
    parts = nearest / nearest.sum(axis=1, keepdims=True)
    total = np.bincount(index.ravel(), weights=parts.ravel(), minlength=len(nodes))
    weight[measured] += total
    return weight


def neighbour_indices(nodes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the nearest of `nodes` in the four directions along the axes.

    Returns
    -------
    (4, ny, nx) int64
        Flat index of the next node of the mask in each direction of `SIDES`; -1 where there is
        none.
    """
    ny, nx = nodes.shape
    flat = np.arange(ny * nx).reshape(ny, nx)
    result = np.full((4, ny, nx), -1, dtype=np.int64)
    result[0] = _last_before(nodes, flat)
    result[1] = _last_before(nodes[:, ::-1], flat[:, ::-1])[:, ::-1]
    result[2] = _last_before(nodes.T, flat.T).T
    result[3] = _last_before(nodes.T[:, ::-1], flat.T[:, ::-1])[:, ::-1].T
    return result


def _last_before(nodes: NDArray[np.bool_], flat: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, along each row, the flat index of the last node of the mask before each column."""
    columns = np.where(nodes, np.arange(nodes.shape[1]), -1)
    last = np.maximum.accumulate(columns, axis=1)
    before = np.concatenate([np.full((len(nodes), 1), -1), last[:, :-1]], axis=1)
    rows = np.arange(len(nodes))[:, None]
    return np.where(before >= 0, flat[rows, np.maximum(before, 0)], -1)


def step_of(side: str) -> tuple[int, int]:
    """Return the step (rows, columns) towards a side of `SIDES`."""
    return _STEPS[side]
