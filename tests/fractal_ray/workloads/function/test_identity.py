"""The identity of a function: which changes refuse a resume, and who never imports it."""

import shutil
import sys
from pathlib import Path

import pytest

from fractal_ray.cli.main import main
from fractal_ray.dataset.header import read_header
from fractal_ray.dataset.sources_file import SOURCES, changes
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.sweep import Sweep
from tests.fractal_ray.workloads.function.conftest import MakeSweep, load, points_of, write

USES_HELPER = """
import helper
from package import part
LIMIT = 3
def train(params):
    from late import late
    with open("data.txt") as file: text = file.read()
    return [helper.scale() + part.LIMIT + late() + LIMIT + len(text)] * 3
"""
CHANGES = {
    "helper": ("helper.py", "def scale(): return 2.0\n", "module helper.py has changed"),
    "late": ("late.py", "def late(): return 5\n", "module late.py has changed"),
    "part": ("package/part.py", "LIMIT = 2\n", "module package/part.py has changed"),
    "global": (
        "train.py",
        USES_HELPER.replace("LIMIT = 3", "LIMIT = 4"),
        "module train.py has changed",
    ),
    "data": ("data.txt", "12345", "file data.txt has changed"),
}


def begin(make_sweep: MakeSweep, folder: Path) -> Sweep:
    """Run a sweep of a function with a helper, a package and a data file."""
    write(folder, helper="def scale(): return 1.0\n", late="def late(): return 4\n")
    write(folder, package__part="LIMIT = 1\n", **{"package/__init__": ""})
    (folder / "data.txt").write_text("1234")
    sweep = make_sweep(USES_HELPER, files=["data.txt"])
    sweep.run("local")
    return sweep


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_refuses_a_resume_and_shows_the_difference(
    make_sweep: MakeSweep, tmp_path: Path, kind: str
) -> None:
    begin(make_sweep, tmp_path)
    file, text, message = CHANGES[kind]
    before = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text)
    with pytest.raises(SweepError, match=message) as caught:
        load(tmp_path).run("local")
    lines = [line.strip() for line in str(caught.value).splitlines()]
    (old,) = [line for line in before.splitlines() if line not in text.splitlines()]
    assert f"-{old}".replace(" ", "") in [line.replace(" ", "") for line in lines]
    assert sum("has changed" in line for line in lines) == 1
    (tmp_path / file).write_text(before)
    load(tmp_path).run("local")


def test_settings_and_seeds_are_part_of_the_identity(make_sweep: MakeSweep, tmp_path: Path) -> None:
    make_sweep().run("local")
    for setting, line in (
        ("workload.settings.width=3", "recipe.width is None there, 3 here"),
        ("workload.seed=1", "recipe.seed is 0 there, 1 here"),
        ("workload.seed_per_point=true", "recipe.seed_per_point is None there, True here"),
    ):
        with pytest.raises(SweepError, match=line):
            load(tmp_path, setting).run("local")
    load(tmp_path, "workload.metrics={}").run("local")


def test_the_place_of_the_files_is_no_part_of_the_identity(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = begin(make_sweep, tmp_path)
    ids = [point.x for point in points_of(sweep)]
    shutil.copytree(tmp_path, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    moved = Sweep.open(Path("own.yaml"), (f"storage={sweep.spec.storage}",))
    assert moved.run("local").reused == len(ids)
    from_folder = Sweep.open(sweep.location)
    assert from_folder.run("local").reused == len(ids)


def test_installed_modules_are_recorded_by_version(make_sweep: MakeSweep, tmp_path: Path) -> None:
    import numpy

    make_sweep("import numpy, json, os\ndef train(params):\n    return [1.0, 0.5]\n").run("local")
    header = read_header(Store(str(tmp_path / "results/own")))
    assert header is not None
    packages = header["data"]["function"]["packages"]
    assert set(packages) == {"python", "numpy"}
    assert packages["numpy"] == numpy.__version__


def test_a_dynamic_import_is_part_of_the_identity(make_sweep: MakeSweep, tmp_path: Path) -> None:
    text = """
    import importlib
    plugin = importlib.import_module("plug" + "in")
    def train(params): return [plugin.LOSS, 0.5]
    """
    write(tmp_path, plugin="LOSS = 1.0\n")
    make_sweep(text).run("local")
    write(tmp_path, plugin="LOSS = 2.0\n")
    with pytest.raises(SweepError, match=r"plugin\.py has changed"):
        load(tmp_path).run("local")


SIDE_EFFECT = """
from pathlib import Path
Path({marker!r}).write_text("imported")
def train(params):
    return [1.0, 1.0 - params["lr"], 1.0 + 30 * params["lr"] * params["decay"]] * 14
"""


def test_readers_never_import_the_function_or_run_kept_text(
    make_sweep: MakeSweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    marker = tmp_path / "marker"
    sweep = make_sweep(SIDE_EFFECT.format(marker=str(marker)))
    sweep.run("local")
    kept = (Path(sweep.location) / SOURCES).read_text()
    assert "write_text" in kept
    marker.unlink()
    monkeypatch.chdir(tmp_path)
    for line in (
        "plan own.yaml",
        f"status {sweep.location}",
        f"analyze {sweep.location}",
        f"plot {sweep.location}",
        f"report {sweep.location}",
        f"advise {sweep.location}",
    ):
        monkeypatch.setattr(sys, "argv", ["fractal-ray", *line.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code in (None, 0), printed
        assert line.startswith(("status", "analyze", "plot", "report", "advise")) or (
            "the function train of train.py" in printed.out
            and "may take without a yield" in printed.out
        )
    assert not marker.exists()


def test_a_damaged_file_of_sources_is_named(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep()
    sweep.run("local")
    (Path(sweep.location) / SOURCES).write_text('{"schema_version": 1, "sources": {"a": 3}}')
    write(tmp_path, train="def train(params): return [1.0]\n")
    with pytest.raises(SweepError, match=r"sources\.json.*delete it: it only shows differences"):
        load(tmp_path).run("local")


def test_long_differences_are_cut() -> None:
    before = {"module train.py": {"digest": "1", "text": "\n".join(map(str, range(100)))}}
    now = {"module train.py": {"digest": "2", "text": "x" * 1000}}
    lines = changes(before, now)
    assert lines[0] == "module train.py has changed"
    assert len(lines) == 41
    assert lines[-1].startswith("... and ")
    assert max(map(len, lines)) < 140
    assert changes(before, {}) == ["module train.py is gone"]


@pytest.mark.parametrize("call", ["train.py:train", "train:train"])
def test_a_job_takes_the_local_modules_along(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write(tmp_path, helper="RATE = 2.0", **{"more/tools": "import json", "more/__init__": ""})
    text = "import helper, numpy\nfrom more import tools\ndef train(params): return [1.0]"
    sweep = make_sweep(text, call=call)
    monkeypatch.chdir(tmp_path)
    paths = {path for _, path in sweep.spec.workload.files()}
    assert paths == {"train.py", "helper.py", "more/tools.py", "more/__init__.py"}
