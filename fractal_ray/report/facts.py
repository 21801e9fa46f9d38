"""Everything that a report says, read once from a dataset. The numbers are those of `analyze`."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fractal_ray.analysis import Analysis, analyze_frame
from fractal_ray.errors import SweepError
from fractal_ray.frames import Lattice
from fractal_ray.sheets import FrameData, read_frame, read_sheet
from fractal_ray.status import Status, failure_groups, read_status
from fractal_ray.sweep import Sweep


@dataclass(frozen=True)
class FrameFacts:
    """A frame: its rows on its lattice, what `analyze` says of it, and its sheet, if it has one."""

    data: FrameData
    analysis: Analysis
    sheet: dict[str, Any] | None

    @property
    def number(self) -> int:
        """Of the frame."""
        return self.data.lattice.frame.id

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the dimension, 95 %; None where none is given."""
        if self.analysis.dimension is None or self.sheet is None:
            return None
        low, high = self.sheet["evidence"]["estimate"]["interval"]
        return low, high


@dataclass(frozen=True)
class Facts:
    """A sweep.

    Parameters
    ----------
    header
        `sweep.json`.
    table, failures
        Rows of `points/` and of `failures/`.
    groups
        Failures grouped by their error.
    writers
        What the parts say of who wrote them.
    frames
        All frames so far, in the order of the stages.
    partial
        Whether parts that cannot be read were left out.
    """

    sweep: Sweep
    header: dict[str, Any]
    table: pa.Table
    failures: pa.Table
    status: Status
    groups: list[dict[str, Any]]
    writers: list[dict[str, Any]]
    frames: tuple[FrameFacts, ...]
    partial: bool

    @property
    def lattices(self) -> dict[int, Lattice]:
        """The frames by number."""
        return {frame.number: frame.data.lattice for frame in self.frames}

    @property
    def main(self) -> FrameFacts:
        """The frame that the first sentence is about: the last with a dimension, else with a sheet,
        else the first of all."""
        given = [frame for frame in self.frames if frame.analysis.dimension is not None]
        judged = [frame for frame in self.frames if frame.sheet is not None]
        return [*self.frames[:1], *judged[-1:], *given[-1:]][-1]


def read_facts(sweep: Sweep, *, skip_corrupt: bool = False) -> Facts:
    """Read what there is.

    Parameters
    ----------
    sweep
        Only its dataset is read.
    skip_corrupt
        Leave out parts that cannot be read instead of raising.

    Raises
    ------
    SweepError
        Where there is no dataset, or one of another sweep, or one that cannot be read.
    """
    header = sweep.header()
    if header is None:
        raise SweepError(
            f"there is nothing to report: {sweep.location} holds no sweep yet; run it first:"
            " fractal-ray run SPEC.yaml"
        )
    if not sweep.is_of_this_spec():
        raise SweepError(
            f"{sweep.location} holds the data of another sweep: its workload or its axes are not"
            f" those asked for; report what is there: fractal-ray report {sweep.location}"
        )
    table = sweep.table(skip_corrupt=skip_corrupt)
    store = sweep.store()
    return Facts(
        sweep=sweep,
        header=header,
        table=table,
        failures=store.read_failures(skip_corrupt=skip_corrupt),
        status=read_status(sweep, skip_corrupt=skip_corrupt),
        groups=failure_groups(sweep, skip_corrupt=skip_corrupt),
        writers=store.facts(),
        frames=tuple(_frame(sweep, number, table) for number in sweep.lattices()),
        partial=skip_corrupt,
    )


def _frame(sweep: Sweep, number: int, table: pa.Table) -> FrameFacts:
    data = read_frame(sweep, number, table=table)
    return FrameFacts(data, analyze_frame(data), read_sheet(data))
