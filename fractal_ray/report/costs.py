"""Costs of a sweep by stage and frame, beside the costs of dense grids."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fractal_ray.report.facts import Facts


@dataclass(frozen=True)
class Spent:
    """Runs of one stage on one frame.

    `seconds` is the time in runs over all workers; `first` and `last` are the times of
    the first and the last row.
    """

    frame: int
    stage: str
    runs: int
    seconds: float
    tokens: int
    first: datetime
    last: datetime

    @property
    def rate(self) -> float | None:
        """Return the runs per second of a worker; None if no time was measured."""
        return self.runs / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Dense:
    """Hypothetical grids over the finest lattices of all frames, with a run at every node.

    `runs` were made on nodes of these lattices; `seconds` is the time of all `nodes` at the mean
    time of a run.
    """

    nodes: int
    runs: int
    seconds: float


def spent(facts: Facts) -> list[Spent]:
    """Return the runs by frame and stage, in the order of the stages."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    columns = ["frame", "stage", "seconds", "tokens_seen", "created_at"]
    groups = facts.table.select(columns).group_by(["frame", "stage"])
    sums = groups.aggregate(
        [
            ("seconds", "sum"),
            ("seconds", "count"),
            ("tokens_seen", "sum"),
            ("created_at", "min"),
            ("created_at", "max"),
        ]
    )
    for row in sums.to_pylist():
        rows[row["frame"], row["stage"]] = row
    return [
        Spent(
            frame,
            stage,
            row["seconds_count"],
            row["seconds_sum"],
            row["tokens_seen_sum"],
            row["created_at_min"],
            row["created_at_max"],
        )
        for (frame, stage), row in sorted(rows.items(), key=_in_order)
    ]


def dense(facts: Facts) -> Dense:
    """Return the cost of the frames' finest lattices without refinement."""
    mean = facts.status.seconds / facts.table.num_rows if facts.table.num_rows else 0.0
    nodes = sum(frame.analysis.nodes for frame in facts.frames)
    runs = sum(frame.analysis.measured_nodes for frame in facts.frames)
    return Dense(nodes, runs, nodes * mean)


def _in_order(item: tuple[tuple[int, str], Any]) -> tuple[int, int]:
    (frame, stage), _ = item
    return int(stage.partition(":")[0]), frame
