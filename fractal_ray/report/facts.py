"""Everything that a report says, read once from a dataset. The numbers are those of `analyze`."""

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from fractal_ray.analysis.status import Status, failure_groups, read_frames, read_status
from fractal_ray.analysis.summary import Analysis, analyze_frame
from fractal_ray.analysis.verify.kept_sheet import FrameData, read_frame, read_sheet
from fractal_ray.dataset.frames_file import FILE
from fractal_ray.dataset.secrets import without_secrets
from fractal_ray.errors import SweepError
from fractal_ray.spec.frames import Lattice
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep

_AGAIN: Final = 3
"""Times that all is read again where a running sweep has written meanwhile: counts that stand side
by side are to be of one moment."""


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
        chosen = self.analysis.estimates.get(self.analysis.recommended or "")
        return None if self.analysis.dimension is None or chosen is None else chosen.interval


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
    listed
        The same as `fractal-ray status --frames` lists them, by number.
    frames_file
        Text of `frames.json` where a frame may be cut elsewhere than its spec's rounded numbers
        say, as `Sweep.zoom` does; None where the stages alone lead to the frames.
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
    listed: dict[int, dict[str, Any]]
    frames_file: str | None
    partial: bool

    @property
    def location(self) -> str:
        """Of the dataset, without keys: a page is passed on."""
        return without_secrets(self.sweep.location)

    @property
    def changed(self) -> bool:
        """Whether other settings were asked for than those of the last run."""
        return parse_spec(self.header["spec"]) != self.sweep.spec

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
    store = sweep.store()
    state, facts = store.state(), _read(sweep, header, skip_corrupt)
    for _ in range(_AGAIN):
        now = store.state()
        if now == state:
            break
        state, facts = now, _read(sweep, header, skip_corrupt)
    return facts


def _read(sweep: Sweep, header: dict[str, Any], skip_corrupt: bool) -> Facts:
    store = sweep.store()
    table = sweep.table(skip_corrupt=skip_corrupt)
    return Facts(
        sweep=sweep,
        header=header,
        table=table,
        failures=store.read_failures(skip_corrupt=skip_corrupt),
        status=read_status(sweep, skip_corrupt=skip_corrupt),
        groups=failure_groups(sweep, skip_corrupt=skip_corrupt),
        writers=store.facts(),
        frames=tuple(_frame(sweep, number, table) for number in sweep.lattices()),
        listed={each["frame"]: each for each in read_frames(sweep, skip_corrupt=skip_corrupt)},
        frames_file=store.read_text(FILE) if _cut_by_hand(sweep) else None,
        partial=skip_corrupt,
    )


def _cut_by_hand(sweep: Sweep) -> bool:
    zooms = (stage.zoom for stage in sweep.spec.stages)
    return any(zoom is not None and zoom.pick == "center" for zoom in zooms)


def _frame(sweep: Sweep, number: int, table: pa.Table) -> FrameFacts:
    data = read_frame(sweep, number, table=table)
    return FrameFacts(data, analyze_frame(data), read_sheet(data))
