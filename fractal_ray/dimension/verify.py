"""The verification sheet: what must hold before a dimension is printed, and the verdict in words.

A number is a dimension of the border only if the labels next to it are labels of the settings
(they do not change when a run is repeated, or when a rate moves by its smallest step), if the
lattice has as many different values as nodes, if neighbouring labels know of each other, and if
the border is still rough at the finest scales, more than smooth curves are in the same pipeline.
Sources: Sohl-Dickstein, arXiv 2402.06184; the checks follow the replication that measured flips of
0.2 % of boundary points under a nudge of one ulp, and 50 % where the labels are noise.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from fractal_ray.dimension.nulls import NO_BOUNDARY, SMOOTH
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.verdict import UNRESOLVED, Reading

FRACTAL: Final = "fractal"
UNVERIFIED: Final = "unverified"

MOST_FLIPS: Final = 0.01
"""Share of boundary labels that may change under a repeat or a nudge."""


@dataclass(frozen=True)
class Flips:
    """How many labels changed in a check.

    Parameters
    ----------
    check
        repeat: the same values again. nudge: one of them moved by the smallest step of its
        arithmetic. dtype: the whole run in another dtype.
    runs, flips
        Labels compared, and of these different ones.
    low, high
        Clopper-Pearson interval of the share, 95 %; None without runs.
    failed
        Runs that failed for good and show nothing.
    """

    check: str
    runs: int
    flips: int
    low: float | None
    high: float | None
    failed: int = 0

    def __str__(self) -> str:
        """For a reader."""
        said = (
            f"{_CHECKS.get(self.check, self.check)}: {self.flips} of {self.runs:,} labels changed"
        )
        if self.low is not None and self.high is not None:
            said += f" (95 %: {self.low:.1%} to {self.high:.1%})"
        return said + (f", {self.failed} runs failed" if self.failed else "")


_CHECKS: Final = {
    "repeat": "the same runs again",
    "nudge": "one ulp beside",
    "dtype": "in the other dtype",
}


@dataclass(frozen=True)
class AxisValues:
    """The numbers that an axis's nodes are in the arithmetic that uses them."""

    param: str
    arithmetic: str
    nodes: int
    distinct: int


@dataclass(frozen=True)
class Evidence:
    """What was found on a frame.

    Parameters
    ----------
    boundary_cells
        At the finest level.
    estimate
        The recommended one.
    smooth
        The same estimator on smooth sets through the same stages, by name.
    noise
        The same on labels drawn by chance.
    flips
        Checks that were run; `missing` names those that were not and apply.
    values
        Of both axes.
    reading
        Of the finest lattice's labels: their correlation, and their box count beside smooth curves.
    growth
        Boundary cells by level, coarse to fine; empty for a frame that was not refined.
    """

    boundary_cells: int
    estimate: Estimate | None
    smooth: dict[str, Estimate]
    noise: Estimate | None
    flips: tuple[Flips, ...]
    missing: tuple[str, ...]
    values: tuple[AxisValues, AxisValues]
    reading: Reading
    growth: tuple[int, ...]


@dataclass(frozen=True)
class Sheet:
    """Evidence and what it amounts to.

    `verdict` is `fractal`, `consistent with smooth`, `unresolved`, `no boundary` or `unverified`;
    on a lattice too small for any estimator, what its box count reads beside smooth curves
    (`dimension/nulls.py`). `reasons` are sentences, the deciding ones first.
    """

    evidence: Evidence
    verdict: str
    reasons: tuple[str, ...]

    @property
    def dimension(self) -> float | None:
        """The value, where the verdict allows one to be given."""
        shown = self.verdict in (FRACTAL, SMOOTH)
        return self.evidence.estimate.value if shown and self.evidence.estimate else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "dimension": self.dimension}

    def lines(self) -> list[str]:
        """For a reader."""
        evidence = self.evidence
        lines = [f"verdict: {self.verdict}", *(f"  {reason}" for reason in self.reasons)]
        if evidence.estimate is not None:
            lines.append(f"{evidence.estimate}")
        for name, null in {**evidence.smooth, "label noise": evidence.noise}.items():
            if null is not None:
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
    """The verdict on what was found."""
    if not evidence.boundary_cells:
        return Sheet(evidence, NO_BOUNDARY, ("all known points have one label",))
    if broken := [*_values_broken(evidence.values), *_labels_broken(evidence)]:
        return Sheet(evidence, UNRESOLVED, tuple(broken))
    if evidence.missing:
        what = ", ".join(evidence.missing)
        return Sheet(evidence, UNVERIFIED, (f"checks not run: {what}",))
    estimate = evidence.estimate
    if estimate is None or estimate.value is None or estimate.interval is None:
        return Sheet(evidence, evidence.reading.verdict, evidence.reading.reasons)
    verdict, reason = _rough_or_smooth(estimate, evidence.smooth, evidence.growth)
    return Sheet(evidence, verdict, (reason, *_belongs_to(evidence.flips)))


def _values_broken(values: Sequence[AxisValues]) -> list[str]:
    return [
        f"{v.param}: {v.nodes:,} nodes are {v.distinct:,} different {v.arithmetic}: neighbours are"
        " one run"
        for v in values
        if v.distinct < v.nodes
    ]


def _labels_broken(evidence: Evidence) -> list[str]:
    reasons = []
    if evidence.reading.verdict == UNRESOLVED:
        reasons += evidence.reading.reasons
    reasons += [
        f"{flips}: labels at the border are not labels of their settings"
        for flips in evidence.flips
        if flips.check in ("repeat", "nudge") and flips.low is not None and flips.low > MOST_FLIPS
    ]
    return reasons


def _rough_or_smooth(
    estimate: Estimate, smooth: dict[str, Estimate], growth: Sequence[int]
) -> tuple[str, str]:
    assert estimate.value is not None
    assert estimate.interval is not None
    low, high = estimate.interval
    most = max((null.interval[1] for null in smooth.values() if null.interval), default=1.0)
    said = f"D is {low:.2f} to {high:.2f}, and smooth curves in the same stages reach {most:.2f}"
    if low <= most:
        return SMOOTH, said
    finest = _fitted_slopes(estimate)[-2:]
    if finest and max(finest) <= most:
        slopes = ", ".join(f"{slope:.2f}" for slope in finest)
        return SMOOTH, (
            f"the finest scales read {slopes}: the border is rough at coarse scales only ({said})"
        )
    return FRACTAL, f"{said}; it is rough at every scale down to the finest"


def _fitted_slopes(estimate: Estimate) -> list[float]:
    """Local slopes between scales that entered the fit, the finest last."""
    assert estimate.fit_scales is not None
    coarse, fine = estimate.fit_scales
    slopes = zip(pairwise(estimate.scales), estimate.local_slopes, strict=True)
    fitted = [slope for (above, below), slope in slopes if fine <= below and above <= coarse]
    return [slope for slope in fitted if not math.isnan(slope)]


def _belongs_to(flips: Sequence[Flips]) -> list[str]:
    """What a reader should know of the number although it decides nothing."""
    return [
        f"{each}: the border belongs to this arithmetic, not to the settings alone"
        for each in flips
        if each.check == "dtype" and each.low is not None and each.low > MOST_FLIPS
    ]


def _short(estimate: Estimate) -> str:
    if estimate.value is None or estimate.interval is None:
        return "no dimension"
    return f"D = {estimate.value:.2f} ({estimate.interval[0]:.2f} to {estimate.interval[1]:.2f})"
