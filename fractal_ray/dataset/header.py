"""The file ``sweep.json``: the spec, recipe and fingerprint of the data that a folder holds."""

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError

HEADER: Final = "sweep.json"
"""Name of the file."""


def read_header(store: Store) -> dict[str, Any] | None:
    """Return the content of `sweep.json` (docs/storage.md); None without the file.

    A refinement without the key ``probes`` has none: it was begun before there were probes, and
    goes on with the points that it began with. The default is written as null.

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
    for refine in _refinements(header):
        refine.setdefault("probes", 0)
    return header


def write_header(store: Store, header: Mapping[str, Any]) -> None:
    """Write `sweep.json`, whole or not at all; refinements as `read_header` reads them."""
    header = copy.deepcopy(dict(header))
    for refine in _refinements(header):
        if refine.setdefault("probes", None) == 0:
            del refine["probes"]
    store.write_file(HEADER, (json.dumps(header, indent=2) + "\n").encode())


def _refinements(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of all stages `refine` of a header."""
    stages = [stage for stage in header["spec"].get("stages") or () if isinstance(stage, dict)]
    return [stage["refine"] for stage in stages if isinstance(stage.get("refine"), dict)]
