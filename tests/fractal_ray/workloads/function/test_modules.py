"""The local modules of a function, found by reading."""

import json
from pathlib import Path

import numpy
import pytest

from fractal_ray.errors import SweepError
from fractal_ray.workloads.function import modules
from fractal_ray.workloads.function.source import read_source
from tests.fractal_ray.workloads.function.conftest import write

HERE = Path(modules.__file__)
ROOT = HERE.parents[3]


@pytest.mark.parametrize(
    ("path", "local"),
    [
        (json.__file__, False),
        (numpy.__file__, False),
        (HERE, False),
        (ROOT / "nanochat/errors.py", False),
        (ROOT / "nanochat_train.py", True),
        ("/home/somebody/project/.venv/lib/python3.12/site-packages/x.py", False),
        ("/home/somebody/project/train.py", True),
        ("train.py", False),
    ],
)
def test_modules_of_the_user_are_local(path: str | Path, local: bool) -> None:
    assert modules.is_local(str(path)) is local


def test_imports_are_followed_through_packages_and_functions(tmp_path: Path) -> None:
    write(
        tmp_path,
        train="import a.b, json, numpy\ndef train():\n    from space.inner import x\n",
        a__b="from .d import e\nimport random\n",
        a__c="",
        a__d="import importlib\nlate = importlib.import_module('late')\n",
        space__inner="import fractal_ray, scipy.stats\n",
        late="",
        unused="",
        random="",
        **{"a/__init__": "from . import c\n"},
    )
    (tmp_path / "numpy").mkdir()  # a folder of data with the name of a package
    source = read_source("train.py:train", str(tmp_path), [])
    assert sorted(source.files) == [
        *("a/__init__.py", "a/b.py", "a/c.py", "a/d.py"),
        *("late.py", "space/inner.py", "train.py"),
    ]
    assert {"numpy", "scipy"} <= set(source.imported)


def test_files_above_and_beside_the_spec_keep_their_places(tmp_path: Path) -> None:
    write(tmp_path, code__train="import helper\n", code__helper="", sweeps__other="")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.csv").write_text("1")
    (tmp_path / "data/y.csv").write_text("2")
    absolute = tmp_path / "data/y.csv"
    source = read_source(
        "../code/train.py:train", str(tmp_path / "sweeps"), ["../data/x.csv", str(absolute)]
    )
    assert sorted(source.files) == ["code/helper.py", "code/train.py", "data/x.csv", "data/y.csv"]
    assert source.folder == "sweeps"
    assert source.search[0] == "code"
    apart = read_source("code/train.py:train", str(tmp_path), ["/etc/hostname"])
    assert set(apart.elsewhere) == {"/etc/hostname"}


def test_a_file_that_is_no_python_is_named(tmp_path: Path) -> None:
    write(tmp_path, train="import helper\n", helper="def f(:\n")
    with pytest.raises(SweepError, match=r"helper\.py is not valid Python"):
        read_source("train.py:train", str(tmp_path), [])
