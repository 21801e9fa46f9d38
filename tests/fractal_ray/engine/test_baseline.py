"""The baseline of a dataset: written once, and never with losses that readers refuse."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fractal_ray.dataset.baseline_file import read_baseline
from fractal_ray.dataset.header import write_header
from fractal_ray.dataset.store import Store
from fractal_ray.engine.baseline import add_baseline, evaluate_untouched
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


class Untouched:
    """A workload with an untouched model, which counts how often it is loaded."""

    def __init__(self, curves: dict[tuple[float, ...], Any]) -> None:
        self.curves, self.loaded = curves, 0

    def prepare(self) -> Prepared:
        self.loaded += 1
        return Prepared("fp", None)

    def baseline(self, shared: Any, device: str, say: Any) -> Baseline:
        return Baseline((), self.curves)


def test_a_baseline_that_is_there_and_one_that_cannot_be_had_are_two_lines(tmp_path: Path) -> None:
    spec = parse_spec(raw_spec())
    store = Store(str(tmp_path))
    write_header(store, {"spec": spec.model_dump(mode="json"), "fingerprint": "fp"})
    curve = np.array([2.0, 3.0], np.float32)
    for curves, line, loaded in (
        ({}, "no loss of the untouched model could be computed; the first loss", 1),
        ({(): curve}, None, 1),
        ({(): curve}, "has the losses of the untouched model already, in baseline.json", 0),
    ):
        workload: Any = Untouched(curves)
        said: list[str] = []
        evaluate_untouched(spec, str(tmp_path), workload, said.append)
        assert workload.loaded == loaded
        about = [each for each in said if "untouched" in each]
        assert (about == []) if line is None else (line in about[-1])
    assert read_baseline(store).curves.keys() == {()}
