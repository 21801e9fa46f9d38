"""Nominal and effective rates of a sweep."""

from pathlib import Path

import numpy as np
import pytest

from fractal_ray.analysis.rates import notes_on_rates, rate_factors
from fractal_ray.dataset.baseline_file import write_baseline
from fractal_ray.plane.baseline import Baseline
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec

NOTE = "the rate unembedding_lr is nominal: the optimizer applies "


def sweep_of(model: str, folder: Path, width: int | None = None) -> Sweep:
    raw = raw_spec(storage=str(folder))
    raw["workload"]["model"] = model
    sweep = Sweep(parse_spec(raw))
    if width is not None:
        curves = {(): np.ones(3, np.float32)}
        write_baseline(sweep.store(), Baseline(curves=curves, width=width))
    return sweep


@pytest.mark.parametrize(
    ("model", "width", "factors", "notes"),
    [
        ("preset:tiny", None, {"unembedding_lr": 4.0}, [f"{NOTE}4 x unembedding_lr"]),
        ("/models/d12", 192, {"unembedding_lr": 2.0}, [f"{NOTE}2 x unembedding_lr"]),
        ("/models/d12", 768, {}, []),
        ("/models/d12", None, {}, [f"{NOTE}unembedding_lr x (width / 768)^-1/2"]),
    ],
)
def test_rates_of_adamw_are_scaled_by_the_width(
    model: str,
    width: int | None,
    factors: dict[str, float],
    notes: list[str],
    tmp_path: Path,
) -> None:
    sweep = sweep_of(model, tmp_path, width)
    assert rate_factors(sweep.spec, sweep.rule) == factors
    assert notes_on_rates(sweep.spec, sweep.rule) == notes


def test_a_swept_base_rate_has_no_factor_of_its_own() -> None:
    # The groups have different factors; `advise` and `plan` name each.
    sweep = Sweep.open("notebooks/data/lr-tokens")
    assert (rate_factors(sweep.spec, sweep.rule), notes_on_rates(sweep.spec, sweep.rule)) == (
        {},
        [],
    )


def test_a_workload_without_such_rates_has_no_note() -> None:
    mlp = Sweep.open("tests/golden/datasets/mlp")
    assert notes_on_rates(mlp.spec, mlp.rule) == []
