"""W&B runs for a sample of a sweep's points, with the keys of a single fine-tune (T10)."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from fractal_ray.dataset.relabel import outcomes, ratios
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Outcome
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.tracking.summary import drawn

# Recipe values that decide the number of steps of a run.
_BUDGET = frozenset(
    ("num_tokens", "num_iterations", "device_batch_size", "target_examples_per_step")
)


def point_runs(
    spec: SweepSpec, rule: LabelRule, table: pa.Table, count: int
) -> Iterator[tuple[dict[str, Any], list[tuple[int, dict[str, float]]], dict[str, Any]]]:
    """Yield configuration, ``(step, values)`` in order, and summary of `count` drawn points.

    Parameters
    ----------
    spec
    rule
        The rule that labels the runs.
    table
        All rows of `points/`.
    count
        Number of points; all points if there are fewer.
    """
    longest = max(table.column("steps").to_pylist(), default=0)
    chosen = drawn(table, count)
    labels = zip(outcomes(chosen, rule), ratios(chosen, rule).tolist(), strict=True)
    for row, (outcome, ratio) in zip(chosen.to_pylist(), labels, strict=True):
        swept = {spec.axes.x.param: row["x"], spec.axes.y.param: row["y"]}
        columns = ("point_id", "stage", "frame", "level", "ix", "iy", "seed", "host", "device")
        config = {**swept, **{name: row[name] for name in columns}}
        stable = outcome is not Outcome.DIVERGED
        # A diverged run was planned as long as the others, unless an axis decides the length.
        planned = row["steps"] if stable else 0 if _BUDGET & {*swept} else longest
        rates = spec.workload.rates(swept, planned)
        history = [
            (step, {"train/loss": loss, **rates(step)})
            for step, loss in zip(_steps(row), row["losses"], strict=True)
        ]
        summary = {
            "final_train_loss": row["final_loss"],
            "converged": outcome is Outcome.TRAINED,
            "stable": stable,
            "trainable_loss0": row["first_loss"],
            "trainable_mean_last_k": rule.criterion.tail(np.asarray(row["losses"])),
            "trainable_ratio": ratio,
            "tokens_seen": row["tokens_seen"],
            "runtime_s": row["seconds"],
        }
        if row["val_loss"] is not None and not math.isnan(row["val_loss"]):
            summary["val/loss"] = row["val_loss"]
        yield config, history, summary


def _steps(row: dict[str, Any]) -> list[int]:
    """Return the steps of the stored losses, from 1: all steps, or the first and the last few."""
    stored, steps = len(row["losses"]), row["steps"]
    if row["diverged_step"] is not None:
        return list(range(1, stored + 1))  # the finite losses come first
    return [*range(1, min(stored, 1) + 1), *range(steps - stored + 2, steps + 1)]
