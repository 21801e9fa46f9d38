"""Files of a sweep's folder that go to W&B as an artifact."""

import json
from pathlib import Path
from typing import Any, Final

from pyarrow.fs import LocalFileSystem

from fractal_ray.dataset.frames_file import FILE
from fractal_ray.dataset.header import HEADER, read_header
from fractal_ray.dataset.secrets import cleaned, without_secrets
from fractal_ray.dataset.store import Store

_FOLDERS: Final = ("points", "failures", "verify", "figures")


def add_dataset(artifact: Any, store: Store, *, copied: bool) -> None:
    """Put the dataset, its figures and its verification sheets into an artifact.

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
    """
    if not isinstance(store.filesystem, LocalFileSystem):
        # A W&B reference would need the library of each kind of storage.
        with artifact.new_file("location.txt") as file:
            file.write(without_secrets(store.location) + "\n")
        return
    how: Any = {"skip_cache": True, "policy": "mutable" if copied else "immutable"}
    root = Path(store.root)
    header = read_header(store)
    if header is not None:
        with artifact.new_file(HEADER) as file:
            file.write(json.dumps(cleaned(header), indent=2) + "\n")
    if (root / FILE).is_file():
        artifact.add_file(str(root / FILE), name=FILE, **how)
    for name in _FOLDERS:
        if (root / name).is_dir():
            artifact.add_dir(str(root / name), name=name, **how)
