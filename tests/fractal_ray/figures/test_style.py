"""Settings of matplotlib that are a user's own, which figures neither take nor change."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from fractal_ray.figures.canvas import save
from fractal_ray.figures.maps import outcome_map
from fractal_ray.plane.boundary import Raster

USER = {"text.usetex": True, "font.size": 40.0, "axes.facecolor": "red", "savefig.bbox": "tight"}


@pytest.fixture
def raster() -> Raster:
    outcome = np.array([[0, 1], [2, -1]], np.int8)
    values = np.array([0.0, 1.0])
    return Raster(outcome, np.ones((2, 2)), values, values, "x", "y", "linear", "linear")


def test_figures_do_not_depend_on_the_settings_of_the_user(raster: Raster, tmp_path: Path) -> None:
    pictures = []
    for name, settings in (("plain", {}), ("theirs", USER)):
        with matplotlib.rc_context(settings):
            figure = outcome_map(raster, title="a_b", boundary="trainable")
            pictures.append(save(figure, tmp_path / f"{name}.png").read_bytes())
            assert {key: matplotlib.rcParams[key] for key in settings} == settings
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(("backend", "chosen"), [("nonsense", False), ("svg", True)])
def test_a_backend_of_another_program_ends_nothing(backend: str, chosen: bool) -> None:
    code = (
        "import fractal_ray.figures.style, matplotlib, os;"
        "print(matplotlib.get_backend(auto_select=False), os.environ['MPLBACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": backend},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend if chosen else "None", backend]


@pytest.mark.parametrize("module", ["report.page", "tracking.filling_map"])
def test_the_report_and_the_tracking_do_not_depend_on_the_backend(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import fractal_ray.{module}, matplotlib"],
        env={**os.environ, "MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_only_the_figures_import_matplotlib() -> None:
    """Elsewhere an import could come before that in `fractal_ray.figures`, which takes care."""
    for path in Path("fractal_ray").rglob("*.py"):
        if path.is_relative_to("fractal_ray/figures"):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        imports = [
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (getattr(node, "module", None) or "", *(each.name for each in node.names))
        ]
        assert not [name for name in imports if name.startswith("matplotlib")], path
