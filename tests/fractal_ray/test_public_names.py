"""The public names of `fractal_ray`: complete, documented with an example, loaded at use."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import fractal_ray
from fractal_ray import testing
from fractal_ray.dataset.version import VERSION

NAMES = [
    "Axis",
    "Diverged",
    "Frame",
    "Planner",
    "Point",
    "Prepared",
    "RunRecord",
    "Runner",
    "Sweep",
    "SweepError",
    "SweepStoppedError",
    "Workload",
    "__version__",
    "load",
    "record",
]
HEAVY = {"torch", "ray", "wandb", "matplotlib", "pandas", "pyarrow", "numpy", "pydantic"}
REPOSITORY = Path(__file__).parents[2]


def loaded_by(code: str) -> set[str]:
    """Return the names of the modules that a fresh process has after `code`."""
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_public_names_are_these() -> None:
    assert fractal_ray.__all__ == NAMES
    assert set(NAMES) <= set(dir(fractal_ray))
    assert all(getattr(fractal_ray, name) is not None for name in NAMES)
    assert fractal_ray.__version__ == VERSION


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'fractal_ray' has no attribute 'Swep'"):
        fractal_ray.Swep  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_by("import fractal_ray")


def test_listing_the_names_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_by("import fractal_ray; dir(fractal_ray)")


@pytest.mark.parametrize("name", ["Workload", "Runner", "Prepared", "Planner", "Point"])
def test_names_for_authors_load_no_engine(name: str) -> None:
    heavy = HEAVY - {"numpy"}
    assert not heavy & loaded_by(f"from fractal_ray import {name}")


def test_importing_the_package_takes_less_than_a_tenth_of_a_second() -> None:
    code = (
        "import time; start = time.perf_counter(); import fractal_ray;"
        "print(time.perf_counter() - start)"
    )
    best = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
        for _ in range(5)
    )
    assert best < 0.1


WITH_EXAMPLE = [name for name in NAMES if name != "__version__"]


@pytest.mark.parametrize("name", [*WITH_EXAMPLE, "check_planner", "check_workload"])
def test_the_example_of_a_public_name_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    finder = doctest.DocTestFinder(recurse=False)
    room = testing if name.startswith("check_") else fractal_ray
    example = finder.find(getattr(room, name), name, module=False, globs={})
    report: list[str] = []
    ran = doctest.DocTestRunner(verbose=False).run(example[0], out=report.append)
    assert ran.attempted, f"{room.__name__}.{name} has no example in its docstring"
    assert not ran.failed, "".join(report)
