"""What was found, in sentences: of the whole sweep, of a verification sheet check by check."""

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
from fractal_ray.dimension.result import Estimate
from fractal_ray.figures.style import NO
from fractal_ray.report.facts import Facts

_SAID: Final = {
    FRACTAL: "the border{} is rough down to the finest scale",
    SMOOTH: "the border{} cannot be told from a smooth curve",
    UNRESOLVED: "these runs cannot say how rough the border{} is",
    NO_BOUNDARY: "there is no border{}",
}
_UNSURE: Final = "the checks that a dimension of the border{} needs are not complete"


@dataclass(frozen=True)
class Check:
    """A line of a verification sheet: what was looked at, what was found, what had to hold.

    `passed` is None where a check decides nothing by itself.
    """

    name: str
    found: str
    asked: str
    passed: bool | None


def finding(facts: Facts) -> str:
    """How much is yes and what is known of the border, in one sentence, and the verdict."""
    if not facts.frames or not facts.table.num_rows:
        return "Nothing has been run to its end yet, so there is nothing to say."
    whole, boundary = facts.frames[0].analysis, facts.sweep.spec.label.boundary
    share = whole.yes_ratio or 0.0
    if whole.unknown_nodes:
        said = f"Of the nodes that are known so far {share:.1%} are {boundary}"
    else:
        said = f"{share:.1%} of the axes' plane is {boundary}, the rest is {NO[boundary]}"
    return f"{said}; {_border(facts)}. Verdict: {facts.main.analysis.verdict}."


def _border(facts: Facts) -> str:
    frame = facts.main
    verdict, dimension = frame.analysis.verdict, frame.analysis.dimension
    if not any(each.analysis.boundary_cells for each in facts.frames):
        return "no border is seen"
    if frame.sheet is None:
        return "whether its border is rough was not verified, so no dimension is given"
    said = _SAID.get(verdict, _UNSURE).format(
        f" in frame {frame.number}" if len(facts.frames) > 1 else ""
    )
    given = ""
    if dimension is not None and frame.interval is not None:
        low, high = frame.interval
        given = f", with a dimension of {dimension:.2f} (95 %: {low:.2f} to {high:.2f})"
    return f"{said}{given}"


def unfinished(facts: Facts) -> list[str]:
    """What is still to be run, as sentences; empty where the sweep has ended."""
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
        said.append("To go on: fractal-ray run, with the same spec and --storage as before.")
    return said


def checks(sheet: dict[str, Any]) -> list[Check]:
    """A kept verification sheet (docs/storage.md) line by line."""
    evidence = sheet["evidence"]
    cells, unknown = evidence["boundary_cells"], evidence["unknown_cells"]
    found = [_values(AxisValues(**each)) for each in evidence["values"]]
    found += [_flips(LabelCheck(**each), census=evidence["census"]) for each in evidence["flips"]]
    found += [Check(check, "not run", "to be run", passed=False) for check in evidence["missing"]]
    correlation = evidence["reading"]["correlation"]
    if correlation is not None:
        found.append(
            Check(
                "neighbouring labels know of each other",
                f"correlation {correlation:.2f}",
                f"{RESOLVED_FROM} or more; noise has 0",
                correlation >= RESOLVED_FROM,
            )
        )
    found += [
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
        found.append(Check("boundary cells by level, coarse to fine", counts, "", passed=None))
    if evidence["reading"]["dimension"] is not None and evidence["reading"]["smooth"]:
        low, high = evidence["reading"]["smooth"]
        found.append(
            Check(
                "box count of the finest lattice beside smooth curves",
                f"{evidence['reading']['verdict']}",
                f"smooth curves read {low:.2f} to {high:.2f} on this lattice",
                passed=None,
            )
        )
    return found


def _values(values: AxisValues) -> Check:
    return Check(
        f"{values.param}: neighbours are different runs",
        f"{values.distinct:,} different {values.arithmetic} on {values.nodes:,} nodes",
        "as many as nodes",
        values.distinct >= values.nodes,
    )


def _flips(flips: LabelCheck, *, census: bool) -> Check:
    what, _, said = str(flips).partition(": ")
    if flips.check == "dtype":
        asked = "decides nothing: says whether the border belongs to the arithmetic"
        return Check(what, said, asked, passed=None)
    asked = f"not surely above {MOST_FLIPS:.0%}" + (
        "" if census else f", surely below {SURE_BELOW:.0%}"
    )
    low, high = flips.low or 0.0, 1.0 if flips.high is None else flips.high
    lost = flips.failed > MOST_LOST * (flips.runs + flips.failed)
    return Check(
        what, said, asked, low <= MOST_FLIPS and (census or high <= SURE_BELOW) and not lost
    )


def estimate_of(kept: dict[str, Any] | None) -> Estimate | None:
    """An estimate as a sheet keeps it."""
    return None if kept is None else Estimate(**kept)


def day(written: str | None) -> str:
    """Of an ISO date in UTC, as rows and headers keep it."""
    return "never" if written is None else f"{datetime.fromisoformat(written):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """Of so many seconds, in the unit that a reader would choose."""
    for size, unit in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.2g} s" if seconds < 10 else f"{seconds:,.0f} s"
