"""Specs that come with the package and run by their name: ``fractal-ray run quickstart``."""

import re
from pathlib import Path
from typing import Final

from fractal_ray.dataset.store import Store
from fractal_ray.dataset.version import VERSION
from fractal_ray.errors import SweepError

_NAME = re.compile(r"(\w+/)?\w+", re.ASCII)
_PACKAGE = Path(__file__).parents[1]
FOLDER: Final = "fractal_ray/sweeps"
"""Folder of the specs in an installed package and in a job."""
_MARK = "# A copy of the spec "


def shipped_spec(name: str | Path) -> Path | None:
    """Return the file of a shipped spec by its name, such as ``paper/tanh``; None for others."""
    if _NAME.fullmatch(str(name)) is None:
        return None
    files = [folder / f"{name}.yaml" for folder in _folders()]
    return next((file for file in files if file.is_file()), None)


def shipped_names() -> list[str]:
    """List the names of the shipped specs."""
    files = [(folder, file) for folder in _folders() for file in folder.rglob("*.yaml")]
    return sorted({str(file.relative_to(folder).with_suffix("")) for folder, file in files})


def keep_copy(file: Path, storage: str, name: str, command: str) -> str | None:
    """Write a copy of a shipped spec beside its dataset; return its location.

    A file of that name that is no such copy stays, and None is returned.
    """
    store, copy = Store(storage), f"{name}.yaml"
    try:
        old = store.read_text(copy)
    except SweepError:  # it is not text
        return None
    if old is not None and not old.startswith(_MARK):
        return None
    head = f"{_MARK}{file.stem} of fractal-ray {VERSION}, which was run by\n# {command}\n"
    return store.write_file(copy, (head + file.read_text(encoding="utf-8")).encode())


def _folders() -> list[Path]:
    """List the folders of shipped specs: in an installed package, and beside it in a checkout."""
    return [
        folder for folder in (_PACKAGE / "sweeps", _PACKAGE.parent / "sweeps") if folder.is_dir()
    ]
