"""A `wandb.Api` whose artifacts are folders, for processes that tests start.

``<store>/entity/project/name/v3/...`` are the files of a version, ``<store>/.../latest`` is a file
that names one. Every file that is sent leaves a line in ``<store>/sent``.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import wandb
from wandb.errors import CommError

CHUNK = 16 * 1024


class Artifact:
    """What is used of `wandb.Artifact`; test_artifacts holds it against the real one."""

    def __init__(self, store: Path, folder: Path, pause: float) -> None:
        self._store, self._folder, self._pause = store, folder, pause
        self.version = folder.name
        files = [path for path in folder.rglob("*") if path.is_file()]
        entries = {
            path.relative_to(folder).as_posix(): SimpleNamespace(size=path.stat().st_size)
            for path in files
        }
        self.manifest = SimpleNamespace(entries=entries)

    def download(
        self, root: str, path_prefix: str | None = None, skip_cache: bool | None = None
    ) -> str:
        """Copy what starts with the prefix, slowly, and say so."""
        assert skip_cache, "W&B's cache would hold a second copy"
        for name in self.manifest.entries:
            if name.startswith(path_prefix or ""):
                with (self._store / "sent").open("a") as told:
                    told.write(f"{self.version}/{name}\n")
                self._copy(self._folder / name, Path(root) / name)
        return root

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = source.read_bytes()
        with target.open("wb") as file:
            for start in range(0, len(content), CHUNK):
                file.write(content[start : start + CHUNK])
                file.flush()
                time.sleep(self._pause)


def make_api(store: Path, pause: float = 0.0) -> Callable[[], SimpleNamespace]:
    """What stands in for `wandb.Api`: `pause` is in seconds after each `CHUNK` bytes."""

    def artifact(name: str) -> Artifact:
        path, _, version = name.partition(":")
        folder = store / path / version
        if folder.is_file():
            folder = store / path / folder.read_text()
        if not folder.is_dir():
            raise CommError(f"artifact membership {name!r} not found")
        return Artifact(store, folder, pause)

    return lambda: SimpleNamespace(artifact=artifact)


def install() -> None:
    """Use the store in the variable FAKE_WANDB_STORE from now on in this process."""
    store, pause = os.environ["FAKE_WANDB_STORE"], os.environ["FAKE_WANDB_PAUSE"]
    wandb.Api = make_api(Path(store), float(pause))
