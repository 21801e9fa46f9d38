"""Dimension D against zoom depth, against training steps and against the label's threshold.

One D of one frame under one label says little; the change of D over a series shows if it is a
property of the border. Steps and thresholds relabel the stored loss curves; nothing is trained
again. A refinement followed the border of its own label. Under another label only the frame's grid
and its pairs are complete, so only these are used.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fractal_ray.analysis.frame_data import FrameData, grid_of, read_frame
from fractal_ray.analysis.replay import answers_of, best, estimates, replay
from fractal_ray.analysis.sweep_data import SweepData, label_of
from fractal_ray.analysis.verify.kept_sheet import read_sheet, verify_command
from fractal_ray.analysis.verify.reading import RESOLVED_FROM, UNRESOLVED, neighbour_correlation
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.inferred_labels import labels_of
from nanochat.errors import quoted

Against = Literal["zoom", "steps", "threshold"]


@dataclass(frozen=True)
class Entry:
    """One value of a series.

    Parameters
    ----------
    at
        The frame's number, the steps, or the threshold.
    frame
        Number of the frame.
    width
        Width of the frame in a series against zoom, in widths of the frame that its chain of zooms
        starts from; None in other series.
    boundary_cells
        Number of boundary cells on the lattice that was used.
    estimate
        Estimate of D; None if there is none, and `note` gives the reason.
    verified
        True if a verification sheet of exactly these labels gives a dimension.
    """

    at: float
    frame: int
    width: float | None
    boundary_cells: int
    estimate: Estimate | None
    note: str = ""
    verified: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line."""
        prefix = "" if self.verified or self.estimate is None else "unverified: "
        text = self.note or f"{prefix}{self.estimate}"
        return f"{self.at:g}: {self.boundary_cells:,} boundary cells; {text}"


def against_zoom(sweep: SweepData, *, force: bool = False) -> list[Entry]:
    """Return D of every frame, wide frames first; frames without a verification sheet have no D.

    Parameters
    ----------
    force
        Give D of frames without a verification sheet as well.
    """
    table = sweep.table()
    frames = sweep.frames
    entries = []
    for number, lattice in frames.items():
        data = read_frame(sweep, number, table=table)
        cells = boundary_cells(data.labels()).n_mixed
        width = 1.0
        at = lattice
        while at.zoom is not None:
            width, at = width / at.zoom.factor, frames[at.zoom.parent_id]
        sheet = read_sheet(data)
        verdict = "unverified" if sheet is None else sheet["verdict"]
        verified = sheet is not None and sheet["dimension"] is not None
        by_data = data.estimates() if force or verified else {}
        estimate = by_data[chosen] if (chosen := best(by_data)) else None
        note = "" if estimate else verdict
        entries.append(Entry(number, number, width, cells, estimate, note, verified))
    return sorted(entries, key=lambda entry: (-(entry.width or 0.0), entry.frame))


def against_steps(
    sweep: SweepData,
    frame: int | None = None,
    steps: Sequence[int] = (),
    *,
    force: bool = False,
) -> list[Entry]:
    """Return D of one frame if training had stopped after fewer steps.

    Parameters
    ----------
    frame
        Number of the frame; None for the last.
    steps
        Numbers of steps, at least 1 each. If empty: halvings of the longest run, down to the
        label's window.
    force
        Give D of a frame without a verification sheet as well.

    Raises
    ------
    SweepError
        If the dataset has no whole loss curves, or the frame has no verification sheet that gives a
        dimension and `force` is False.
    """
    table = sweep.table()
    longest = max(map(len, table.column("losses").to_pylist()), default=0)
    if not longest or longest < max(table.column("steps").to_pylist(), default=0):
        raise SweepError(f"{sweep.location} has no whole loss curves to cut short")
    window = sweep.spec.label.window
    if not steps:
        steps = sorted({max(window, longest >> k) for k in range(16)})
    rule = sweep.rule
    cut = [(float(count), _shortened(table, rule, count)) for count in steps]
    return _relabelled(sweep, frame, table, cut, force=force)


def against_threshold(
    sweep: SweepData,
    frame: int | None = None,
    thresholds: Sequence[float] = (),
    *,
    force: bool = False,
) -> list[Entry]:
    """Return D of one frame under other thresholds of the label.

    Parameters
    ----------
    thresholds
        Thresholds, above 0 each. If empty: 0.7 to 1.3 times the label's own.

    Other parameters are those of `against_steps`.

    Raises
    ------
    SweepError
        If the dataset has no loss curves, or the frame has no verification sheet that gives a
        dimension and `force` is False.
    """
    table = sweep.table()
    if not any(map(len, table.column("losses").to_pylist())):
        raise SweepError(f"{sweep.location} has no loss curves to label by another threshold")
    label = sweep.spec.label
    if not thresholds:
        thresholds = [label.threshold * (1 + 0.05 * k) for k in range(-6, 7)]
    rule, criterion = sweep.rule, label.criterion
    relabelled = [
        (at, outcomes(table, replace(rule, criterion=replace(criterion, threshold=at))))
        for at in thresholds
    ]
    return _relabelled(sweep, frame, table, relabelled, force=force)


def _shortened(table: pa.Table, rule: LabelRule, steps: int) -> list[Outcome]:
    """Return the outcomes of all runs if each had stopped after `steps` steps."""
    columns = (table.column(name).to_pylist() for name in ("losses", "diverged_step", "x", "y"))
    return [
        rule.outcome(
            Outcome.DIVERGED if at is not None and at < steps else Outcome.NOT_IMPROVED,
            np.array(curve[:steps], dtype=np.float32),
            x,
            y,
        )
        for curve, at, x, y in zip(*columns, strict=True)
    ]


def _check_sheet(data: FrameData) -> None:
    """Refuse a frame without a sheet, and a frame whose sheet gives no dimension."""
    sheet, number = read_sheet(data), data.lattice.frame.id
    if sheet is None:
        raise SweepError(
            f"frame {number} has no verification sheet for its points and label, and without one no"
            f" dimension is given; make one: {verify_command(data)}; or --force gives dimensions"
            " that are not verified"
        )
    if sheet["dimension"] is None:
        raise SweepError(
            f"the verification sheet of frame {number} gives no dimension. Its verdict is"
            f" {quoted(sheet['verdict'])}: {'; '.join(sheet['reasons'])}. --force gives"
            " dimensions that are not verified"
        )


def _relabelled(
    sweep: SweepData,
    frame: int | None,
    table: pa.Table,
    relabelled: Sequence[tuple[float, list[Outcome]]],
    *,
    force: bool,
) -> list[Entry]:
    """Return D of a frame's grid and pairs for each list of outcomes of the rows of `table`."""
    lattice = grid_of(sweep.frame(frame))
    number = lattice.frame.id
    if not force:
        _check_sheet(read_frame(sweep, number, table=table))
    failures = sweep.store().read_failures(skip_corrupt=True)
    label, rule = label_of(sweep), sweep.rule
    entries = []
    for at, under in relabelled:
        replayed = replay(sweep.spec, lattice, answers_of(table, map(rule.told, under), failures))
        if replayed is None:
            raise SweepError(f"frame {number} of {sweep.location} is not finished")
        labels = labels_of(replayed.field, label)[0]
        cells = boundary_cells(labels).n_mixed
        correlation = neighbour_correlation(labels)
        if correlation is None:
            entries.append(Entry(at, number, None, cells, None, "no boundary"))
        elif correlation < RESOLVED_FROM:
            entries.append(Entry(at, number, None, cells, None, UNRESOLVED))
        else:
            by_data = estimates(replayed, label)
            chosen = best(by_data)
            assert chosen is not None
            entries.append(Entry(at, number, None, cells, by_data[chosen]))
    return entries
