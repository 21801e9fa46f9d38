"""Frames that two sweeps share: the choice of the frames, their data and their common nodes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.frame_data import FrameData, fill_frame, grid_of
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis
from fractal_ray.plane.boundary import Raster
from fractal_ray.spec.frames import SweepFrame


@dataclass(frozen=True)
class SideFrame:
    """The frame of one side of a comparison.

    Parameters
    ----------
    data
        Data of the frame; of its grid alone if its refinement followed another label's border, or
        is not finished.
    finished
        True if all stages of the frame are finished.
    notes
        Sentences to print beside the results of the comparison.
    """

    data: FrameData
    finished: bool
    notes: tuple[str, ...]


def choose_frames(
    a: SweepData, b: SweepData, frame: int | None
) -> tuple[tuple[SweepFrame, SweepFrame], tuple[str, ...]]:
    """Choose the frames of A and B to compare.

    Parameters
    ----------
    frame
        Number of the frame in both; None for the last frame that is one rectangle in both, or the
        last frame of each if there is none.

    Returns
    -------
    (frames, notes)
        The frames of A and B, and sentences about the choice.

    Raises
    ------
    SweepError
        If a side has no frame of this number.
    """
    if frame is not None:
        return (a.frame(frame), b.frame(frame)), ()
    of_a, of_b = a.frames, b.frames
    last = a.frame(), b.frame()
    alike = [number for number in of_a if number in of_b and same_place(of_a[number], of_b[number])]
    if not alike:
        return last, ()
    both, ends = (of_a[alike[-1]], of_b[alike[-1]]), [each.frame.id for each in last]
    if ends == [alike[-1]] * 2:
        return both, ()
    note = (
        f"the last frame that is the same in both is {alike[-1]}; the last is {ends[0]} in A and"
        f" {ends[1]} in B (--frame chooses another)"
    )
    return both, (note,)


def same_place(one: SweepFrame, other: SweepFrame) -> bool:
    """Return True if two frames are one rectangle.

    The nodes that both lattices should have must be equal float64 numbers.
    """
    a, b = one.frame, other.frame
    across = math.gcd(a.cells_x << one.level, b.cells_x << other.level)
    up = math.gcd(a.cells_y << one.level, b.cells_y << other.level)
    return _same_nodes(a.x, b.x, across) and _same_nodes(a.y, b.y, up)


def _same_nodes(one: Axis, other: Axis, cells: int) -> bool:
    # Ends first: most frames differ there, and all nodes of a deep lattice take a while.
    ends = (one.min, one.max) == (other.min, other.max)
    return one == other or (ends and np.array_equal(one.values(cells), other.values(cells)))


def read_side(letter: str, sweep: SweepData, lattice: SweepFrame) -> SideFrame:
    """Read the data of a frame from a side's dataset, under the label of its spec.

    Parameters
    ----------
    letter
        "A" or "B", for the notes.

    Raises
    ------
    SweepError
        If the dataset holds no runs, or parts that cannot be read.
    """
    table, notes = _table(letter, sweep)
    failures = sweep.store().read_failures(skip_corrupt=True)
    followed = (sweep.header() or {}).get("spec", {}).get("label", {})
    label = sweep.spec.label.model_dump()
    if _curve_settings(followed) != _curve_settings(label) and not _has_curves(table):
        notes += (f"{letter} has no loss curves: its outcomes are as they were found",)
    grid = grid_of(lattice)
    if lattice.refinement is not None and followed != label:
        notes += (f"{letter} was refined along another label's border; its grid is compared",)
        lattice = grid
    data = fill_frame(sweep, lattice, table, failures)
    replayed = data.replayed
    if replayed is None:
        # Cells of an unfinished refinement look complete, but their labels are no result.
        notes += (f"{letter} is not finished: only runs of its grid are compared",)
        data = fill_frame(sweep, grid, table, failures)
    elif replayed.unfinished:
        notes += (f"{letter} is not finished: {', '.join(replayed.unfinished)}",)
    return SideFrame(data, replayed is not None and not replayed.unfinished, notes)


def _table(letter: str, sweep: SweepData) -> tuple[pa.Table, tuple[str, ...]]:
    """Read the rows of a side's dataset, and a note if parts of it cannot be read."""
    notes: tuple[str, ...] = ()
    try:
        table = sweep.store().read()
    except SweepError:
        if not sweep.skip_corrupt:
            raise
        table = sweep.table()
        notes = (f"parts of {letter} cannot be read and are left out",)
    if not table.num_rows:
        raise SweepError(f"{sweep.location} holds no runs yet; make them: {sweep.run_command}")
    return table, notes


def _curve_settings(label: dict[str, Any]) -> tuple[Any, Any]:
    """Return the settings of a label that are applied to loss curves."""
    return label.get("window"), label.get("threshold")


def _has_curves(table: pa.Table) -> bool:
    return any(map(len, table.column("losses").to_pylist()))


def common_rasters(a: FrameData, b: FrameData) -> tuple[Raster, Raster]:
    """Return the rasters of A and B on the nodes that both lattices have.

    Raises
    ------
    SweepError
        If there are fewer than 2 x 2 common nodes.
    """
    one, other = a.raster, b.raster
    x, x_one, x_other = np.intersect1d(one.x, other.x, return_indices=True)
    y, y_one, y_other = np.intersect1d(one.y, other.y, return_indices=True)
    if min(x.size, y.size) < 2:
        raise SweepError(
            f"{_place(a)} and {_place(b)} have {x.size} x {y.size} nodes in common, and"
            " a map needs 2 along each side; --frame chooses other frames (fractal-ray status"
            " --frames lists them)"
        )
    return _part(one, x_one, y_one), _part(other, x_other, y_other)


def _part(raster: Raster, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> Raster:
    """Return the raster of some columns and rows."""
    at = np.ix_(rows, columns)
    return replace(
        raster,
        outcome=raster.outcome[at],
        loss=raster.loss[at],
        x=raster.x[columns],
        y=raster.y[rows],
        inferred=None if raster.inferred is None else raster.inferred[at],
        long_window=None if raster.long_window is None else raster.long_window[at],
    )


def _place(data: FrameData) -> str:
    """Return the name, ranges and nodes of a frame, for a message."""
    frame, raster = data.lattice.frame, data.raster
    ranges = ", ".join(f"{side.param} {side.min:g} to {side.max:g}" for side in (frame.x, frame.y))
    nodes = f"{raster.x.size:,} x {raster.y.size:,} nodes"
    return f"frame {frame.id} of {data.sweep.location} ({ranges}, {nodes})"
