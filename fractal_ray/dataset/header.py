"""The file ``sweep.json``: the spec, recipe and fingerprint of the data that a folder holds."""

import json
from collections.abc import Mapping
from typing import Any, Final

from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError

HEADER: Final = "sweep.json"
"""Name of the file."""


def read_header(store: Store) -> dict[str, Any] | None:
    """Return the content of `sweep.json` (docs/storage.md); None without the file.

    Raises
    ------
    SweepError
        If the file is damaged.
    """
    text = store.read_text(HEADER)
    if text is None:
        return None
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("spec"), dict):
        raise SweepError(
            f"{store.location}/{HEADER} is damaged; restore it from a copy, or take another name"
            " or --storage"
        )
    return header


def write_header(store: Store, header: Mapping[str, Any]) -> None:
    """Write `sweep.json`, whole or not at all."""
    store.write_file(HEADER, (json.dumps(header, indent=2) + "\n").encode())
