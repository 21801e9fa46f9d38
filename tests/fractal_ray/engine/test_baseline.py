"""The baseline of a dataset: written once, and never with losses that readers refuse."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fractal_ray.dataset.baseline_file import read_baseline
from fractal_ray.dataset.store import Store
from fractal_ray.engine.baseline import add_baseline
from fractal_ray.plane.baseline import Baseline
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.workloads.base import Prepared
from tests.fractal_ray.conftest import raw_spec


def test_losses_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    good, bad = np.array([2.0, 3.0], np.float32), np.array([2.0, np.inf], np.float32)
    curves = {(1.0,): good, (2.0,): bad}
    workload: Any = SimpleNamespace(baseline=lambda *_: Baseline(("x",), curves))
    store, said = Store(str(tmp_path)), list[str]()
    spec = parse_spec(raw_spec())
    assert add_baseline(spec, store, workload, Prepared("fp", None), said.append)
    assert list(read_baseline(store).curves) == [(1.0,)]
    assert "not finite" in said[0]
    assert not add_baseline(spec, store, workload, Prepared("fp", None), said.append)
