"""Sections of a page with the results: plain data for `page.html`."""

from typing import Any

from fractal_ray.analysis.advice.readable import duration
from fractal_ray.analysis.rates import notes_on_rates
from fractal_ray.analysis.status import frame_line
from fractal_ray.analysis.verify.kept_sheet import verify_command
from fractal_ray.dataset.secrets import without_keys
from fractal_ray.dataset.version import VERSION
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.figures.nesting import chain
from fractal_ray.report import charts
from fractal_ray.report import sentences as words
from fractal_ray.report.facts import Facts, FrameFacts
from fractal_ray.report.maps import small_picture


def head(facts: Facts) -> dict[str, Any]:
    """Return name, finding, counts, and the notes that a reader must see first."""
    spec, status = facts.sweep.spec, facts.status
    activity = "in training" if spec.workload.records_losses else "in evaluation"
    notes = words.unfinished(facts)
    if facts.changed:
        notes.append("Settings (below, under Spec) differ from those of the last run.")
    if facts.left_out:
        notes.append(f"Parts of the dataset that cannot be read were left out: {facts.left_out}.")
    if status.others:
        notes.append(f"{status.others:,} runs of an earlier spec lie on none of its lattices.")
    return {
        "name": spec.name,
        "title": spec.workload.title,
        "finding": words.finding(facts),
        "written": words.day(status.last_written),
        "version": VERSION,
        "counts": [
            ("runs", f"{facts.table.num_rows:,}"),
            *((name.replace("_", " "), f"{n:,}") for name, n in status.outcomes.items()),
            ("failures", f"{status.failures:,}"),
            (activity, duration(status.seconds)),
        ],
        "notes": [*notes, *map(_sentence, notes_on_rates(spec, facts.rule)), *_warnings(facts)],
    }


def tree(facts: Facts) -> list[dict[str, Any]]:
    """Return the frames that lie in no other frame, each with its inner frames under `inner`."""
    nodes = {frame.number: _frame(facts, frame) for frame in facts.frames}
    roots = []
    for number, node in nodes.items():
        around = chain(facts.lattices, number)
        beside = roots if len(around) == 1 else nodes[around[-2].frame.id]["inner"]
        beside.append(node)
    return roots


def dimensions(facts: Facts) -> list[dict[str, Any]]:
    """Return the frames with a sheet: verdict, all estimators, charts, and the sheet's checks."""
    return [_dimension(facts, frame) for frame in facts.frames if frame.sheet is not None]


def unverified(facts: Facts) -> list[int]:
    """Return the numbers of the frames without a sheet."""
    return [frame.number for frame in facts.frames if frame.sheet is None]


def verify_first(facts: Facts) -> str | None:
    """Return the command that verifies the first frame without a sheet; None if all have one."""
    frames = [frame for frame in facts.frames if frame.sheet is None]
    return without_keys(verify_command(frames[0].data)) if frames else None


def audits(facts: Facts) -> list[dict[str, Any]]:
    """Return the skipped nodes of each refinement and the results of its audit, by frame."""
    rows = []
    for frame in facts.frames:
        audit = frame.analysis.audit
        if audit is None:
            continue
        levels = zip(audit.found, audit.corrected, strict=True)
        decided = audit.audited - audit.undecided
        missed = None
        if audit.low is not None and audit.high is not None:
            missed = f"{audit.low:.2%} to {audit.high:.2%}"
        rows.append(
            {
                "frame": frame.number,
                "skipped": f"{audit.skipped:,}",
                "audited": f"{decided:,}",
                "surprises": f"{audit.surprises:,}",
                "missed": missed or "nothing is known: none was run",
                "found": f"{audit.found[-1]:,}",
                "corrected": f"{audit.corrected[-1]:,.0f}",
                "probes": f"{audit.hits:,} of {audit.probed:,}" if audit.upper else "none run",
                "bound": f"{audit.found[-1]:,} to {audit.upper[-1]:,.0f}"
                if audit.upper
                else f"at least {audit.found[-1]:,}",
                "levels": ", ".join(f"{n:,} → {c:,.0f}" for n, c in levels),
            }
        )
    return rows


def _frame(facts: Facts, frame: FrameFacts) -> dict[str, Any]:
    analysis, line = frame.analysis, frame_line(facts.listed[frame.number])
    return {
        "number": frame.number,
        "line": line.removeprefix(f"frame {frame.number}").lstrip(": "),
        "picture": small_picture(facts, frame),
        "verdict": analysis.verdict,
        "dimension": _number(frame),
        "cells": f"{analysis.boundary_cells:,}",
        "unknown": f"{analysis.unknown_nodes:,}" if analysis.unknown_nodes else "",
        "yes": "" if analysis.yes_ratio is None else f"{analysis.yes_ratio:.1%}",
        "inner": [],
    }


def _dimension(facts: Facts, frame: FrameFacts) -> dict[str, Any]:
    sheet, analysis = frame.sheet or {}, frame.analysis
    try:
        evidence = sheet["evidence"]
        estimate = words.estimate_of(evidence["estimate"])
        smooth = {name: words.estimate_of(null) for name, null in evidence["smooth"].items()}
        noise = words.estimate_of(evidence["noise"])
        checks = words.checks(sheet)
    except (KeyError, TypeError) as error:
        raise SweepError(
            f"the verification sheet of frame {frame.number} is damaged or of another version;"
            f" make it again: {verify_command(frame.data)}"
        ) from error
    known = {name: null for name, null in smooth.items() if null is not None}
    beside = {**known, **({"label noise": noise} if noise else {})}
    scaling_charts = []
    if estimate is not None and any(estimate.measured):
        has_dimension = analysis.dimension is not None
        scaling_charts = charts.scaling(frame.number, estimate, known, dimension=has_dimension)
    return {
        "frame": frame.number,
        "open": frame is facts.main,
        "verdict": analysis.verdict,
        "dimension": _number(frame),
        "reasons": analysis.reasons,
        "estimates": [
            {**_row(each), "data": data, "recommended": data == analysis.recommended}
            for data, each in analysis.estimates.items()
        ],
        "nulls": [{**_row(each), "data": name} for name, each in beside.items()],
        "null_method": "" if estimate is None else estimate.method,
        "checks": checks,
        "charts": scaling_charts,
    }


def _row(estimate: Estimate) -> dict[str, str]:
    interval, fit = estimate.interval, estimate.fit_scales
    return {
        "d": "none" if estimate.value is None else f"{estimate.value:.3f}",
        "interval": f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        "range": f"{fit[1]:.3g} to {fit[0]:.3g} {estimate.unit}" if fit else "",
        "notes": "; ".join(estimate.warnings),
        "method": estimate.method,
        "blocks": f"{estimate.blocks:,}",
    }


def _number(frame: FrameFacts) -> str:
    if frame.analysis.dimension is None or frame.interval is None:
        return ""
    low, high = frame.interval
    return f"D = {frame.analysis.dimension:.3f} (95 %: {low:.3f} to {high:.3f})"


def _warnings(facts: Facts) -> list[str]:
    warnings = [warning for frame in facts.frames for warning in frame.analysis.warnings]
    return list(map(_sentence, dict.fromkeys(warnings)))


def _sentence(note: str) -> str:
    return f"{note[0].upper()}{note[1:]}."
