"""Files of a sweep's folder that go to W&B as an artifact."""

import json
from pathlib import Path
from typing import Any, Final

from pyarrow.fs import LocalFileSystem

from fractal_ray.dataset.frames_file import FILE
from fractal_ray.dataset.header import HEADER, read_header
from fractal_ray.dataset.secrets import cleaned, without_secrets
from fractal_ray.dataset.store import Store
from nanochat.files.links import files_below, leads_out

_FOLDERS: Final = ("points", "failures", "verify", "seeds", "figures")


def add_dataset(artifact: Any, store: Store, *, copied: bool) -> list[str]:
    """Put the dataset, its figures, sheets and runs with other seeds into an artifact.

    Parameters
    ----------
    artifact
        A new `wandb.Artifact`.
    store
        A dataset on a local disk is added file by file, its `sweep.json` without the keys that a
        storage URI may hold. Of a remote dataset only the location is added, in
        ``location.txt``.
    copied
        True if W&B copies the files now: they may be sent much later, and the sweep may be
        resumed in the meantime.

    Returns
    -------
    list of str
        Names of links that were left out, because they lead out of the dataset's folder.
    """
    if not isinstance(store.filesystem, LocalFileSystem):
        # A W&B reference would need the library of each kind of storage.
        with artifact.new_file("location.txt") as file:
            file.write(without_secrets(store.location) + "\n")
        return []
    how: Any = {"skip_cache": True, "policy": "mutable" if copied else "immutable"}
    root = Path(store.root)
    if (root / HEADER).is_file():
        _add_header(artifact, HEADER, store)
    paths = [root / FILE] if (root / FILE).is_file() else []
    paths += [path for name in _FOLDERS for path in files_below(root / name)]
    out = {path for path in paths if leads_out(path, root)}
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path in out:
            continue
        if path.name == HEADER:  # of checks and other seeds
            _add_header(artifact, name, Store(str(path.parent)))
        else:
            artifact.add_file(str(path), name=name, **how)
    return sorted(path.relative_to(root).as_posix() for path in out)


def _add_header(artifact: Any, name: str, store: Store) -> None:
    """Add the `sweep.json` of a dataset without the keys that a storage URI may hold."""
    if (header := read_header(store)) is not None:
        with artifact.new_file(name) as file:
            file.write(json.dumps(cleaned(header), indent=2) + "\n")
