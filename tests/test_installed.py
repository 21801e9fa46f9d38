"""The package as it is installed: specs by name, examples from an empty folder, and jobs."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a wheel into a folder; without hatchling, copy the files that it would hold."""
    folder = tmp_path_factory.mktemp("installed")
    site = folder / "site"
    if find_spec("hatchling"):
        subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, check=True)
        (wheel,) = folder.glob("*.whl")
        shutil.unpack_archive(wheel, site, "zip")
        return site
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel_table = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    moved: dict[str, str] = wheel_table["sources"]
    for name in wheel_table["only-include"]:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, site / moved.get(name, name), ignore=ignored)
    return site


@pytest.fixture
def run(site: Path, tmp_path: Path) -> Run:
    """Return ``run(...)``: the installed command line in an empty folder, without git."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CEILING_DIRECTORIES": str(tmp_path.parent),
    }

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fractal_ray", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return call


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.parametrize(
    ("example", "grid"), [("function", "grid: {points: 12}"), ("nanochat", "grid: {points: 5}")]
)
def test_an_example_runs_in_an_empty_folder_and_ends_with_advice(
    run: Run, site: Path, tmp_path: Path, example: str, grid: str
) -> None:
    before = files_in(site)
    written = run("init", example).stdout.splitlines()
    assert written[-1] == f"run it: fractal-ray run {example}.yaml"
    assert {path.name for path in tmp_path.iterdir()} == set(written[:-1])
    run("plan", f"{example}.yaml")
    words = ("run", f"{example}.yaml", "--engine", "local", "--set", f"stages=[{{{grid}}}]")
    lines = run(*words).stdout.splitlines()
    for start in ("best ", "safe ", "cliff ", "next "):
        assert any(line.startswith(start) for line in lines), lines
    assert (tmp_path / "results" / example / "sweep.json").is_file()
    assert files_in(site) == before


def test_a_shipped_spec_runs_by_its_name(run: Run, site: Path, tmp_path: Path) -> None:
    before = files_in(site)
    words = ("weierstrass", "--engine", "local", "--set", "stages=[{grid: {points: 9}}]")
    done = run("run", *words)
    copy = tmp_path / "results" / "weierstrass.yaml"
    assert f"spec: {copy} (a copy of weierstrass, which comes with fractal-ray)" in done.stderr
    shipped = (site / "fractal_ray" / "sweeps" / "weierstrass.yaml").read_text()
    head, command, text = copy.read_text().split("\n", 2)
    assert text == shipped
    assert head.startswith("# A copy of the spec weierstrass of fractal-ray ")
    assert command.startswith("# fractal-ray run weierstrass --set")
    assert "81 of 81" in run("status", "weierstrass", "--set", words[-1]).stdout
    assert files_in(site) == before


def test_a_job_needs_no_checkout(run: Run) -> None:
    done = run("submit", "paper/tanh", "--dry-run", "--", "--storage", "s3://bucket/sweeps")
    assert "command: python -m fractal_ray run paper/tanh --storage s3" in done.stderr
    assert "MiB" in done.stderr
