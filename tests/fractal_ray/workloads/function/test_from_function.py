"""`Sweep.from_function`: functions of modules and of notebooks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fractal_ray
from fractal_ray import Sweep
from fractal_ray.errors import SweepError
from fractal_ray.testing import check_workload
from tests.fractal_ray.workloads.function.conftest import (
    CELL,
    STAGES,
    Notebook,
    points_of,
    sweep_of,
    write,
)


def by_name(params: dict[str, Any]) -> list[float]:
    """Return losses: a function of a module."""
    return [1.0, 1.0 + params["lr"] * params["n"]]


def test_a_function_of_a_module_is_named_by_its_file(tmp_path: Path) -> None:
    sweep = sweep_of(by_name, tmp_path, name="mine", label={"window": 1})
    assert not Path(sweep.location).exists()
    assert sweep.spec.name == "mine"
    assert str(sweep.spec.workload).count("test_from_function:by_name'") == 1
    assert sweep.spec.label.window == 1
    assert sweep.spec.plan.axis("y").integer


CHANGES = {
    "global": ("SCALE = 2.0", "SCALE = 3.0", "global SCALE has changed"),
    "class": ("rate * SCALE", "rate * SCALE * 2", "source of Model has changed"),
    "function": ("+ scale()", "+ 2 * scale()", "source of step has changed"),
    "source": ("1.5 +", "1.6 +", "source of train has changed"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_a_notebook_function_reads_is_its_identity(
    notebook: Notebook, tmp_path: Path, kind: str
) -> None:
    write(tmp_path, helper="def scale(): return 0.1\n")
    sweep_of(notebook(CELL), tmp_path).run("local")
    assert sweep_of(notebook(CELL), tmp_path).run("local").reused == 9
    old, new, message = CHANGES[kind]
    with pytest.raises(SweepError, match=message) as caught:
        sweep_of(notebook(CELL.replace(old, new)), tmp_path).run("local")
    assert str(caught.value).count("has changed") == 1
    with pytest.raises(SweepError, match="was defined in a notebook or a script"):
        fractal_ray.load(tmp_path / "results/train").run("local")


def test_a_changed_helper_of_a_notebook_is_named(notebook: Notebook, tmp_path: Path) -> None:
    write(tmp_path, helper="def scale(): return 0.1\n")
    sweep_of(notebook(CELL), tmp_path).run("local")
    write(tmp_path, helper="def scale(): return 0.2\n")
    with pytest.raises(SweepError, match=r"module helper\.py has changed"):
        sweep_of(notebook(CELL), tmp_path).run("local")


def test_a_closure_is_part_of_the_identity(tmp_path: Path) -> None:
    def make(offset: float) -> Callable[..., list[float]]:
        def train(params: dict[str, Any]) -> list[float]:
            return [1.0, offset + params["lr"]]

        return train

    sweep_of(make(0.5), tmp_path).run("local")
    with pytest.raises(SweepError, match="closure offset has changed") as caught:
        sweep_of(make(0.25), tmp_path).run("local")
    assert "-0.5" in str(caught.value)


def test_a_notebook_function_passes_the_conformance_suite(
    notebook: Notebook, tmp_path: Path
) -> None:
    write(tmp_path, helper="def scale(): return 0.1\n")
    sweep = sweep_of(notebook(CELL), tmp_path)
    runner = sweep.workload().open(sweep.workload().prepare().shared, "cpu")
    records = list(runner.evaluate(points_of(sweep)))
    assert [record.steps for record in records] == [3] * 9
    local = sweep_of(lambda params: [1.0, params["lr"], params["n"]], tmp_path, name="plain")
    assert "call='__main__:function'" in str(local.spec.workload)
    assert local.run("local").done == 9


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="int is 3, not a function"):
        sweep_of(3, tmp_path)
    with pytest.raises(SweepError, match="setings: unknown key"):
        sweep_of(by_name, tmp_path, setings={})
    with pytest.raises(SweepError, match=r"axes\.x takes a mapping"):
        Sweep.from_function(by_name, axes={"x": 3}, stages=STAGES)
    with pytest.raises(SweepError, match="source of train is not known"):
        space: dict[str, Any] = {"__name__": "__main__"}
        exec("def train(params): return [1.0]", space)
        sweep_of(space["train"], tmp_path).run("local")


def test_the_suite_still_finds_kept_state(notebook: Notebook, tmp_path: Path) -> None:
    text = """
    seen = []
    def train(params):
        seen.append(1)
        return [1.0, params["lr"] + len(seen)]
    """
    sweep = sweep_of(notebook(text), tmp_path)
    with pytest.raises(AssertionError):
        check_workload(sweep.workload(), points_of(sweep))
