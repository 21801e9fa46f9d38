"""Summary of a dataset: counts, the boundary of a frame, its dimension and the verdict on it."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.frame_data import FrameData, read_frame
from fractal_ray.analysis.replay import best
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.analysis.verify.kept_sheet import read_sheet
from fractal_ray.analysis.verify.sheet import UNVERIFIED
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.dataset.relabel import ended_with_curve, long_windows, outcomes
from fractal_ray.dimension.audit import AuditReport
from fractal_ray.dimension.published import Published
from fractal_ray.dimension.published import estimate as estimate_published
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import stage_of
from fractal_ray.plane.boundary import UNKNOWN, Raster, boundary_cells, labels
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import (
    SPLIT,
    Criterion,
    Outcome,
    counts_text,
    split_counts,
    stored_counts,
)
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class Analysis:
    """Summary of one frame of a sweep so far.

    Parameters
    ----------
    verdict
        Verdict of the frame's verification sheet, or "unverified".
    reasons
        Sentences that give the reasons of the verdict.
    dimension
        D of the frame; None without a sheet, or under a verdict that gives none. With `force` it is
        given in these cases as well.
    verified
        True if a verification sheet gives the dimension.
    recommended
        Key in `estimates` of the recommended estimate.
    estimates
        Estimates by kind of data; empty while the frame is not finished, and without a sheet unless
        forced.
    published
        Results of the requested published estimators.
    parts_left_out
        Number of damaged parts whose rows no other number counts.
    """

    name: str
    frame: int
    boundary: str
    points: int
    outcomes: dict[str, int]
    not_improved: dict[str, int]
    nodes: int
    measured_nodes: int
    unknown_nodes: int
    boundary_cells: int
    unknown_cells: int
    yes_ratio: float | None
    verdict: str
    reasons: tuple[str, ...]
    dimension: float | None
    verified: bool
    recommended: str | None
    estimates: dict[str, Estimate]
    published: tuple[Published, ...]
    warnings: tuple[str, ...]
    audit: AuditReport | None = None
    parts_left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; without probes, the audit has no keys about them."""
        data = asdict(self)
        if self.audit is not None and self.audit.upper is None:
            data["audit"] = {k: v for k, v in data["audit"].items() if k not in _OF_PROBES}
        return data

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        counts = counts_text(self.outcomes, self.not_improved)
        lines = [
            f"{self.name}: {self.points} points ({counts})",
            *([f"of these, frame {self.frame}:"] if self.frame else []),
            f"boundary '{self.boundary}': {self.boundary_cells} boundary cells"
            + (f", {self.unknown_cells} cells not known" if self.unknown_cells else ""),
        ]
        inferred = self.nodes - self.measured_nodes - self.unknown_nodes
        if inferred:
            share = self.measured_nodes / self.nodes
            lines.append(
                f"lattice of {self.nodes:,} nodes: {self.measured_nodes:,} run ({share:.1%}),"
                f" {inferred:,} inferred"
            )
        if self.audit is not None:
            lines += _audit_lines(self.audit)
        lines.append(f"verdict: {self.verdict}")
        lines += [f"  {reason}" for reason in self.reasons]
        for data, estimate in self.estimates.items():
            note = " (recommended)" if data == self.recommended and len(self.estimates) > 1 else ""
            unverified = "" if self.verified else f"{UNVERIFIED}: "
            lines.append(f"{unverified}{estimate}{note}")
        for each in self.published:
            start = f"{UNVERIFIED}, as published by {each.name}:"
            if each.boundary_pixels and math.isfinite(each.dimension):
                lines.append(
                    f"{start} D = {each.dimension:.4f} from {each.boundary_pixels:,} border pixels;"
                    " not to be believed by itself"
                )
            else:
                lines.append(f"{start} no D from {each.boundary_pixels:,} border pixels")
        return lines + [f"note: {warning}" for warning in self.warnings]


_OF_PROBES: Final = ("probed", "hits", "upper")


def _audit_lines(audit: AuditReport) -> list[str]:
    """Return lines of text about the audit of a refinement."""
    if audit.rate is None:
        line = f"audit: none of the {audit.skipped:,} skipped cells was run"
        if audit.upper is None:
            return [f"{line}; nothing is said of them"]
        return [line, _bound_line(audit)]
    judged = audit.audited - audit.undecided
    line = (
        f"audit: {audit.surprises} of {judged:,} skipped cells that were run"
        f" hid border (of all {audit.skipped:,}: {audit.low:.2%} to {audit.high:.2%}, 95 %)"
    )
    counted, corrected = audit.found[-1], audit.corrected[-1]
    cells = f"boundary cells corrected for that: {corrected:,.0f} (found: {counted:,})"
    return [line, cells, _bound_line(audit)]


def _bound_line(audit: AuditReport) -> str:
    """Return the interval of the true number of boundary cells as text."""
    if audit.upper is None:
        return (
            f"boundary cells of the whole lattice: at least {audit.found[-1]:,}; not bounded above,"
            " because no finest cells were probed (refine: probes)"
        )
    return (
        f"boundary cells of the whole lattice: {audit.found[-1]:,} to {audit.upper[-1]:,.0f}"
        f" (95 %), {audit.hits} of {audit.probed:,} random finest cells hid border"
    )


def analyze(
    sweep: SweepData,
    *,
    frame: int | None = None,
    force: bool = False,
    published: Sequence[str] = (),
) -> tuple[Analysis, Raster]:
    """Measure the boundary on a frame of a sweep.

    Parameters
    ----------
    sweep
        The sweep; only its dataset is read.
    frame
        Number of the frame; None for the last.
    force
        Give dimensions of a frame without a verification sheet; they are marked as unverified.
    published
        Names of published estimators to apply as well (`dimension/published.py`).
    """
    data = read_frame(sweep, frame)
    return analyze_frame(data, force=force, published=published), data.raster


def analyze_frame(
    data: FrameData, *, force: bool = False, published: Sequence[str] = ()
) -> Analysis:
    """Measure the boundary on a frame whose data have been read.

    The other parameters are those of `analyze`.
    """
    sweep, lattice, raster = data.sweep, data.lattice, data.raster
    spec = sweep.spec
    yes = labels(raster, spec.label.boundary)
    cells = boundary_cells(yes)
    rule = sweep.rule
    counts = Counter(outcomes(data.table, rule))
    known = int(raster.known.sum())
    sheet = read_sheet(data)
    dimension = None if sheet is None else sheet["dimension"]
    by_data = data.estimates() if dimension is not None or force else {}
    chosen = best(by_data)
    verified = dimension is not None
    if force and dimension is None and chosen is not None:
        dimension = by_data[chosen].value
    return Analysis(
        name=spec.name,
        frame=lattice.frame.id,
        boundary=spec.label.boundary,
        points=data.table.num_rows,
        outcomes=stored_counts(counts),
        not_improved=split_counts(counts),
        nodes=raster.outcome.size,
        measured_nodes=int(raster.measured.sum()),
        unknown_nodes=raster.outcome.size - known,
        boundary_cells=cells.n_mixed,
        unknown_cells=cells.n_unknown,
        yes_ratio=float((yes == 1).sum() / known) if known else None,
        verdict=UNVERIFIED if sheet is None else sheet["verdict"],
        reasons=_how_to_verify(sweep) if sheet is None else tuple(sheet["reasons"]),
        dimension=dimension,
        verified=verified,
        recommended=chosen,
        estimates={str(data): estimate for data, estimate in by_data.items()},
        published=_published(sweep, published, yes),
        warnings=(
            *notes_on_zooms(spec, read_zooms(sweep.store())),
            *notes_on_baseline(rule, counts),
            *notes_on_window(data.table, spec.label.criterion),
            *sweep.left_out(),
        ),
        audit=data.replayed.audit if data.replayed else None,
        parts_left_out=len(sweep.damaged_parts()),
    )


def _published(
    sweep: SweepData, names: Sequence[str], node_labels: NDArray[np.int8]
) -> tuple[Published, ...]:
    """Apply published estimators, by name, to (ny, nx) labels."""
    unknown = int((node_labels == UNKNOWN).sum())
    if names and unknown:
        raise SweepError(
            f"--published: {unknown:,} of {node_labels.size:,} nodes have no label, and published"
            f" estimators know no such nodes; finish the frame first: {sweep.run_command}"
        )
    return tuple(estimate_published(name, node_labels == 1) for name in names)


def _how_to_verify(sweep: SweepData) -> tuple[str, ...]:
    command = f"fractal-ray verify {shlex.quote(sweep.location)}"
    return (f"no dimension is given without a verification sheet; make one: {command}",)


def notes_on_baseline(rule: LabelRule, counts: Mapping[Outcome, int]) -> list[str]:
    """Return a note where the first loss stands in for the untouched model."""
    if rule.source != "stand-in" or not any(counts.get(part) for part in SPLIT):
        return []
    note = (
        "too_slow and degraded are judged by the first loss of each run, with a rise of"
        f" {rule.stand_in_rise:g}, because the untouched model has not been evaluated"
    )
    return [note]


def notes_on_window(table: pa.Table, criterion: Criterion) -> list[str]:
    """Return a note where a label window is more than half of the steps of stored runs.

    Parameters
    ----------
    table
        Rows with the columns `outcome`, `losses` and `steps`.
    criterion
        The rule of the labels.
    """
    count = int(long_windows(table, criterion).sum())
    if not count:
        return []
    runs = int(ended_with_curve(table).sum())
    note = (
        f"label.window {criterion.window} is more than half of the steps of {count:,} of the"
        f" {runs:,} runs with finite losses; a curve that is shorter is averaged whole"
    )
    return [note]


def notes_on_zooms(spec: SweepSpec, zooms: Sequence[Zoom]) -> list[str]:
    """Return notes on zooms with fewer frames than planned, or frames chosen by another label."""
    notes = []
    for index, stage in enumerate(spec.stages):
        if stage.zoom is None:
            continue
        made = sum(stage_of(zoom.frame.id) == index for zoom in zooms)
        if made < (most := spec.plan.frames(index)):
            notes.append(
                f"stage {index}, a zoom, has {made} of up to {most} frames; it chooses none"
                " where it finds no border, or no room for another window"
            )
    label = spec.label.model_dump()
    # Zooms of older versions do not name all rules.
    others = [zoom for zoom in zooms if {**label, **zoom.label} != label]
    if others:
        was = others[0].label
        changes = ", ".join(
            f"{key} {was.get(key)!r}" for key in label if was.get(key) != label[key]
        )
        notes.append(
            f"{len(others)} of {len(zooms)} frames were chosen where the border of another label"
            f" ran: {changes}"
        )
    return notes
