"""Results of the advice as plain values; `plain` turns each into data for JSON.

Positions are real values of the axes, not logarithms. A node is (iy, ix), its row and column.
Intervals are 95 % intervals.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Node = tuple[int, int]
"""Row and column of a node on the finest lattice."""


@dataclass(frozen=True)
class Refusal:
    """A number that cannot be given: a code for programs, and the reason as a sentence."""

    code: str
    reason: str


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Noise:
    """Standard deviation of the loss of one run, and the degrees of freedom that it rests on."""

    sd: float
    freedom: float
    source: Literal["seeds", "neighbours"]


@dataclass(frozen=True)
class GoodRegion:
    """A separate region that is as good as the best within the noise, or within 2 %."""

    x: float
    y: float
    loss: float
    runs: int


@dataclass(frozen=True)
class BestPoint:
    """The set of best nodes, the node that stands for it, and the optimum with its intervals.

    Parameters
    ----------
    node, x, y, loss
        The node that stands for the set, its values and its measured loss.
    x_optimum, y_optimum
        Location of the optimum, from a smooth fit. None where there are too few nodes for a fit.
    expected
        Expected loss of a run at the optimum. None where there are too few nodes for a fit.
    noise
        Noise of one run. None where there are too few nodes to see it.
    standard_error
        Standard error of the smoothed loss at the best; 0 without a fit.
    runs
        Number of runs in the set.
    x_range, y_range
        Smallest and largest value of the nodes in the set.
    rim
        Sides of the frame ("-x", "+x", "-y", "+y") that the set touches, or on which the interval
        of the optimum ends.
    other_regions
        Separate regions that are as good, the largest first.
    failures_beside
        Number of nodes beside the set whose runs failed or show nothing.
    flags
        "rim", "two_regions", "failures_beside", "too_few_nodes", "no_inner_node" (each node that
        trained has a neighbour that did not).
    nodes
        (ny, nx), True at the nodes of the set; not part of the JSON.
    smooth
        (ny, nx) smoothed losses of the candidates, NaN elsewhere; not part of the JSON.
    basin
        The `Basin` around the best with its fits, for `safe_region`; not part of the JSON.
    """

    node: Node
    x: float
    y: float
    loss: float
    x_optimum: Interval | None
    y_optimum: Interval | None
    expected: Interval | None
    noise: Noise | None
    standard_error: float
    runs: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    rim: tuple[str, ...]
    other_regions: tuple[GoodRegion, ...]
    failures_beside: int
    flags: tuple[str, ...]
    nodes: NDArray[np.bool_] = field(repr=False, compare=False)
    smooth: NDArray[np.float64] = field(repr=False, compare=False)
    basin: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Crossing:
    """Place where the loss reaches a level, along one direction from the best.

    Parameters
    ----------
    direction
        "-x", "+x", "-y" or "+y".
    at
        Real value of the crossing with its interval. None where the level is not reached by runs
        that trained.
    ends
        "level" where the level is crossed; "cliff" or "untrained" where the runs stop to train
        first; "grid" where the grid ends first.
    last
        Real value of the last run on this line that lies within the level.
    """

    direction: str
    at: Interval | None
    ends: Literal["level", "cliff", "untrained", "grid"]
    last: float


@dataclass(frozen=True)
class SafeRegion:
    """The region around the best whose loss is within a percentage of the best loss.

    Parameters
    ----------
    level
        The loss at the border of the region.
    below_noise
        True where the percentage is smaller than the standard error of the best; the level then
        lies one standard error above the best.
    share
        Area of the region as a share of the frame.
    """

    percent: float
    level: float
    below_noise: bool
    runs: int
    share: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    crossings: tuple[Crossing, ...]
    rim: tuple[str, ...]
    mask: NDArray[np.bool_] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Margin:
    """Distance from the best to the cliff in one direction, as a bracket between two runs.

    Parameters
    ----------
    direction
        "-x", "+x", "-y" or "+y".
    last_unbroken
        Real value of the last unbroken run before the first broken run; None where no run on the
        line is known to be unbroken, the best included.
    first_broken
        Real value of the first broken run; None where there is none up to the end of the grid.
    low, high
        Distance from the best to both: a factor, at least 1, on a log axis; a difference, at least
        0, on a linear axis. None where the value is None.
    scale
        "log" for factors, "linear" for differences.
    unknown
        Number of nodes between the two whose label is not known; they widen the bracket.
    isolated
        True where the first broken run is a single node with unbroken neighbours.
    solid
        First broken run that is not isolated, and the last unbroken run before it (both real
        values); None where there is none. Equal to the bracket where `isolated` is False.
    ragged_to
        First broken run behind which none of this direction is unbroken, where the labels along
        the line change more than once; None elsewhere.
    grid_end
        Real value of the last node of the grid in this direction.
    """

    direction: str
    last_unbroken: float | None
    first_broken: float | None
    low: float | None
    high: float | None
    scale: Literal["log", "linear"]
    unknown: int
    isolated: bool
    solid: tuple[float, float] | None
    ragged_to: float | None
    grid_end: float


@dataclass(frozen=True)
class NearestCliff:
    """The smallest distance to the cliff over all directions.

    Parameters
    ----------
    low, high
        Least and largest distance that the labels allow.
    unit
        "decades" where both axes are logarithmic; else "frames": distances along each axis count
        in lengths of that axis.
    x, y
        Real values of the nearest broken run.
    x_change, y_change
        Change from the best to that run: a factor on a log axis, a difference on a linear axis.
    isolated
        True where that run is a single node with unbroken neighbours.
    """

    low: float
    high: float
    unit: Literal["decades", "frames"]
    x: float
    y: float
    x_change: float
    y_change: float
    isolated: bool


@dataclass(frozen=True)
class Cliff:
    """Margins from the best to the cliff along the axes, and the smallest of all directions.

    Parameters
    ----------
    nearest
        None where no run is broken.
    broken, unbroken, unknown
        Numbers of runs with each label.
    isolated
        Real values (x, y) of broken runs whose neighbours are all unbroken.
    best_at_rim
        Sides of the frame on which the best lies.
    """

    margins: tuple[Margin, ...]
    nearest: NearestCliff | None
    broken: int
    unbroken: int
    unknown: int
    isolated: tuple[tuple[float, float], ...]
    best_at_rim: tuple[str, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of the loss to one axis, the other axis held at the best.

    Parameters
    ----------
    value
        Mean over the range of min(loss, untouched loss), minus the best loss (Wortsman et al.
        2023, arXiv 2309.14322), with its interval. None where a reason is given.
    span
        Length of the range: decades on a log axis, else real units.
    runs, clipped, skipped
        Numbers of runs on the line, of those that count as untouched, and of those left out
        because they show nothing.
    """

    axis: str
    value: Interval | None
    span: float
    runs: int
    clipped: int
    skipped: int
    reason: str = ""


@dataclass(frozen=True)
class SeedLabel:
    """Label of a node over several seeds, with Wilson's interval of the share of broken seeds."""

    broken: int
    seeds: int
    share: float | None
    low: float | None
    high: float | None
    label: Literal[1, 0, -1]


@dataclass(frozen=True)
class ReEstimate:
    """Loss of a node from seeds other than those that chose it.

    Parameters
    ----------
    loss
        Mean with its interval (Student's t); None without other seeds. With one other seed the
        interval is infinite.
    standard_error
        None with fewer than two other seeds.
    chosen_loss
        Mean loss of the seeds that chose the node, which is too low on average.
    """

    loss: Interval | None
    standard_error: float | None
    seeds: int
    chosen_loss: float


def plain(result: Any) -> Any:
    """Return a result as dicts, lists, texts and numbers, without the fields that are not shown.

    NaN and infinite values become None, since JSON has neither.
    """
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        names = [each.name for each in dataclasses.fields(result) if each.repr]
        return {name: plain(getattr(result, name)) for name in names}
    if isinstance(result, dict):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(value) for value in result]
    if isinstance(result, np.generic):
        return plain(result.item())
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result
