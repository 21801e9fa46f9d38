"""How far a sweep is, from its dataset alone."""

import contextlib
import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.failures import signature
from fractal_ray.dataset.frames_file import FILE as ZOOMS
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.dataset.store import Store
from fractal_ray.plane.outcome import Outcome
from fractal_ray.spec.cost import reckon
from fractal_ray.spec.stages import StageSpec

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Status:
    """Counts of a dataset.

    `planned` is how many distinct points the spec asks for (None where its border decides),
    `points` how many points lie on its lattices, and `others` how many do not (a spec that was
    larger once).
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for a reader."""
        counts = ", ".join(f"{n} {name}" for name, n in self.outcomes.items())
        lines = [
            f"{self.name}: {self.points}"
            + (" points so far" if self.planned is None else f" of {self.planned} points")
            + (f", and {self.others} of an earlier spec" if self.others else "")
            + f" ({counts})",
            f"failures: {self.failures}",
            f"spent in training: {self.seconds:,.0f} s, {self.tokens_seen:,} supervised tokens",
            f"dataset: {self.location} ({self.parts} parts)",
        ]
        return [*lines, f"last written: {self.last_written}"] if self.last_written else lines


def read_status(sweep: SweepData) -> Status:
    """Read the counts, from the summary beside the dataset where that is of just these parts.

    Raises
    ------
    SweepError
        Naming the parts that cannot be read.
    """
    store = sweep.store()
    key = _key(sweep, store)
    if not sweep.skip_corrupt and (kept := _kept(store, key, sweep.location)):
        return kept
    status = _count(sweep, store)
    if not sweep.skip_corrupt and not store.is_empty():
        counts = {k: v for k, v in status.to_dict().items() if k != "location"}  # it may hold keys
        text = json.dumps({"schema_version": 1, "key": key, "status": counts}, indent=2)
        with contextlib.suppress(OSError):  # a dataset that may only be read is counted each time
            store.put(SUMMARY, (text + "\n").encode())
    return status


def _key(sweep: SweepData, store: Store) -> str:
    """Of what the counts depend on: the parts, the spec, and where zooms went."""
    facts = [store.state(), sweep.location, sweep.spec.model_dump_json(), store.read_text(ZOOMS)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _kept(store: Store, key: str, location: str) -> Status | None:
    try:
        kept = json.loads(store.read_text(SUMMARY) or "null")
        return Status(**kept["status"], location=location) if kept["key"] == key else None
    except (ValueError, TypeError, KeyError):
        return None


def _count(sweep: SweepData, store: Store) -> Status:
    columns = [
        "x",
        "y",
        "outcome",
        "losses",
        "diverged_step",
        "seconds",
        "tokens_seen",
        "created_at",
    ]
    table = store.read(columns, skip_corrupt=sweep.skip_corrupt)
    counts = Counter(outcomes(table, sweep.spec.label.criterion))
    asked = int(_asked_for(sweep, table).sum())
    refined = any(stage.grid is None for stage in sweep.spec.stages)
    last = pc.max(table.column("created_at")).as_py()  # pyright: ignore[reportAttributeAccessIssue]
    return Status(
        name=sweep.spec.name,
        location=sweep.location,
        points=asked,
        planned=None if refined else reckon(sweep.spec).runs,
        others=table.num_rows - asked,
        outcomes={outcome.value: counts[outcome] for outcome in Outcome},
        failures=store.read_failures(skip_corrupt=sweep.skip_corrupt).num_rows,
        seconds=float(np.sum(table.column("seconds").to_numpy())),
        tokens_seen=int(np.sum(table.column("tokens_seen").to_numpy())),
        parts=store.part_count(),
        last_written=last.isoformat(timespec="seconds") if last else None,
    )


def _asked_for(sweep: SweepData, table: pa.Table) -> NDArray[np.bool_]:
    """Which rows lie on a lattice of the spec."""
    x, y = table.column("x").to_numpy(), table.column("y").to_numpy()
    asked = np.zeros(table.num_rows, dtype=np.bool_)
    if not all(map(_on_known_lattice, sweep.spec.stages)):
        return np.ones(table.num_rows, dtype=np.bool_)
    for lattice in sweep.frames.values():
        frame, level = lattice.frame, lattice.level
        on_x = frame.x.addresses(x, frame.cells_x << level) >= 0
        asked |= on_x & (frame.y.addresses(y, frame.cells_y << level) >= 0)
    return asked


def _on_known_lattice(stage: StageSpec) -> bool:
    """Whether no point of a stage lies off its frame's lattice, as lines, pairs, bisections do."""
    return stage.on_lattice and (stage.zoom is None or stage.zoom.pick != "boundary-point")


def read_frames(sweep: SweepData) -> list[dict[str, Any]]:
    """The frames so far: numbers, ranges, where they were cut and by which rule, points run."""
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
    """One of `read_frames` for a reader."""
    origin = "" if frame["parent"] is None else f" in {frame['parent']} ({frame['rule']})"
    ranges = ", ".join(f"{side} {_range(frame, side)}" for side in "xy")
    nodes = "{} x {}".format(*frame["nodes"])
    return f"frame {frame['frame']}{origin}: {ranges}; {frame['points']:,} points on {nodes} nodes"


def _range(frame: dict[str, Any], side: str) -> str:
    low, high = frame[side]
    if frame["scales"]["xy".index(side)] == "linear":
        return f"{low!r} + {high - low:.3g}"
    decades = math.log1p((high - low) / low) / math.log(10)
    return f"{low!r} and {decades:.3g} decades up"


_POINTS_SHOWN = 5


def failure_groups(sweep: SweepData) -> list[dict[str, Any]]:
    """Failures grouped by their error, numbers in it apart, most frequent first: each with its
    latest traceback, the first points and all hosts that it was met on, and how many points were
    given up for it."""
    table = sweep.store().read_failures(skip_corrupt=sweep.skip_corrupt)
    groups: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
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
