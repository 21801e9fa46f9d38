"""Functions in files of a temporary folder, and sweeps of them."""

import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.spec.yaml_file import load_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.function.workload import FunctionRunner, FunctionWorkload

LOSSES = "return [1.0 + params['lr'] * step * params['decay'] for step in range(40)]"
TRAIN = f"def train(params):\n    {LOSSES}\n"
"""A function whose runs are better the lower `lr`, which may be below 0."""

MakeSweep = Callable[..., Sweep]
Notebook = Callable[..., Any]
AXES = {"x": Axis("lr", "linear", -0.02, 0.02), "y": Axis("n", "linear", 1, 3, integer=True)}
STAGES = [{"grid": {"points": 3}}]
CELL = """
import helper
from helper import scale
SCALE = 2.0
class Model:
    def loss(self, rate): return rate * SCALE
def step(rate): return Model().loss(rate) + helper.scale() + scale()
def train(params, seed):
    return [2.0, 1.5 + step(params["lr"]), 1.0]
"""


def write(folder: Path, **modules: str) -> None:
    """Write modules by name, `a/b` or `a__b`; `train` is the function of the spec."""
    for name, text in modules.items():
        path = folder / f"{name if '/' in name else name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """Return the function that writes a function and a spec, and opens the sweep."""

    def make(train: str | None = TRAIN, /, *, axes: Any = None, **workload: Any) -> Sweep:
        if train is not None:
            write(tmp_path, train=train)
        raw = {
            "name": "own",
            "workload": {"kind": "function", "call": "train.py:train", **workload},
            "axes": axes
            or {
                "x": {"param": "lr", "scale": "linear", "min": -0.02, "max": 0.02},
                "y": {"param": "decay", "scale": "linear", "min": 0.5, "max": 1.0},
            },
            "stages": [{"grid": {"points": 3}}],
            "storage": str(tmp_path / "results"),
        }
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        return Sweep.open(tmp_path / "own.yaml")

    return make


def runner_of(sweep: Sweep) -> FunctionRunner:
    """Return a runner of a sweep, opened in this process."""
    workload = sweep.workload()
    assert isinstance(workload, FunctionWorkload)
    return workload.open(workload.prepare().shared, "cpu")


def points_of(sweep: Sweep) -> list[Point]:
    """Return the nodes of the first grid."""
    frame: Frame = sweep.spec.plan.frame(0)
    return list(frame.points())


def load(folder: Path, *settings: str) -> Sweep:
    """Open the sweep of `make_sweep` again, with changed settings."""
    spec = load_spec(folder / "own.yaml", settings)
    return Sweep(spec)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Notebook]:
    """Yield the function that runs a cell as a kernel does, and returns `train`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cells: list[str] = []
    space: dict[str, Any] = {"__name__": "__main__"}

    def run(text: str) -> Any:
        text = textwrap.dedent(text)
        name = f"<cell {len(cells)} of {tmp_path}>"
        cells.append(name)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        sys.modules.pop("helper", None)  # as in a kernel that was started again
        exec(compile(text, name, "exec"), space)
        return space["train"]

    yield run
    sys.modules.pop("helper", None)


def sweep_of(function: Any, folder: Path, **keys: Any) -> Sweep:
    """Return a sweep of a function."""
    storage = str(folder / "results")
    return Sweep.from_function(function, axes=AXES, stages=STAGES, storage=storage, **keys)
