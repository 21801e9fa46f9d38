"""Sweeps over cheap workloads, and one Ray for the whole test session."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Disc


def raw_spec(**changes: Any) -> dict[str, Any]:
    """Make a valid spec as a mapping, with changes at its top level."""
    raw: dict[str, Any] = {
        "name": "disc",
        "workload": {
            "model": "preset:tiny",
            "data": {"source": "stdlib_qa", "max_seq_len": 128},
            "recipe": {"num_tokens": 1000, "dtype": "float32"},
        },
        "axes": {
            "x": {"param": "unembedding_lr", "min": 1e-4, "max": 1.0},
            "y": {"param": "matrix_lr", "min": 1e-4, "max": 1.0},
        },
        "stages": [{"grid": {"points": 9}}],
    }
    label = {"boundary": "trainable", **changes.pop("label", {})}
    return {**raw, "label": label, **changes}


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Return ``make_sweep(workload, **changes)``, which makes a sweep in a folder of its own."""

    def make(workload: Any = None, **changes: Any) -> Sweep:
        changes.setdefault("storage", str(tmp_path / "results"))
        return Sweep(parse_spec(raw_spec(**changes)), workload or Disc())

    return make


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Start a Ray of two CPUs that tests share; shut it down in every case."""
    from fractal_ray.engine.cluster.start import cluster

    with cluster(address=None, num_cpus=2):
        yield
