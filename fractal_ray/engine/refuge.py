"""Rows whose dataset is gone, kept in a private folder until they are merged into it."""

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fractal_ray.dataset.rows import Evaluation, Failure
from fractal_ray.dataset.store import Store


class Refuge:
    """Private folder for rows that cannot be written to their dataset.

    Parameters
    ----------
    store
        The dataset that is gone.
    metadata
        Facts for the schema of the parts.
    """

    def __init__(self, store: Store, metadata: dict[str, Any]) -> None:
        self._store, self._metadata = store, metadata
        self._folder: str | None = None

    def keep(self, rows: Sequence[Evaluation], failures: Sequence[Failure]) -> str:
        """Write rows to the folder; return the sentences that name it and the way back.

        Returns
        -------
        str
            "" if there were never any rows.

        Raises
        ------
        OSError
            If no temporary folder can be written.
        """
        if not (rows or failures or self._folder):
            return ""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="fractal-ray-rows-")  # with mode 0700
        kept = Store(self._folder, self._metadata)
        kept.append(rows)
        kept.append_failures(failures)
        return (
            f"The rows that were not written yet are in {self._folder}. When the dataset is back,"
            f" or was begun again with the same command, merge them: {self._merge_command()}"
        )

    def _merge_command(self) -> str:
        source = shlex.quote(f"{self._folder}/.")
        if self._store.is_remote:
            target = self._store.location.partition("?")[0]
            if target.startswith("s3://"):
                return f"aws s3 cp --recursive {source} {shlex.quote(target)}"
            return f"copy the files below {self._folder} to {target}"
        return f"cp -R {source} {shlex.quote(str(Path(self._store.root)))}"
