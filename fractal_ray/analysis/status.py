"""The progress of a sweep, read from its dataset alone."""

import contextlib
import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fractal_ray.analysis.replay import answers_of, is_answered
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.baseline_file import BASELINE
from fractal_ray.dataset.failures import signature
from fractal_ray.dataset.frames_file import FILE as ZOOMS
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.dataset.parts import has_digest
from fractal_ray.dataset.relabel import RULE_COLUMNS, outcomes
from fractal_ray.dataset.secrets import without_keys
from fractal_ray.dataset.store import Store
from fractal_ray.plane.axes import is_bisection
from fractal_ray.plane.outcome import Outcome, counts_text, split_counts, stored_counts
from fractal_ray.spec.cost import estimate_cost
from fractal_ray.spec.planning import make_program
from fractal_ray.spec.stages import StageSpec

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Status:
    """Counts of a dataset.

    Parameters
    ----------
    points
        Number of points on the lattices of the spec.
    planned
        Number of distinct points that the spec requests; None if it depends on the border.
    others
        Number of points on no lattice of the spec (an earlier spec was larger).
    finished
        True if all points that the spec requests were run or given up.
    bisection_points
        Number of points that were run to find a point of the border; `points` counts them.
    parts_without_digest
        Number of parts with evaluations, of older versions, whose bytes cannot be checked.
    parts_left_out
        Number of damaged parts whose rows no other number counts.
    """

    name: str
    location: str
    points: int
    planned: int | None
    others: int
    outcomes: dict[str, int]
    failures: int
    seconds: float
    tokens_seen: int
    parts: int
    last_written: str | None
    finished: bool = False
    bisection_points: int = 0
    parts_without_digest: int = 0
    parts_left_out: int = 0
    not_improved: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the counts as lines of text."""
        counts = counts_text(self.outcomes, self.not_improved)
        tokens = f", {self.tokens_seen:,} supervised tokens" if self.tokens_seen else ""
        lines = [
            f"{self.name}: {self._points()} ({counts})",
            f"failures: {self.failures}",
            f"spent in runs: {self.seconds:,.0f} s{tokens}",
            f"dataset: {self.location} ({self._parts()})",
        ]
        if self.parts_left_out:
            lines.append(f"left out of all counts: {self.parts_left_out} damaged parts")
        return [*lines, f"last written: {self.last_written}"] if self.last_written else lines

    def _parts(self) -> str:
        """Return the number of parts as text, with that of parts unlike the others."""
        if 0 < self.parts_without_digest < self.parts:
            return f"{self.parts} parts, {self.parts_without_digest} of them without a digest"
        return f"{self.parts} parts"

    def _points(self) -> str:
        """Return the number of runs as text, and the numbers that are named beside it."""
        total = self.points + self.others
        parts = []
        if self.planned is None:
            text = f"{total} points" if self.finished else f"{total} points so far"
        elif self.others:
            text = f"{total} points"
            parts.append(f"{self.points} of {self.planned} planned")
        else:
            text = f"{self.points} of {self.planned} points"
        if self.others:
            parts.append(f"{self.others} of an earlier spec")
        if self.bisection_points:
            parts.append(f"{self.bisection_points} by bisection")
        return f"{text}, of these {', '.join(parts)}" if parts else text


def read_status(sweep: SweepData) -> Status:
    """Read the counts of a dataset, from `summary.json` if that was made from the current parts.

    Raises
    ------
    SweepError
        If parts of the dataset cannot be read; the message names them.
    """
    store = sweep.store()
    key = _key(sweep, store)
    if not sweep.skip_corrupt and (stored := _stored_status(store, key, sweep.location)):
        return stored
    status = _count(sweep, store)
    if not sweep.skip_corrupt and not store.is_empty():
        # The location is left out: it may contain access keys.
        counts = {k: v for k, v in status.to_dict().items() if k != "location"}
        text = json.dumps({"schema_version": 1, "key": key, "status": counts}, indent=2)
        with contextlib.suppress(OSError):  # a read-only dataset is counted each time
            store.put(SUMMARY, (text + "\n").encode())
    return status


def _key(sweep: SweepData, store: Store) -> str:
    """Return a hash of all inputs of the counts: the parts, the spec, zooms, and baseline.

    The names of the counts are part of it, because an older version had fewer of them.
    """
    facts = [store.state(), sweep.location, sweep.spec.model_dump_json()]
    facts += [store.read_text(name) for name in (ZOOMS, BASELINE)]
    facts += [each.name for each in fields(Status)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _stored_status(store: Store, key: str, location: str) -> Status | None:
    """Return the status in `summary.json`; None if there is none with this key."""
    try:
        stored = json.loads(store.read_text(SUMMARY) or "null")
        return Status(**stored["status"], location=location) if stored["key"] == key else None
    except (ValueError, TypeError, KeyError):
        return None


def _count(sweep: SweepData, store: Store) -> Status:
    columns = [*RULE_COLUMNS, "seconds", "tokens_seen", "created_at", "stage"]
    table = store.read(columns, skip_corrupt=sweep.skip_corrupt)
    failures = store.read_failures(skip_corrupt=sweep.skip_corrupt)
    rule = sweep.rule
    row_outcomes = outcomes(table, rule)
    counts = Counter(row_outcomes)
    n_planned = int(_rows_on_lattices(sweep, table).sum())
    refined = any(stage.grid is None for stage in sweep.spec.stages)
    planned = None if refined else estimate_cost(sweep.spec).runs
    last = pc.max(table.column("created_at")).as_py()  # pyright: ignore[reportAttributeAccessIssue]
    return Status(
        name=sweep.spec.name,
        location=sweep.location,
        points=n_planned,
        planned=planned,
        others=table.num_rows - n_planned,
        outcomes=stored_counts(counts),
        not_improved=split_counts(counts),
        failures=failures.num_rows,
        seconds=float(np.sum(table.column("seconds").to_numpy())),
        tokens_seen=int(np.sum(table.column("tokens_seen").to_numpy())),
        parts=store.part_count(),
        last_written=last.isoformat(timespec="seconds") if last else None,
        finished=_is_finished(sweep, table, list(map(rule.told, row_outcomes)), failures),
        bisection_points=sum(map(is_bisection, table.column("stage").to_pylist())),
        parts_without_digest=sum(not has_digest(part) for part in store.parts("points")),
        parts_left_out=len(sweep.damaged_parts()),
    )


def _is_finished(
    sweep: SweepData, table: pa.Table, told: list[Outcome | None], failures: pa.Table
) -> bool:
    """Return True if every point that the stages request was run or given up."""
    given_up = failures.filter(failures.column("gave_up"))
    program = make_program(sweep.spec, read_zooms(sweep.store()))
    return is_answered(program, answers_of(table, told, given_up))


def _rows_on_lattices(sweep: SweepData, table: pa.Table) -> NDArray[np.bool_]:
    """Return the mask of the rows that lie on a lattice of the spec.

    All rows count if a stage of the spec has points off its frame's lattice.
    """
    x, y = table.column("x").to_numpy(), table.column("y").to_numpy()
    is_on_lattice = np.zeros(table.num_rows, dtype=np.bool_)
    if not all(map(_on_known_lattice, sweep.spec.stages)):
        return np.ones(table.num_rows, dtype=np.bool_)
    for lattice in sweep.frames.values():
        frame, level = lattice.frame, lattice.level
        on_x = frame.x.addresses(x, frame.cells_x << level) >= 0
        is_on_lattice |= on_x & (frame.y.addresses(y, frame.cells_y << level) >= 0)
    return is_on_lattice


def _on_known_lattice(stage: StageSpec) -> bool:
    """Return True if all points of a stage lie on its frame's lattice.

    Points of lines, pairs and bisections do not.
    """
    return stage.on_lattice and (stage.zoom is None or stage.zoom.pick != "boundary-point")


def read_frames(sweep: SweepData) -> list[dict[str, Any]]:
    """Return the frames so far: number, parent, rule of the zoom, ranges, nodes, points run."""
    table = sweep.store().read(["x", "y"], skip_corrupt=sweep.skip_corrupt)
    x, y = table.column("x").to_numpy(), table.column("y").to_numpy()
    listed = []
    for number, lattice in sweep.frames.items():
        frame, zoom = lattice.frame, lattice.zoom
        cells = frame.cells_x << lattice.level, frame.cells_y << lattice.level
        on = (frame.x.addresses(x, cells[0]) >= 0) & (frame.y.addresses(y, cells[1]) >= 0)
        listed.append(
            {
                "frame": number,
                "parent": None if zoom is None else zoom.parent_id,
                "rule": "axes" if zoom is None else zoom.rule,
                "x": [frame.x.min, frame.x.max],
                "y": [frame.y.min, frame.y.max],
                "scales": [frame.x.scale, frame.y.scale],
                "nodes": [cells[0] + 1, cells[1] + 1],
                "points": int(on.sum()),
            }
        )
    return listed


def frame_line(frame: dict[str, Any]) -> str:
    """Return one line of text about a frame of `read_frames`."""
    origin = "" if frame["parent"] is None else f" in {frame['parent']} ({frame['rule']})"
    ranges = ", ".join(f"{side} {_range(frame, side)}" for side in "xy")
    nodes = "{} x {}".format(*frame["nodes"])
    return f"frame {frame['frame']}{origin}: {ranges}; {frame['points']:,} points on {nodes} nodes"


def _range(frame: dict[str, Any], side: str) -> str:
    """Return the low end of a frame's range and its extent; on a log axis in decades."""
    low, high = frame[side]
    if frame["scales"]["xy".index(side)] == "linear":
        return f"{low!r} + {high - low:.3g}"
    decades = math.log1p((high - low) / low) / math.log(10)
    return f"{low!r} and {decades:.3g} decades up"


_POINTS_SHOWN = 5
"""Most points that `failure_groups` lists for an error."""


def failure_groups(sweep: SweepData) -> list[dict[str, Any]]:
    """Group the failures by error message, most frequent first.

    Messages that differ only in their numbers are one group. Each group has the latest traceback,
    the first points and all hosts with that error, and the number of points given up for it.
    """
    table = sweep.store().read_failures(skip_corrupt=sweep.skip_corrupt)
    groups: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        # Rows of earlier versions may hold keys.
        row |= {name: without_keys(row[name]) for name in ("error", "traceback")}
        empty = {"error": row["error"], "count": 0, "gave_up": 0, "points": [], "hosts": []}
        group = groups.setdefault(signature(row["error"]), empty)
        group["count"] += 1
        group["gave_up"] += row["gave_up"]
        point, host = [row["x"], row["y"]], row["host"]
        if len(group["points"]) < _POINTS_SHOWN and point not in group["points"]:
            group["points"].append(point)
        if host not in group["hosts"]:
            group["hosts"].append(host)
        group["kind"], group["traceback"] = row["kind"], row["traceback"]
    return sorted(groups.values(), key=lambda group: -group["count"])
