"""Contents of a sweep's summary run: numbers of its map, and a row for every point.

Keys that fractal-llm has too have its names (features T21 and 1.5).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fractal_ray.analysis.advice.advice import Advice
from fractal_ray.analysis.advice.results import BestPoint, Cliff
from fractal_ray.analysis.summary import Analysis
from fractal_ray.analysis.verify.sheet import UNVERIFIED
from fractal_ray.dataset.relabel import outcomes, ratios
from fractal_ray.dimension.published import fractal_llm
from fractal_ray.engine.progress import Progress
from fractal_ray.plane.boundary import UNKNOWN, Raster, labels
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Outcome
from fractal_ray.spec.sweep_spec import SweepSpec

MOST_ROWS: Final = 10_000
"""Largest number of rows of the results table; W&B's charts show no more."""

TABLE_COLUMNS: Final = (
    "point_id",
    "grid_i",
    "grid_j",
    "x",
    "y",
    "final_loss",
    "trainable_ratio",
    "converged",
    "stable",
    "tokens_seen",
    "runtime_s",
)
"""Columns of the results table; x and y get the names of the swept parameters. Where runs have
validation losses, the column `val_loss` follows."""


def summary_values(result: Analysis, raster: Raster, progress: Progress) -> dict[str, Any]:
    """Return the numbers of a sweep that has ended, those of its last frame under ``fractal/``.

    They include a dimension only if the frame's verification sheet gives one. The ratios are shares
    of the nodes whose label is known: runs may leave open whether an inferred node is stable, and
    `fractal/stability_unknown_nodes` is the number of such nodes. `fractal/boundary_pixels` is
    counted as by fractal-llm (features D8), which needs all labels.
    """
    values: dict[str, Any] = {
        "fractal/frame": result.frame,
        "fractal/verdict": result.verdict,
        "fractal/boundary": result.boundary,
        "fractal/boundary_cells": result.boundary_cells,
        "fractal/unknown_nodes": result.unknown_nodes,
        "sweep/points": result.points,
        "sweep/gave_up": progress.gave_up,
        "sweep/spent": progress.spent,
        **outcome_values(result.outcomes, result.not_improved),
    }
    if result.verdict != UNVERIFIED:  # reasons of an unverified frame tell how to verify it
        values["fractal/reasons"] = "; ".join(result.reasons)
    if result.verified and result.dimension is not None:
        values["fractal/dimension"] = result.dimension
        interval = result.estimates[str(result.recommended)].interval
        if interval is not None:
            values["fractal/dimension_low"], values["fractal/dimension_high"] = interval
    trainable, stable = labels(raster, "trainable"), labels(raster, "stable")
    for name, node_labels in (("converged", trainable), ("stability", stable)):
        if (known := node_labels != UNKNOWN).any():
            values[f"fractal/{name}_ratio"] = float((node_labels[known] == 1).mean())
    values["fractal/stability_unknown_nodes"] = int((stable == UNKNOWN).sum())
    if (trainable != UNKNOWN).all():
        values["fractal/boundary_pixels"] = fractal_llm(trainable == 1).boundary_pixels
    return values


def advice_values(advice: Advice) -> dict[str, Any]:
    """Return best point, safe region within 2 %, margins and seeds under ``advice/``."""
    best, surface = advice.best, advice.surface
    if not isinstance(best, BestPoint):
        return {}
    safe = next(region for region in advice.safe if region.percent == 2.0)
    values: dict[str, Any] = {
        "advice/loss": best.loss,
        "advice/metric": advice.metric,
        f"advice/best_{surface.x_name}": best.x,
        f"advice/best_{surface.y_name}": best.y,
        **{f"advice/effective_{name}": rate for name, rate in advice.effective.items()},
    }
    if advice.untouched is not None:
        values["advice/untouched_loss"] = advice.untouched
    for name, ends in ((surface.x_name, safe.x_range), (surface.y_name, safe.y_range)):
        values[f"advice/safe_{name}_low"], values[f"advice/safe_{name}_high"] = ends
    for margin in advice.cliff.margins if isinstance(advice.cliff, Cliff) else ():
        if margin.low is not None and margin.first_broken is not None:
            values[f"advice/margin_{margin.direction}"] = margin.low
    values["advice/seeds"] = advice.seeds.checked
    if (again := advice.seeds.best) is not None and again.loss is not None:
        values["advice/seeds_loss"] = again.loss.value
        if math.isfinite(again.loss.low):
            values["advice/seeds_loss_low"] = again.loss.low
            values["advice/seeds_loss_high"] = again.loss.high
    return values


def outcome_values(stored: Mapping[str, int], split: Mapping[str, int]) -> dict[str, Any]:
    """Return counts of outcomes under the names of W&B; parts of `not_improved` have their own."""
    parts = {name: count for name, count in split.items() if name != "unknown"}
    return {f"outcomes/{name}": count for name, count in {**stored, **parts}.items()}


def drawn(table: pa.Table, count: int) -> pa.Table:
    """Draw `count` rows of a table: those with the smallest hashes of `point_id`.

    The choice depends on the points alone, not on the order or the place in which they ran. A table
    with fewer rows is returned whole.
    """
    ids = table.column("point_id").to_pylist()
    ranks = np.array([hashlib.blake2b(each.encode(), digest_size=8).digest() for each in ids], "S8")
    return table.take(pa.array(np.sort(np.argsort(ranks, kind="stable")[:count])))


def results_table(spec: SweepSpec, rule: LabelRule, table: pa.Table) -> dict[str, Any]:
    """Return `columns` and `data` of the results table: all points, or `MOST_ROWS` drawn ones."""
    table = drawn(table, MOST_ROWS)
    # Outcomes under the current label, which may differ from the label of the runs.
    labelled = zip(outcomes(table, rule), ratios(table, rule).tolist(), strict=True)
    validated = bool(np.any(~np.isnan(table.column("val_loss").to_numpy())))
    rows = [
        [
            row["point_id"],
            row["ix"],
            row["iy"],
            row["x"],
            row["y"],
            row["final_loss"],
            ratio,
            outcome is Outcome.TRAINED,
            outcome is not Outcome.DIVERGED,
            row["tokens_seen"],
            row["seconds"],
            *([row["val_loss"]] if validated else []),
        ]
        for row, (outcome, ratio) in zip(
            table.drop_columns("losses").to_pylist(), labelled, strict=True
        )
    ]
    swept = {"x": spec.axes.x.param, "y": spec.axes.y.param}
    columns = (*TABLE_COLUMNS, "val_loss") if validated else TABLE_COLUMNS
    return {"columns": [swept.get(name, name) for name in columns], "data": rows}


def run_id(dataset: str, part: str) -> str:
    """Return the id of a W&B run; a dataset that is resumed elsewhere or later gets it again."""
    return hashlib.blake2b(f"{dataset}\n{part}".encode(), digest_size=8).hexdigest()


def dataset_id(header: dict[str, Any]) -> str:
    """Return an id of a dataset, made from the parts of `sweep.json` that no run changes.

    The time of creation alone is not enough: several sweeps may be started in one second.
    """
    constants = {key: header.get(key) for key in ("created_at", "fingerprint", "recipe", "axes")}
    text = json.dumps([header["spec"]["name"], constants], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
