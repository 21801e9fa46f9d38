"""The verification sheet: the conditions for printing a dimension, and the verdict in words.

A number is a dimension of the border only under four conditions. The labels next to the border are
labels of the settings: they do not change when a run is repeated, or when a rate moves by its
smallest step. The lattice has as many different values as nodes. Neighbouring labels are
correlated. The border is still rough at the finest scales, rougher than smooth curves sent through
the frame's stages. The border is that of Sohl-Dickstein, arXiv 2402.06184; the checks follow the
replication that measured flips of 0.2 % of boundary points under a nudge of one ulp, and 50 % where
the labels are noise.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fractal_ray.analysis.verify.reading import UNRESOLVED, Reading
from fractal_ray.analysis.verify.smooth_range import NO_BOUNDARY, SMOOTH
from fractal_ray.dimension.result import Estimate

FRACTAL: Final = "fractal"
UNVERIFIED: Final = "unverified"

DECIDING: Final = ("repeat", "nudge", "mode")
"""Checks whose flips decide against the labels; flips in another dtype are only reported."""
MOST_FLIPS: Final = 0.01
"""Largest share of boundary labels that may change in a deciding check."""
SURE_BELOW: Final = 0.05
"""Limit of the upper end of that share's interval, above which more runs are needed: 72 runs
without a flip are enough. It does not apply to a sample of all points of the border."""
MOST_LOST: Final = 0.05
"""Largest share of check runs that may fail, and of boundary cells that may be unknown."""
MOST_ON_RIM: Final = 0.25
"""Largest share of boundary cells that may lie along the frame's rim."""
WIDEST: Final = 0.5
"""Largest width of a dimension's interval that still allows a verdict."""
SMOOTH_WITHIN: Final = 0.3
"""Largest excess over 1 of D of smooth sets on a lattice that can separate them from rough sets."""
FADED: Final = 0.3
"""Largest drop below the interval at the finest scales, where boxes of a few cells read low."""
MARGIN: Final = 0.05
"""Margin added to D of smooth sets: a new set may read a little more than the tested sets."""


@dataclass(frozen=True)
class LabelCheck:
    """Result of a check of labels.

    Parameters
    ----------
    check
        "repeat": a second run with equal values. "nudge": one value moved by the smallest step of
        its arithmetic. "mode": deterministic mode, for a sweep in another mode. "dtype": the
        whole run in another dtype.
    runs, flips
        Number of labels compared, and of changed labels among them.
    low, high
        Clopper-Pearson interval of the share of flips, 95 %; None without runs.
    failed
        Number of runs that failed for good and show nothing.
    other_lengths
        Number of repeated runs with more or fewer losses than before.
    """

    check: str
    runs: int
    flips: int
    low: float | None
    high: float | None
    failed: int = 0
    other_lengths: int = 0

    def __str__(self) -> str:
        """Return the result as one line of text."""
        text = (
            f"{_CHECKS.get(self.check, self.check)}: {self.flips} of {self.runs:,} labels changed"
        )
        if self.low is not None and self.high is not None:
            text += f" (95 %: {self.low:.1%} to {self.high:.1%})"
        if self.other_lengths:
            text += f", {self.other_lengths} runs gave another number of losses than before"
        return text + (f", {self.failed} runs failed" if self.failed else "")


_CHECKS: Final = {
    "repeat": "the same runs again",
    "nudge": "one ulp beside",
    "mode": "in deterministic mode",
    "dtype": "in the other dtype",
}


@dataclass(frozen=True)
class AxisValues:
    """Number of distinct values of an axis's nodes in the arithmetic that uses them."""

    param: str
    arithmetic: str
    nodes: int
    distinct: int


@dataclass(frozen=True)
class Evidence:
    """Evidence about the border of a frame.

    Parameters
    ----------
    boundary_cells, unknown_cells
        Number of cells at the finest level whose corners differ, and of cells that failed runs
        leave open.
    data
        Kind of data that the estimate is made of.
    estimate
        The recommended estimate.
    smooth
        Estimates by this estimator for smooth sets sent through the frame's stages, by name.
    noise
        Estimate by this estimator for labels drawn by chance.
    flips
        Results of the checks that were run.
    missing
        Names of the checks that apply and were not run.
    values
        Distinct values of both axes.
    reading
        Reading of the finest lattice's labels: their correlation, and their box count beside smooth
        curves.
    rim
        Share of the boundary cells that lie along the frame's rim.
    census
        True if the sample holds all points of the border.
    growth
        Boundary cells by level, coarse to fine; empty for a frame that was not refined.
    """

    boundary_cells: int
    unknown_cells: int
    data: str | None
    estimate: Estimate | None
    smooth: dict[str, Estimate]
    noise: Estimate | None
    flips: tuple[LabelCheck, ...]
    missing: tuple[str, ...]
    values: tuple[AxisValues, AxisValues]
    reading: Reading
    growth: tuple[int, ...]
    rim: float
    census: bool


@dataclass(frozen=True)
class Sheet:
    """Evidence about a frame, and the verdict on it.

    Parameters
    ----------
    verdict
        "fractal", "consistent with smooth", "unresolved", "no boundary" or "unverified".
    reasons
        Sentences, the deciding ones first.
    """

    evidence: Evidence
    verdict: str
    reasons: tuple[str, ...]

    @property
    def dimension(self) -> float | None:
        """Return the dimension if the verdict allows one, else None."""
        estimate = self.evidence.estimate
        if self.verdict not in (FRACTAL, SMOOTH) or estimate is None or estimate.interval is None:
            return None
        # If only the finest scales are smooth, the estimate from all scales is no dimension.
        holds_one = estimate.interval[0] <= 1 <= estimate.interval[1]
        return estimate.value if self.verdict == FRACTAL or holds_one else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        plain = {**asdict(self), "dimension": self.dimension}
        for check in plain["evidence"]["flips"]:
            if not check["other_lengths"]:  # a sheet of most sweeps is that of older versions
                del check["other_lengths"]
        return plain

    def lines(self) -> list[str]:
        """Return the sheet as lines of text."""
        evidence = self.evidence
        lines = [f"verdict: {self.verdict}", *(f"  {reason}" for reason in self.reasons)]
        if evidence.estimate is not None:
            lines.append(f"{evidence.estimate}")
        for name, null in {**evidence.smooth, "label noise": evidence.noise}.items():
            if null is not None and null.value is not None:
                lines.append(f"  null, {name}: {_short(null)}")
        lines += [f"  {flips}" for flips in evidence.flips]
        lines += [f"  not run: {_CHECKS.get(check, check)}" for check in evidence.missing]
        lines += [
            f"  {v.param}: {v.distinct:,} different {v.arithmetic} on {v.nodes:,} nodes"
            for v in evidence.values
        ]
        if evidence.reading.correlation is not None:
            lines.append(
                f"  correlation of neighbouring labels: {evidence.reading.correlation:.2f}"
            )
        if evidence.growth:
            counts = ", ".join(f"{count:,}" for count in evidence.growth)
            lines.append(f"  boundary cells by level: {counts}")
        return lines


def judge(evidence: Evidence) -> Sheet:
    """Return the sheet with the verdict on the evidence."""
    estimate = evidence.estimate
    if not evidence.boundary_cells and not evidence.unknown_cells:
        if estimate is None or not any(estimate.measured):
            return Sheet(evidence, NO_BOUNDARY, ("all points have one label",))
        reason = "the lattice shows no border and lines or pairs do: it lies between its nodes"
        return Sheet(evidence, UNRESOLVED, (reason,))
    if broken := [*_values_broken(evidence.values), *_labels_broken(evidence)]:
        return Sheet(evidence, UNRESOLVED, tuple(broken))
    if lacking := _lacking(evidence):
        return Sheet(evidence, UNVERIFIED, tuple(lacking))
    if estimate is None or estimate.value is None or estimate.interval is None:
        return _without_estimate(evidence)
    verdict, reason = _rough_or_smooth(estimate, evidence.smooth)
    return Sheet(evidence, verdict, (reason, *_belongs_to(evidence.flips)))


def _without_estimate(evidence: Evidence) -> Sheet:
    """Return the sheet of a lattice too small for any estimator, by its box count."""
    reading = evidence.reading
    if reading.verdict == SMOOTH:
        return Sheet(evidence, SMOOTH, reading.reasons)
    more = "no estimator can tell on so few scales; a stage transects, or more levels, would"
    return Sheet(evidence, UNRESOLVED, (f"{reading.verdict}: {more}", *reading.reasons))


def _lacking(evidence: Evidence) -> list[str]:
    """Return sentences about the runs that are needed before a verdict is possible."""
    reasons = [f"not run: {_CHECKS.get(check, check)}" for check in evidence.missing]
    for each in evidence.flips:
        if each.check not in DECIDING:
            continue
        if each.failed > MOST_LOST * (each.runs + each.failed):
            reasons.append(f"{each}: too many runs failed")
        elif not evidence.census and (each.high is None or each.high > SURE_BELOW):
            reasons.append(f"{each}: too few runs to be sure; take more --points")
    return reasons


def _values_broken(values: Sequence[AxisValues]) -> list[str]:
    """Return sentences about axes with fewer distinct values than nodes."""
    return [
        f"{v.param}: {v.nodes:,} nodes are {v.distinct:,} different {v.arithmetic}: neighbours are"
        " one run"
        for v in values
        if v.distinct < v.nodes
    ]


def _labels_broken(evidence: Evidence) -> list[str]:
    """Return sentences about labels that do not form a border of the settings."""
    reasons = []
    if evidence.reading.verdict == UNRESOLVED:
        reasons += evidence.reading.reasons
    cells, unknown = evidence.boundary_cells, evidence.unknown_cells
    if unknown > MOST_LOST * (cells + unknown):
        reasons.append(f"failed runs leave {unknown:,} cells open, beside {cells:,} boundary cells")
    if evidence.rim > MOST_ON_RIM:
        reasons.append(
            f"{evidence.rim:.0%} of the boundary cells lie along the frame's rim, where half of the"
            " border is not seen; widen the axes"
        )
    reasons += [
        f"{flips}: labels at the border are not labels of their settings"
        for flips in evidence.flips
        if flips.check in DECIDING and flips.low is not None and flips.low > MOST_FLIPS
    ]
    return reasons


def _rough_or_smooth(estimate: Estimate, smooth: dict[str, Estimate]) -> tuple[str, str]:
    """Compare an estimate with those of smooth sets; return the verdict and its reason."""
    assert estimate.value is not None
    assert estimate.interval is not None
    low, high = estimate.interval
    values = [null.value for null in smooth.values() if null.value is not None]
    most = max(values, default=2.0) + MARGIN
    comparison = (
        f"D is {low:.2f} to {high:.2f}, and smooth sets in the same stages read up to {most:.2f}"
    )
    if most > 1 + SMOOTH_WITHIN:
        return UNRESOLVED, f"{comparison}: this lattice cannot tell them from a rough border"
    if high - low > WIDEST:
        return UNRESOLVED, f"{comparison}: more lines or levels would tell"
    if high < 1 - MARGIN:
        return UNRESOLVED, f"{comparison}: less than a curve, so part of the border was not seen"
    finest = [slope for slope in estimate.local_slopes[-3:] if not math.isnan(slope)]
    slopes = ", ".join(f"{slope:.2f}" for slope in finest)
    if low <= most:
        return (
            SMOOTH,
            f"{comparison}; it cannot be told from a dimension below {max(high, most):.2f}",
        )
    if finest and sum(finest[-2:]) <= most * len(finest[-2:]):
        return (
            SMOOTH,
            f"the finest scales read {slopes}: rough at coarse scales only ({comparison})",
        )
    fading = min([*finest[-1:], sum(finest) / max(1, len(finest))], default=0.0)
    if fading <= most or fading < low - FADED:
        return UNRESOLVED, f"the finest scales read {slopes}, so it may end there ({comparison})"
    ends = f"{estimate.scales[-1]:.3g} {estimate.unit}"
    return FRACTAL, f"{comparison}; it is rough down to the finest scale, {ends}"


def _belongs_to(flips: Sequence[LabelCheck]) -> list[str]:
    """Return sentences about flips in another dtype, which do not decide the verdict."""
    return [
        f"{each}: the border belongs to this arithmetic, not to the settings alone"
        for each in flips
        if each.check == "dtype" and each.low is not None and each.low > MOST_FLIPS
    ]


def _short(estimate: Estimate) -> str:
    if estimate.value is None or estimate.interval is None:
        return "no dimension"
    return f"D = {estimate.value:.2f} ({estimate.interval[0]:.2f} to {estimate.interval[1]:.2f})"
