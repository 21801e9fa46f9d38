"""From a dataset to numbers: counts, the boundary, and its dimension with what is known of it."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from fractal_ray.audits import read_audit
from fractal_ray.boundary import Raster, boundary_cells, labels
from fractal_ray.dimension.boxcount import STDERR_NOTE, boxcount
from fractal_ray.dimension.nulls import smooth_range, verdict
from fractal_ray.frames import read_zooms, unchosen
from fractal_ray.outcome import Outcome
from fractal_ray.planners.audit import AuditReport
from fractal_ray.relabel import outcomes
from fractal_ray.sweep import Sweep


@dataclass(frozen=True)
class Analysis:
    """What a sweep shows so far.

    `dimension` is None where it cannot be defended; `smooth_low` to `smooth_high` is what straight
    lines and circles give with the same estimator on a lattice of the same size.
    """

    name: str
    frame: int
    boundary: str
    points: int
    outcomes: dict[str, int]
    nodes: int
    measured_nodes: int
    unknown_nodes: int
    boundary_cells: int
    unknown_cells: int
    yes_ratio: float | None
    dimension: float | None
    stderr: float | None
    box_sizes: tuple[int, ...]
    box_counts: tuple[int, ...]
    fit_sizes: tuple[int, ...]
    smooth_low: float | None
    smooth_high: float | None
    verdict: str
    warnings: tuple[str, ...]
    audit: AuditReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for a reader."""
        counts = ", ".join(f"{n} {name}" for name, n in self.outcomes.items())
        lines = [
            f"{self.name}: {self.points} points ({counts})",
            *([f"frame {self.frame}"] if self.frame else []),
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
        if self.dimension is None:
            lines.append(f"dimension: none given, {self.verdict}")
        else:
            sizes = f"{min(self.fit_sizes)} to {max(self.fit_sizes)} cells"
            lines.append(
                f"box-counting dimension {self.dimension:.2f} over boxes of {sizes}"
                f" (± {self.stderr:.2f}, {STDERR_NOTE})"
            )
            lines.append(
                f"smooth curves on this lattice give {self.smooth_low:.2f} to"
                f" {self.smooth_high:.2f}: {self.verdict}"
            )
        return lines + [f"note: {warning}" for warning in self.warnings]


def _audit_lines(audit: AuditReport) -> list[str]:
    if audit.rate is None:
        return [
            f"audit: none of the {audit.skipped:,} skipped cells was run; nothing is said of them"
        ]
    judged = audit.audited - audit.undecided
    shown = (
        f"audit: {audit.surprises} of {judged:,} skipped cells that were run"
        f" hid border (of all {audit.skipped:,}: {audit.low:.2%} to {audit.high:.2%}, 95 %)"
    )
    found, corrected = audit.found[-1], audit.corrected[-1]
    return [shown, f"boundary cells corrected for that: {corrected:,.0f} (found: {found:,})"]


def analyze(
    sweep: Sweep, *, frame: int | None = None, skip_corrupt: bool = False
) -> tuple[Analysis, Raster]:
    """Measure the boundary on a frame of a sweep.

    Parameters
    ----------
    sweep
        The sweep; only its dataset is read.
    frame
        Number of the frame; None for the last.
    skip_corrupt
        Leave out parts that cannot be read instead of raising.
    """
    table = sweep.table(skip_corrupt=skip_corrupt)
    spec, lattice = sweep.spec, sweep.lattice(frame)
    raster = sweep.raster(table, frame=lattice.frame.id)
    yes = labels(raster, spec.label.boundary)
    cells = boundary_cells(yes)
    found = boxcount(cells.mixed)
    smooth = None
    if found.dimension is not None:
        smooth = smooth_range(
            *cells.mixed.shape, sizes=found.fit_sizes, n_boundary=found.n_boundary
        )
    counts = Counter(outcomes(table, spec.label.criterion))
    known = int(raster.known.sum())
    audit = None
    if lattice.refinement is not None:
        failures = sweep.store().read_failures(skip_corrupt=True)
        audit = read_audit(spec, lattice.refinement, lattice.frame, table, failures)
    result = Analysis(
        name=spec.name,
        frame=lattice.frame.id,
        boundary=spec.label.boundary,
        points=table.num_rows,
        outcomes={outcome.value: counts[outcome] for outcome in Outcome},
        nodes=raster.outcome.size,
        measured_nodes=int(raster.measured.sum()),
        unknown_nodes=raster.outcome.size - known,
        boundary_cells=cells.n_mixed,
        unknown_cells=cells.n_unknown,
        yes_ratio=float((yes == 1).sum() / known) if known else None,
        dimension=found.dimension,
        stderr=found.stderr,
        box_sizes=tuple(found.sizes.tolist()),
        box_counts=tuple(found.counts.tolist()),
        fit_sizes=found.fit_sizes,
        smooth_low=smooth[0] if smooth else None,
        smooth_high=smooth[1] if smooth else None,
        verdict=verdict(found, smooth or (float("nan"), float("nan"))),
        warnings=(*found.warnings, *unchosen(spec, read_zooms(sweep.store()))),
        audit=audit,
    )
    return result, raster
