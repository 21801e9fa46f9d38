"""What of a sweep's folder goes to W&B."""

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
        A dataset on a disk is added file by file, its `sweep.json` without the keys that a
        storage may be written with; of one elsewhere only the place is named, in
        ``location.txt``.
    copied
        Whether W&B takes copies of the files now: it may be long before they are sent, and the
        sweep may go on before.
    """
    if not isinstance(store.filesystem, LocalFileSystem):
        # A reference of W&B's would need the library of each kind of storage.
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
