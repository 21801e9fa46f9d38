"""Tokens that a sweep is planned to take."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.spec.cost import Cost, estimate_cost, tokens_per_run
from fractal_ray.spec.yaml_file import parse_spec
from tests.fractal_ray.conftest import raw_spec

PER_ROW = 127
"""Tokens to predict in a row of max_seq_len 128, that of `raw_spec`."""
BATCH = 8
"""Examples in a step of the default recipe."""


def raw(x: dict[str, Any], y: dict[str, Any], points: list[int], **recipe: Any) -> dict[str, Any]:
    spec = raw_spec(axes={"x": x, "y": y}, stages=[{"grid": {"points": points}}])
    spec["workload"]["recipe"] |= recipe
    return spec


def rates(name: str = "matrix_lr") -> dict[str, Any]:
    return {"param": name, "min": 0.1, "max": 1.0}


def linear(name: str, low: int, high: int) -> dict[str, Any]:
    return {"param": name, "scale": "linear", "min": low, "max": high}


def cost_of(*of: Any, **recipe: Any) -> Cost:
    return estimate_cost(parse_spec(raw(*of, **recipe)))


@pytest.mark.parametrize(
    ("recipe", "tokens"),
    [
        ({"num_iterations": 3}, 3 * BATCH * PER_ROW),
        ({"num_iterations": 3, "device_batch_size": 2}, 3 * 2 * PER_ROW),
        ({"num_iterations": 3, "target_examples_per_step": 32}, 3 * 32 * PER_ROW),
        ({}, 1000),
    ],
)
def test_a_run_takes_at_most_the_rows_of_its_steps(recipe: dict[str, Any], tokens: int) -> None:
    cost = cost_of(rates("unembedding_lr"), rates(), [4, 3], **recipe)
    assert cost.supervised_tokens == 4 * 3 * tokens
    assert (cost.bound is None) == ("num_iterations" not in recipe)


@pytest.mark.parametrize("swap", [False, True])
def test_steps_and_batches_on_an_axis_are_added_up(swap: bool) -> None:
    def of(x: dict[str, Any], y: dict[str, Any], points: list[int], **recipe: Any) -> int:
        sides = (y, x, points[::-1]) if swap else (x, y, points)
        cost = cost_of(*sides, **recipe)
        assert cost.bound is not None
        return cost.supervised_tokens

    steps, batches = linear("num_iterations", 1, 5), linear("device_batch_size", 2, 6)
    assert of(steps, rates(), [3, 2]) == 2 * (1 + 3 + 5) * BATCH * PER_ROW
    assert of(batches, rates(), [3, 2], num_iterations=7) == 2 * (2 + 4 + 6) * 7 * PER_ROW
    assert of(batches, steps, [3, 3]) == (2 + 4 + 6) * (1 + 3 + 5) * PER_ROW
    examples = linear("target_examples_per_step", 0, 16)
    assert of(examples, steps, [3, 3]) == (8 + 8 + 16) * (1 + 3 + 5) * PER_ROW
    # The budget of an older dataset with both: it changes no run.
    tokens = linear("num_tokens", 10, 1000)
    assert of(tokens, rates(), [3, 2], num_iterations=1) == 6 * BATCH * PER_ROW


def test_refinements_count_runs_with_the_most_steps() -> None:
    spec = raw(linear("num_iterations", 1, 5), rates(), [5, 5])
    spec["stages"] += [{"refine": {"levels": 1}}]
    parsed = parse_spec({**spec, "allow_unresolved": True})
    assert tokens_per_run(parsed) == 5 * BATCH * PER_ROW
    _, refine = estimate_cost(parsed).stages
    assert refine.supervised_tokens == refine.runs * 5 * BATCH * PER_ROW
    lines = raw(rates("unembedding_lr"), rates(), [5, 5], num_iterations=5)
    lines["stages"] += [
        {"pairs": {"count": 3, "distances": [3]}},
        {"zoom": {"points": 3, "factor": 2}},
    ]
    _, pairs, zoom = estimate_cost(parse_spec(lines)).stages
    assert pairs.supervised_tokens == 6 * 5 * BATCH * PER_ROW
    assert zoom.supervised_tokens == 9 * 5 * BATCH * PER_ROW


def test_hours_of_a_bound_count_no_token_twice() -> None:
    spec = raw(rates("unembedding_lr"), rates(), [4, 3], num_iterations=3)
    spec["cost"] = {"tokens_per_second": 1000, "supervised_fraction": 0.25}
    tokens = 12 * 3 * BATCH * PER_ROW
    assert estimate_cost(parse_spec(spec)).slot_hours == pytest.approx(tokens / 1000 / 3600)


def test_plan_says_that_tokens_are_an_upper_bound(tmp_path: Path) -> None:
    spec = raw(rates("unembedding_lr"), rates(), [4, 3], num_iterations=3)
    file, calls = tmp_path / "spec.yaml", ["plan", str(tmp_path / "spec.yaml")]
    file.write_text(json.dumps({**spec, "storage": str(tmp_path), "label": {"window": 1}}))
    speed = ["--tokens-per-second", "100"]
    text = CliRunner().invoke(app, [*calls, *speed]).output
    assert "12 points to run, with at most 36,576 supervised tokens" in text
    assert "in all: 12 points; at most 36,576 supervised tokens\n    num_iterations sets" in text
    slots = "0.1 hours of slots (a card each where there are any, else a CPU)"
    assert f"estimate: at most {slots} at 100 tokens/s a slot\n" in text
    text = CliRunner().invoke(app, [*calls, *speed, "--set", "resources.gpu=0"]).output
    assert "estimate: at most 0.1 core-hours at 100 tokens/s a slot\n" in text
    said = json.loads(CliRunner().invoke(app, [*calls, "--json"]).output)
    assert said["supervised_tokens"] == said["stages"][0]["supervised_tokens"] == 36_576
