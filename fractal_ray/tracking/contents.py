"""What of a sweep's folder goes to W&B."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pyarrow.fs import LocalFileSystem

from fractal_ray.store import Store

_FILES: Final = ("sweep.json", "frames.json")
_FOLDERS: Final = ("points", "failures", "verify", "figures")


def add_dataset(artifact: Any, store: Store, *, copied: bool) -> None:
    """Put the dataset, its figures and its verification sheets into an artifact.

    Parameters
    ----------
    artifact
        A new `wandb.Artifact`.
    store
        A dataset on a disk is added file by file; of one elsewhere only the place is named, in
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
    for name in _FILES:
        if (root / name).is_file():
            artifact.add_file(str(root / name), name=name, **how)
    for name in _FOLDERS:
        if (root / name).is_dir():
            artifact.add_dir(str(root / name), name=name, **how)


def without_secrets(location: str) -> str:
    """A location without keys: pyarrow takes ``s3://KEY:SECRET@bucket/...`` and ``?secret=...``."""
    if "://" not in location:
        return location
    scheme, host, path, *_ = urlsplit(location)
    return urlunsplit((scheme, host.rpartition("@")[2], path, "", ""))
