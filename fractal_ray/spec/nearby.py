"""Messages for a path without a sweep or a spec: the nearest name, and what is there instead."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fractal_ray.dataset.header import HEADER
from fractal_ray.spec.shipped import shipped_names
from nanochat.errors import nearest_name

SUFFIXES = (".yaml", ".yml")
_MOST_LISTED = 20


def sweeps_in(folder: Path) -> list[Path]:
    """List the folders in a folder that hold the dataset of a sweep."""
    return sorted(header.parent for header in folder.glob(f"*/{HEADER}"))


def no_sweep_in(folder: Path) -> str:
    """Return the message for a folder that is not the folder of a dataset.

    It lists the sweeps in the folder.
    """
    sweeps = sweeps_in(folder)
    if len(sweeps) == 1:
        return f"{folder} holds no sweep itself; take the sweep in it: {sweeps[0]}"
    if sweeps:
        return f"{folder} holds several sweeps, not one; take one of {_listed(sweeps)}"
    what = f"holds no sweep: there is no {HEADER} in it"
    if not any(folder.iterdir()):
        what = "is empty, so it holds no sweep"
    return f"{folder} {what}; fill a folder by: fractal-ray run SPEC.yaml"


def no_spec_at(path: Path) -> str:
    """Return the message for a path that is no file, with the nearest spec or sweep.

    Where no name is near, it lists the specs and the sweeps that are there.
    """
    if path.is_dir():
        folder, sweeps = path, []
        what = "is the folder of a dataset" if (path / HEADER).is_file() else "is a folder"
        start = f"{path} {what}, and this command takes the YAML of a spec"
    else:
        folder, sweeps = path.parent, sweeps_in(path.parent)
        start = f"there is nothing at {path}: no spec, and no folder of a dataset"
    specs = _specs_near(folder)
    places = [*specs, *sweeps] if path.suffix in SUFFIXES else [*sweeps, *specs]
    shipped = [Path(name) for name in shipped_names()]
    places += shipped
    if near := _nearest(path, places):
        return f"{start}; did you mean {near}?"
    by_name = ("specs by name", shipped)
    lists = [("specs here", specs), ("sweeps there", sweeps), by_name]
    return "; ".join(
        [
            start,
            *(f"{kind}: {_listed(paths)}" for kind, paths in lists if paths),
            "give a spec's YAML, or the folder of a dataset, <storage>/<name>",
        ]
    )


def _specs_near(folder: Path) -> list[Path]:
    """List the YAML files of a folder, then those of `sweeps/` in the working folder."""
    files = [each for suffix in SUFFIXES for each in folder.glob(f"*{suffix}") if each.is_file()]
    own = [each for each in files if not each.name.startswith(".")]
    shipped = sorted(Path("sweeps").rglob("*.yaml"))
    known = {each.resolve() for each in own}
    return [*sorted(own), *(each for each in shipped if each.resolve() not in known)]


def _nearest(path: Path, places: Sequence[Path]) -> Path | None:
    """Return the place with the nearest name; suffixes do not matter."""
    by_name = {_name(place): place for place in reversed(places)}
    near = nearest_name(_name(path), by_name)
    return by_name[near] if near else None


def _name(path: Path) -> str:
    return path.stem if path.suffix in SUFFIXES else path.name


def _listed(paths: Iterable[Path]) -> str:
    names = [str(path) for path in paths]
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
