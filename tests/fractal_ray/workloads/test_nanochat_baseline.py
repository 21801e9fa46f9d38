"""The baseline of the nanochat workload: the untouched model on the batches of every run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fractal_ray.engine.workload_of import workload_of
from fractal_ray.plane.axes import Point
from fractal_ray.plane.baseline import Baseline
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.workloads.base import Baselined, Prepared
from fractal_ray.workloads.nanochat import baseline as measured
from fractal_ray.workloads.nanochat.workload import NanochatWorkload
from nanochat.train import first_loss
from tests.fractal_ray.conftest import raw_spec

GOLDEN = Path(__file__).parents[2] / "golden" / "nanochat_tiny"
BOTH = {"scale": "linear", "min": 4, "max": 8}


def make(x: dict[str, Any], y: dict[str, Any], points: Any = 3, **recipe: Any) -> NanochatWorkload:
    raw = raw_spec(stages=[{"grid": {"points": points}}])
    raw["axes"] = {"x": x, "y": y}
    raw["workload"]["model"] = str(GOLDEN)
    raw["workload"]["data"]["limit"] = 60
    raw["workload"]["recipe"] = {"dtype": "float32", "weight_decay": 0, **recipe}
    workload = workload_of(parse_spec(raw))
    assert isinstance(workload, NanochatWorkload)
    return workload


RATES = (
    {"param": "unembedding_lr", "min": 1e-30, "max": 1.0},
    {"param": "matrix_lr", "min": 1e-30, "max": 1.0},
)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return make(*RATES).prepare()


def losses(baseline: Baseline) -> list[float]:
    """Return the losses of a sweep with one order of batches; empty where they are left out."""
    curve = baseline.curve(0.1, 0.1)
    return [] if curve is None else curve.tolist()


def quiet(text: str) -> None:
    """Fail at every line except progress, which a busy machine prints after two seconds."""
    if not text.startswith("untouched model: loss of "):
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("x", "recipe", "keys"),
    [
        (RATES[0], {"num_tokens": 1200}, [()]),
        ({"param": "device_batch_size", **BOTH}, {"num_tokens": 900}, [(4.0,), (6.0,), (8.0,)]),
        (
            {"param": "target_examples_per_step", "scale": "linear", "min": 4, "max": 12},
            {"num_iterations": 3, "device_batch_size": 4},
            [(4.0,), (8.0,), (12.0,)],
        ),
        (
            {"param": "seed", "scale": "linear", "min": 1, "max": 3},
            {"num_iterations": 9, "shuffle": True},
            [(1.0,), (2.0,), (3.0,)],
        ),
    ],
)
def test_it_is_the_curve_of_runs_without_updates(
    prepared: Prepared, x: dict[str, Any], recipe: dict[str, Any], keys: list[tuple[float, ...]]
) -> None:
    workload = make(x, RATES[1], unembedding_lr=1e-30, **recipe)
    if x is RATES[0]:
        workload = make(*RATES, **recipe)
    assert isinstance(workload, Baselined)
    baseline = workload.baseline(prepared.shared, "cpu", quiet)
    assert (baseline.sides, list(baseline.curves)) == (("x",) if len(keys) > 1 else (), keys)
    runner = workload.open(prepared.shared, "cpu")
    values = [key[0] for key in keys] if keys[0] else [1e-30]
    for value in values:
        (record,) = runner.evaluate([Point(0, 0, 0, 0, value, 1e-30)])
        curve = baseline.curve(value, 1e-30)
        assert curve is not None
        np.testing.assert_allclose(curve, record.losses, rtol=1e-5)


@pytest.mark.parametrize(("param", "most"), [("num_tokens", 2400), ("num_iterations", 9)])
def test_it_is_as_long_as_the_longest_run(prepared: Prepared, param: str, most: int) -> None:
    steps = {"param": param, "scale": "linear", "min": 3, "max": most}
    workload = make({"param": "device_batch_size", **BOTH}, steps, learning_rate=1e-30)
    curves = workload.baseline(prepared.shared, "cpu", quiet).curves
    runner = workload.open(prepared.shared, "cpu")
    for size in (4.0, 8.0):
        (record,) = runner.evaluate([Point(0, 0, 0, 0, size, most)])
        assert len(curves[size,]) == record.steps


def test_too_many_orders_are_left_out(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "MOST_ORDERS", 2)
    seeds = {"param": "seed", "scale": "linear", "min": 1, "max": 3}
    lines: list[str] = []
    workload = make(seeds, RATES[1], shuffle=True, num_iterations=2)
    baseline = workload.baseline(prepared.shared, "cpu", lines.append)
    assert (baseline.sides, dict(baseline.curves)) == (("x",), {})
    (line,) = lines
    assert line.startswith("the axes make more than 2 orders of the batches: losses of the")


def test_the_loss_of_the_first_check_is_not_computed_again(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_loss, "first_loss", lambda *_: 2.5)
    workload = make(*RATES, num_iterations=2)
    workload.check_start(prepared.shared, new=True)
    first, second = losses(workload.baseline(prepared.shared, "cpu", quiet))
    assert (first, second != 2.5) == (2.5, True)
    # The check computes in float32.
    narrow = make(*RATES, num_iterations=1, dtype="bfloat16")
    narrow.check_start(prepared.shared, new=True)
    assert losses(narrow.baseline(prepared.shared, "cpu", quiet)) != [2.5]


def test_a_cpu_that_would_need_too_long_leaves_the_losses_out(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(measured.time, "monotonic", lambda: float(next(clock)))
    workload = make(*RATES, num_iterations=7)
    lines: list[str] = []
    baseline = workload.baseline(prepared.shared, "cpu", lines.append)
    assert len(losses(baseline)) == 7
    assert lines[0] == "untouched model: loss of 0 of 7 batches"
    monkeypatch.setattr(measured, "LONGEST_ON_CPU", 60.0)
    lines.clear()
    assert losses(workload.baseline(prepared.shared, "cpu", lines.append)) == []
    assert "7 batches would take about 1 min on this CPU (at most 1 min)" in lines[-1]
    assert lines[-1].endswith(
        "fractal-ray advise SWEEP --baseline computes them later, on a machine with a GPU"
    )


def test_a_machine_without_a_gpu_computes_on_its_cpu(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    workload = make(*RATES, num_iterations=2, dtype="bfloat16")
    exact = make(*RATES, num_iterations=2)
    first, second = (
        losses(each.baseline(prepared.shared, "cuda", quiet)) for each in (workload, exact)
    )
    assert len(first) == 2
    assert first == second


def test_a_full_gpu_leaves_the_work_to_the_cpu(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = measured._measure

    def full(*arguments: Any) -> Any:
        if arguments[4] == "cuda":
            raise torch.OutOfMemoryError
        return on_cpu(*arguments)

    monkeypatch.setattr(measured, "_measure", full)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    lines: list[str] = []
    workload = make(*RATES, num_iterations=2)
    assert len(workload.baseline(prepared.shared, "cuda", lines.append).curves) == 1
    assert "no room for the untouched model" in lines[0]
