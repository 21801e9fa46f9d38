"""Files of the packages `fractal_ray` and `nanochat` that a job takes along."""

from collections.abc import Container, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("fractal_ray", "nanochat")
_NOT_FOR_RUNS = (
    *("fractal_ray/report/", "fractal_ray/testing/", "fractal_ray/figures/movie/"),
    *("fractal_ray/cli/templates/", "nanochat/prepare/", "nanochat/sharing/", "nanochat/sizing/"),
)
"""Rooms that no run imports: they make pages, movies and data sets, share models and test."""
_DATA = ("nanochat/data/stdlib_qa/", "fractal_ray/workloads/mlp/paper_draw.npz")
"""Data of the package, a third of its size, for the sweeps that read them."""


def is_for_runs(name: str, data: Container[str]) -> bool:
    """Return True if a run needs a file of the packages.

    Parameters
    ----------
    name
        Path of the file, which begins with the name of the package.
    data
        Paths of the data files that the sweep reads.
    """
    if "__pycache__" in name or name.startswith(_NOT_FOR_RUNS):
        return False
    return not name.startswith(_DATA) or name in data


def installed_files(packages: Iterable[str], data: Container[str]) -> Mapping[str, Path]:
    """Return the files of installed packages that a run needs, by their path in the job."""
    files = {}
    for package in packages:
        found = find_spec(package)
        assert found is not None and found.origin is not None, package
        folder = Path(found.origin).parent
        for file in sorted(folder.rglob("*")):
            name = f"{package}/{file.relative_to(folder).as_posix()}"
            if file.is_file() and is_for_runs(name, data):
                files[name] = file
    return files
