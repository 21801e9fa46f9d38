"""Sections of a page after the results, as plain data for `page.html`: costs, failures, the origin
of the data, and the commands that reproduce them."""

import base64
import shlex
from collections import Counter
from typing import Any

import yaml

from fractal_ray.analysis.advice.readable import duration
from fractal_ray.dataset.frames_file import FILE
from fractal_ray.dataset.secrets import cleaned
from fractal_ray.dataset.version import VERSION
from fractal_ray.report import costs
from fractal_ray.report.facts import Facts
from fractal_ray.report.sentences import day


def cost(facts: Facts) -> dict[str, Any]:
    """Return the costs by stage and frame, and the cost of dense grids."""
    rows = [
        {
            "stage": each.stage,
            "frame": each.frame,
            "runs": f"{each.runs:,}",
            "seconds": _short(each.seconds),
            "rate": "" if each.rate is None else _short(each.rate),
            "tokens": f"{each.tokens:,}",
            "first": f"{each.first:%Y-%m-%d %H:%M:%S}",
            "last": f"{each.last:%Y-%m-%d %H:%M:%S}",
        }
        for each in costs.spent(facts)
    ]
    grid, seconds = costs.dense(facts), facts.status.seconds
    gpu = facts.sweep.spec.resources.gpu
    return {
        "rows": rows,
        "tokens": any(row["tokens"] != "0" for row in rows),
        "seconds": f"{_short(seconds)} worker-seconds in"
        f" {'training loops' if facts.sweep.spec.workload.records_losses else 'evaluations'}",
        "gpu": f"{seconds * gpu / 3600:,.2f} GPU-hours at {gpu:g} GPUs a worker"
        if gpu and gpu != "auto"  # every start measures "auto" again; no file keeps the result
        else None,
        "rate": _short(facts.table.num_rows / seconds) if seconds else None,
        "nodes": f"{grid.nodes:,}",
        "runs": f"{grid.runs:,}",
        "share": f"{grid.runs / grid.nodes:.1%}" if grid.nodes else "0 %",
        "dense": duration(grid.seconds),
    }


def failures(facts: Facts) -> list[dict[str, Any]]:
    """Return the failures, grouped by their last line, most frequent first."""
    axes = facts.sweep.spec.axes
    return [
        {
            **group,
            "first_line": group["error"].strip().splitlines()[0] if group["error"].strip() else "?",
            "where": "; ".join(
                f"{axes.x.param} {x!r}, {axes.y.param} {y!r}" for x, y in group["points"]
            ),
            "hosts": ", ".join(group["hosts"]),
        }
        for group in facts.groups
    ]


def spec_text(facts: Facts) -> str:
    """Return the spec as YAML with every setting written out, without the keys of a storage."""
    plain = cleaned(facts.sweep.spec.model_dump(mode="json", exclude_none=True))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=90)


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Return the origin of the data: dataset, fingerprint, writers, times, hosts and devices."""
    table = facts.table
    versions = Counter(
        f"fractal-ray {each.get('fractal_ray', '?')}, Python {each.get('python', '?')}"
        for each in facts.writers
    )
    return [
        ("dataset", facts.location),
        ("fingerprint of model, data and code", facts.header.get("fingerprint", "?")),
        *_skipped_rows(facts.header),
        ("begun", day(facts.header.get("created_at"))),
        ("last written", day(facts.status.last_written)),
        ("written by", "; ".join(versions) or "nothing yet"),
        ("this page by", f"fractal-ray {VERSION}"),
        ("hosts", _counted(table.column("host").to_pylist())),
        ("devices", _counted(table.column("device").to_pylist())),
        ("parts", f"{facts.status.parts:,} Parquet files"),
        ("label", _label(facts)),
    ]


def _skipped_rows(header: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the bad rows of the data that were left out, and the first of them, if there are."""
    skipped = header.get("data", {}).get("skipped_rows")
    if not skipped:
        return []
    return [("bad rows left out", f"{skipped['count']:,}: {'; '.join(skipped['first'])}")]


def recipe(facts: Facts) -> list[tuple[str, str]]:
    """Return every setting that is not swept, including defaults."""
    return [(key, str(value)) for key, value in facts.header.get("recipe", {}).items()]


def reproduce(facts: Facts, text: str) -> dict[str, Any]:
    """Return the spec and the frames of zooms as links to download, and the commands."""
    name = f"{facts.sweep.spec.name}.yaml"
    folder = shlex.quote(f"results/{facts.sweep.spec.name}")
    numbers = [frame.number for frame in facts.frames if frame.sheet is not None]
    frames = facts.frames_file
    return {
        "file": name,
        "uri": _download("application/yaml", text),
        "frames_file": FILE,
        "frames_uri": None if frames is None else _download("application/json", frames),
        "commands": [
            f"fractal-ray plan {name}",
            *([] if frames is None else [f"mkdir -p {folder}", f"cp {FILE} {folder}/"]),
            f"fractal-ray run {name} --storage results",
            *(f"fractal-ray verify {folder} --frame {number}" for number in numbers),
            f"fractal-ray analyze {folder}",
            f"fractal-ray report {folder}",
        ],
    }


def _download(kind: str, text: str) -> str:
    """Encode a text as a link that downloads it as a file."""
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def _label(facts: Facts) -> str:
    label, workload = facts.sweep.spec.label, facts.sweep.spec.workload
    return f"{label.boundary}; trained: {workload.trained_rule(label.criterion)}"


def _counted(names: list[str]) -> str:
    return ", ".join(f"{name} ({n:,} runs)" for name, n in Counter(names).most_common()) or "none"


def _short(number: float) -> str:
    """Format a number with three digits, or with all digits before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
