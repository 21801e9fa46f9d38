"""Contents of a report, read once from a dataset. The numbers are those of `analyze`."""

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from fractal_ray.analysis.advice.advise import advise
from fractal_ray.analysis.frame_data import FrameData, read_frame
from fractal_ray.analysis.status import Status, failure_groups, read_frames, read_status
from fractal_ray.analysis.summary import Analysis, analyze_frame
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.analysis.verify.kept_sheet import read_sheet
from fractal_ray.dataset.frames_file import FILE
from fractal_ray.dataset.secrets import without_keys, without_secrets
from fractal_ray.errors import SweepError
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.yaml_file import parse_spec

_MOST_REREADS: Final = 3
"""Largest number of times that the dataset is read again because a running sweep has written to it
meanwhile: counts on one page should belong to one moment."""


@dataclass(frozen=True)
class FrameFacts:
    """Facts of a frame: its rows on its lattice, its analysis, and its sheet or None."""

    data: FrameData
    analysis: Analysis
    sheet: dict[str, Any] | None

    @property
    def number(self) -> int:
        """Return the number of the frame."""
        return self.data.lattice.frame.id

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the dimension; None without a dimension."""
        chosen = self.analysis.estimates.get(self.analysis.recommended or "")
        return None if self.analysis.dimension is None or chosen is None else chosen.interval


@dataclass(frozen=True)
class Facts:
    """Facts of a sweep.

    Parameters
    ----------
    rule
        The rule that labels the runs.
    header
        `sweep.json`.
    table, failures
        Rows of `points/` and of `failures/`.
    groups
        Failures grouped by their error.
    writers
        Versions of fractal-ray and Python that wrote the parts of the dataset.
    frames
        All frames so far, in the order of the stages.
    listed
        The frames by number, as `fractal-ray status --frames` lists them.
    frames_file
        Text of `frames.json` if a frame may lie elsewhere than the rounded numbers of its spec say,
        as after `Sweep.zoom`; None if the stages alone lead to the frames.
    left_out
        Number of damaged parts that were left out.
    advice
        Lines of the advice on the first frame, without keys; none for workloads without losses.
    """

    sweep: SweepData
    rule: LabelRule
    header: dict[str, Any]
    table: pa.Table
    failures: pa.Table
    status: Status
    groups: list[dict[str, Any]]
    writers: list[dict[str, Any]]
    frames: tuple[FrameFacts, ...]
    listed: dict[int, dict[str, Any]]
    frames_file: str | None
    left_out: int
    advice: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """Return the location of the dataset, without keys, because a page is passed on."""
        return without_secrets(self.sweep.location)

    @property
    def changed(self) -> bool:
        """Return True if the settings differ from those of the last run."""
        return parse_spec(self.header["spec"]) != self.sweep.spec

    @property
    def lattices(self) -> dict[int, SweepFrame]:
        """Return the frames by number."""
        return {frame.number: frame.data.lattice for frame in self.frames}

    @property
    def main(self) -> FrameFacts:
        """Return the frame of the first sentence.

        It is the last frame with a dimension, else the last with a sheet, else the first frame.
        """
        measured = [frame for frame in self.frames if frame.analysis.dimension is not None]
        verified = [frame for frame in self.frames if frame.sheet is not None]
        return [*self.frames[:1], *verified[-1:], *measured[-1:]][-1]


def read_facts(sweep: SweepData) -> Facts:
    """Read the facts of a sweep from its dataset.

    Parameters
    ----------
    sweep
        Only its dataset is read.

    Raises
    ------
    SweepError
        If there is no dataset, it belongs to another sweep, or it cannot be read.
    """
    header = sweep.header()
    if header is None:
        raise SweepError(
            f"there is nothing to report: {sweep.location} holds no sweep yet; run it first:"
            f" {sweep.run_command}"
        )
    if not sweep.is_of_this_spec():
        raise SweepError(
            f"{sweep.location} holds the data of another sweep: its workload or its axes are not"
            f" those of this spec; to report the data there: fractal-ray report {sweep.location}"
        )
    store = sweep.store()
    state, facts = store.state(), _read(sweep, header)
    for _ in range(_MOST_REREADS):
        now = store.state()
        if now == state:
            break
        state, facts = now, _read(sweep, header)
    return facts


def _read(sweep: SweepData, header: dict[str, Any]) -> Facts:
    store = sweep.store()
    table = sweep.table()
    frames = tuple(_frame(sweep, number, table) for number in sweep.frames)
    return Facts(
        sweep=sweep,
        rule=sweep.rule,
        header=header,
        table=table,
        failures=store.read_failures(skip_corrupt=sweep.skip_corrupt),
        status=read_status(sweep),
        groups=failure_groups(sweep),
        writers=store.facts(),
        frames=frames,
        listed={each["frame"]: each for each in read_frames(sweep)},
        frames_file=store.read_text(FILE) if _cut_by_hand(sweep) else None,
        left_out=len(sweep.damaged_parts()),
        advice=_advice(sweep, frames[0].data),
    )


def _advice(sweep: SweepData, data: FrameData) -> tuple[str, ...]:
    if not sweep.spec.workload.records_losses:
        return ()
    return tuple(map(without_keys, advise(data).lines()))


def _cut_by_hand(sweep: SweepData) -> bool:
    zooms = (stage.zoom for stage in sweep.spec.stages)
    return any(zoom is not None and zoom.pick == "center" for zoom in zooms)


def _frame(sweep: SweepData, number: int, table: pa.Table) -> FrameFacts:
    data = read_frame(sweep, number, table=table)
    return FrameFacts(data, analyze_frame(data), read_sheet(data))
