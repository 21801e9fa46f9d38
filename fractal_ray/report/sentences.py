"""Results in sentences: the finding of the whole sweep, and each check of a verification sheet."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fractal_ray.analysis.verify.reading import RESOLVED_FROM, UNRESOLVED
from fractal_ray.analysis.verify.sheet import (
    FRACTAL,
    MOST_FLIPS,
    MOST_LOST,
    MOST_ON_RIM,
    SURE_BELOW,
    AxisValues,
    LabelCheck,
)
from fractal_ray.analysis.verify.smooth_range import NO_BOUNDARY, SMOOTH
from fractal_ray.dataset.secrets import without_keys
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.palette import NO, YES
from fractal_ray.report.facts import Facts

_VERDICT_SENTENCES: Final = {
    FRACTAL: "the border{} is rough down to the finest scale",
    SMOOTH: "the border{} cannot be told from a smooth curve",
    UNRESOLVED: "these runs cannot say how rough the border{} is",
    NO_BOUNDARY: "there is no border{}",
}
_UNSURE: Final = "the checks that a dimension of the border{} needs are not complete"


@dataclass(frozen=True)
class Check:
    """Line of a verification sheet: name of a check, its result and its requirement.

    `passed` is None if a check decides nothing by itself.
    """

    name: str
    found: str
    asked: str
    passed: bool | None


def finding(facts: Facts) -> str:
    """Return the share of yes, the result on the border, and the verdict, in two sentences."""
    if not facts.frames or not facts.table.num_rows:
        return "Nothing has been run to its end yet, so there is nothing to say."
    whole, boundary = facts.frames[0].analysis, facts.sweep.spec.label.boundary
    share = whole.yes_ratio or 0.0
    if whole.unknown_nodes:
        sentence = f"Of the nodes with a known label {share:.1%} are {YES[boundary]}"
    else:
        sentence = f"{share:.1%} of the axes' plane is {YES[boundary]}, the rest is {NO[boundary]}"
    return f"{sentence}; {_border(facts)}. Verdict: {facts.main.analysis.verdict}."


def _border(facts: Facts) -> str:
    frame = facts.main
    verdict, dimension = frame.analysis.verdict, frame.analysis.dimension
    if not any(each.analysis.boundary_cells for each in facts.frames):
        return "no border is seen"
    if frame.sheet is None:
        return "whether its border is rough was not verified, so no dimension is given"
    sentence = _VERDICT_SENTENCES.get(verdict, _UNSURE).format(
        f" in frame {frame.number}" if len(facts.frames) > 1 else ""
    )
    addition = ""
    if dimension is not None and frame.interval is not None:
        low, high = frame.interval
        addition = f", with a dimension of {dimension:.2f} (95 %: {low:.2f} to {high:.2f})"
    return f"{sentence}{addition}"


def unfinished(facts: Facts) -> list[str]:
    """Return sentences on the points still to be run; empty if the sweep has ended."""
    said = []
    status = facts.status
    if status.planned is not None and status.points < status.planned:
        said.append(f"The sweep is not finished: {status.points:,} of {status.planned:,} points.")
    else:
        open_frames = [str(f.number) for f in facts.frames if f.data.replayed is None]
        if open_frames:
            said.append(f"Not finished: frame {', '.join(open_frames)}.")
    for frame in facts.frames:
        if frame.data.replayed is not None and frame.data.replayed.unfinished:
            stages = ", ".join(frame.data.replayed.unfinished)
            said.append(f"Not finished on frame {frame.number}: {stages}.")
    if said:
        said.append(f"To go on: {without_keys(facts.sweep.run_command)}")
    return said


def checks(sheet: dict[str, Any]) -> list[Check]:
    """Return the checks of a stored verification sheet (docs/storage.md)."""
    evidence = sheet["evidence"]
    cells, unknown = evidence["boundary_cells"], evidence["unknown_cells"]
    lines = [_values(AxisValues(**each)) for each in evidence["values"]]
    lines += [_flips(LabelCheck(**each), census=evidence["census"]) for each in evidence["flips"]]
    lines += [Check(check, "not run", "to be run", passed=False) for check in evidence["missing"]]
    correlation = evidence["reading"]["correlation"]
    if correlation is not None:
        lines.append(
            Check(
                "neighbouring labels know of each other",
                f"correlation {correlation:.2f}",
                f"{RESOLVED_FROM} or more; noise has 0",
                correlation >= RESOLVED_FROM,
            )
        )
    lines += [
        Check(
            "failed runs leave few cells open",
            f"{unknown:,} cells open, {cells:,} boundary cells",
            f"at most {MOST_LOST:.0%} open",
            unknown <= MOST_LOST * (cells + unknown),
        ),
        Check(
            "the border is seen on both sides",
            f"{evidence['rim']:.0%} of the boundary cells lie along the rim",
            f"at most {MOST_ON_RIM:.0%}",
            evidence["rim"] <= MOST_ON_RIM,
        ),
    ]
    if evidence["growth"]:
        counts = ", ".join(f"{count:,}" for count in evidence["growth"])
        lines.append(Check("boundary cells by level, coarse to fine", counts, "", passed=None))
    if evidence["reading"]["dimension"] is not None and evidence["reading"]["smooth"]:
        low, high = evidence["reading"]["smooth"]
        lines.append(
            Check(
                "box count of the finest lattice beside smooth curves",
                f"{evidence['reading']['verdict']}",
                f"smooth curves read {low:.2f} to {high:.2f} on this lattice",
                passed=None,
            )
        )
    return lines


def _values(values: AxisValues) -> Check:
    return Check(
        f"{values.param}: neighbours are different runs",
        f"{values.distinct:,} different {values.arithmetic} on {values.nodes:,} nodes",
        "as many as nodes",
        values.distinct >= values.nodes,
    )


def _flips(flips: LabelCheck, *, census: bool) -> Check:
    name, _, result = str(flips).partition(": ")
    if flips.check == "dtype":
        requirement = "decides nothing: says whether the border belongs to the arithmetic"
        return Check(name, result, requirement, passed=None)
    requirement = f"not surely above {MOST_FLIPS:.0%}" + (
        "" if census else f", surely below {SURE_BELOW:.0%}"
    )
    low, high = flips.low or 0.0, 1.0 if flips.high is None else flips.high
    lost = flips.failed > MOST_LOST * (flips.runs + flips.failed)
    passed = low <= MOST_FLIPS and (census or high <= SURE_BELOW) and not lost
    return Check(name, result, requirement, passed)


def estimate_of(kept: dict[str, Any] | None) -> Estimate | None:
    """Rebuild an estimate from a stored sheet; None from None."""
    return None if kept is None else Estimate(**kept)


def day(written: str | None) -> str:
    """Format an ISO date in UTC, as rows and headers hold it."""
    return "never" if written is None else f"{datetime.fromisoformat(written):%Y-%m-%d %H:%M} UTC"
