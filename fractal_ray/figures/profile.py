"""Runs along a straight line across a frame: a row or a column of nodes, or a line of a stage."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.frame_data import FrameData
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.errors import SweepError
from fractal_ray.figures.tiles import rulers
from fractal_ray.plane.boundary import OUTCOME_CODES, UNKNOWN, Raster, label
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.pairs import UNIT_BITS
from fractal_ray.spec.frames import SweepFrame

_FORMS: Final = "x=VALUE, y=VALUE or transect=NUMBER"


@dataclass(frozen=True)
class Line:
    """Runs of a line, in their order along it.

    Parameters
    ----------
    name
        Name of the line, for a heading.
    along
        Quantity that changes along the line: the title of an axis.
    positions
        (n,) float64 positions of the runs on that axis, increasing.
    shown
        Outcome of each run.
    rows
        Their n rows of `points/`.
    border
        (k,) float64 positions half way between neighbours on the line whose labels differ.
    """

    name: str
    along: str
    positions: NDArray[np.float64]
    shown: list[Outcome]
    rows: pa.Table
    border: NDArray[np.float64]


def line_of(data: FrameData, option: str | None) -> Line:
    """Read the runs of a line.

    Parameters
    ----------
    data
        The frame.
    option
        ``x=VALUE`` or ``y=VALUE``: the column or row nearest to a value of the axis;
        ``transect=NUMBER``: a line, from 0, of the frame's stage `transects`. None: the row with
        the most flips of the label, the lowest of several.

    Raises
    ------
    SweepError
        If the option is none of these, or the line lies outside the frame or has no runs.
    """
    if option is None:
        return _across(data, "y", _row_with_most_flips(data.labels()))
    kind, _, text = option.partition("=")
    try:
        number = int(text) if kind == "transect" else float(text)
    except ValueError:
        kind, number = "", 0
    if kind not in ("x", "y", "transect"):
        raise SweepError(f"--line {option}: give {_FORMS}, such as y=0.01")
    if kind == "transect":
        return _transect(data, int(number))
    return _across(data, kind, _nearest(data.raster, kind, float(number)))


def _row_with_most_flips(node_labels: NDArray[np.int8]) -> int:
    known = (node_labels[:, 1:] != UNKNOWN) & (node_labels[:, :-1] != UNKNOWN)
    flips = (known & (node_labels[:, 1:] != node_labels[:, :-1])).sum(axis=1)
    return int(flips.argmax()) if flips.any() else len(node_labels) // 2


def _nearest(raster: Raster, side: str, value: float) -> int:
    nodes = raster.x if side == "x" else raster.y
    if not nodes[0] <= value <= nodes[-1]:
        name = raster.x_name if side == "x" else raster.y_name
        raise SweepError(
            f"--line {side}={value:g} lies outside the frame: {name} goes from {nodes[0]:g} to"
            f" {nodes[-1]:g}"
        )
    log = (raster.x_scale if side == "x" else raster.y_scale) == "log"
    apart = np.log(nodes / value) if log else nodes - value
    return int(np.abs(apart).argmin())


def _across(data: FrameData, side: str, index: int) -> Line:
    """Read the runs of the column (`side` "x") or row number `index`."""
    raster, column = data.raster, side == "x"
    ruler = rulers(raster)[1 if column else 0]
    fixed, value = (raster.x_name, raster.x) if column else (raster.y_name, raster.y)
    # Of nodes that share a value (an integer axis) the first has the runs.
    index = int(np.searchsorted(value, value[index]))
    at = (slice(None), index) if column else (index, slice(None))
    positions = ruler.positions(raster.y if column else raster.x)
    ix, iy = _addresses(data.lattice, data.table)
    rows = np.flatnonzero((ix if column else iy) == index)
    rows = rows[raster.measured[iy[rows], ix[rows]]]
    order = (iy if column else ix)[rows]
    rows, order = rows[np.argsort(order)], np.sort(order)
    node_labels = data.labels()[at]
    name = f"{fixed} = {value[index]:.6g}"
    if not rows.size:
        raise SweepError(f"no run of this frame lies on the line {name}; take another --line")
    of_code = {code: outcome for outcome, code in OUTCOME_CODES.items()}
    run_outcomes = [of_code[int(code)] for code in raster.outcome[at][order]]
    return Line(
        name,
        ruler.label,
        positions[order],
        run_outcomes,
        data.table.take(rows),
        _border(positions, node_labels),
    )


def _transect(data: FrameData, number: int) -> Line:
    lines = [] if data.replayed is None else data.replayed.transects
    counts = [len(planner.chords) for planner in lines]
    if not 0 <= number < sum(counts):
        has = f"lines 0 to {sum(counts) - 1}" if sum(counts) else "no finished stage transects"
        raise SweepError(
            f"--line transect={number}: frame {data.lattice.frame.id} has {has}; or give {_FORMS}"
        )
    stage = 0
    while number >= counts[stage]:
        number, stage = number - counts[stage], stage + 1
    planner = lines[stage]
    table = data.table
    here = np.asarray(table.column("frame")) == planner.frame.id
    rows = np.flatnonzero(here & (np.asarray(table.column("ix")) == number))
    share = np.asarray(table.column("iy"))[rows] / 2.0 ** np.asarray(table.column("level"))[rows]
    rows, share = rows[np.argsort(share)], np.sort(share)
    table = table.take(rows)
    rule = data.sweep.rule
    row_outcomes = outcomes(table, rule)
    of_rows = [label(each, rule.boundary) for each in row_outcomes]
    node_labels = np.array([UNKNOWN if each is None else each for each in of_rows], dtype=np.int8)
    frame, cells = planner.frame, 1 << UNIT_BITS
    ends = [
        f"({frame.x.value(x, cells):.4g}, {frame.y.value(y, cells):.4g})"
        for x, y in planner.chords[number]
    ]
    name = f"line {number} of the stage transects, from {ends[0]} to {ends[1]}"
    return Line(name, "share of the line", share, row_outcomes, table, _border(share, node_labels))


def _addresses(lattice: SweepFrame, table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the addresses of rows on the finest lattice; -1 for rows that do not lie on it."""
    frame, level = lattice.frame, lattice.level
    ix = frame.x.addresses(table.column("x").to_numpy(), frame.cells_x << level)
    iy = frame.y.addresses(table.column("y").to_numpy(), frame.cells_y << level)
    off = (ix < 0) | (iy < 0)
    return np.where(off, -1, ix), np.where(off, -1, iy)


def _border(positions: NDArray[np.float64], node_labels: NDArray[np.int8]) -> NDArray[np.float64]:
    known = node_labels != UNKNOWN
    positions, node_labels = positions[known], node_labels[known]
    flips = np.flatnonzero(node_labels[1:] != node_labels[:-1])
    return (positions[flips] + positions[flips + 1]) / 2
