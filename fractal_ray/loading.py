"""Opening a sweep by its folder or its YAML, with errors that say what lies there instead."""

from collections.abc import Iterable
from pathlib import Path

from fractal_ray.dataset.header import HEADER
from fractal_ray.errors import SweepError, nearest
from fractal_ray.sweep import Sweep

_SPECS = (".yaml", ".yml")


def load(path: str | Path, *settings: str) -> Sweep:
    """Open a sweep: the folder of its dataset, or the YAML of its spec.

    Parameters
    ----------
    path
        Folder with `sweep.json` in it, a URI that pyarrow knows, or a YAML file. The sweep of a
        YAML file need not have been run yet.
    settings
        ``"label.threshold=1.0"``: dotted key of the spec, then a YAML value, as after ``--set``.

    Returns
    -------
    Sweep
        With `points`, `map()`, `dimension()`, `figure()`, `run()` and `zoom()`.

    Raises
    ------
    SweepError
        When there is no sweep at `path`, with the sweeps nearby, or the spec is not valid.

    Examples
    --------
    In a checkout of the repository, the dataset of a notebook:

    >>> import fractal_ray
    >>> sweep = fractal_ray.load("notebooks/data/first-map")
    >>> len(sweep.points)
    563
    >>> fractal_ray.load("notebooks/data/first-map", "label.threshold=0.5").spec.label.threshold
    0.5
    """
    if "://" not in str(path):
        _check(Path(path).expanduser())
        path = Path(path).expanduser()
    return Sweep.open(path, settings)


def _check(path: Path) -> None:
    if path.is_dir():
        if not (path / HEADER).is_file():
            raise SweepError(_no_sweep_in(path))
    elif not path.exists():
        raise SweepError(f"there is nothing at {path}{_beside(path)}")
    elif path.suffix not in _SPECS:
        raise SweepError(
            f"{path} is neither the folder of a dataset nor a spec (.yaml); a sweep's folder is the"
            f" one with {HEADER} in it{_beside(path)}"
        )


def _no_sweep_in(path: Path) -> str:
    if inside := _sweeps_in(path):
        return f"{path} holds several sweeps, not one; take one of {_listed(inside)}"
    what = "is empty" if not any(path.iterdir()) else f"holds no sweep: there is no {HEADER} in it"
    return f"{path} {what}; fill a folder by: fractal-ray run SPEC.yaml"


def _beside(path: Path) -> str:
    """What could have been meant: sweeps in the folder where something was looked for."""
    found = _sweeps_in(path.parent)
    if not found:
        return "; load takes the folder of a dataset, <storage>/<name>, or a spec's YAML"
    close = nearest(str(path), [str(each) for each in found])
    return f"; sweeps there: {_listed(found)}{close}"


def _sweeps_in(folder: Path) -> list[Path]:
    return sorted(header.parent for header in folder.glob(f"*/{HEADER}"))


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths))
