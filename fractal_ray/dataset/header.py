"""The file ``sweep.json``: the spec, recipe and fingerprint of the data that a folder holds."""

import copy
import json
import platform
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fractal_ray.dataset.parts import IDENTITY
from fractal_ray.dataset.store import Store
from fractal_ray.dataset.version import VERSION
from fractal_ray.errors import reading
from nanochat.errors import quoted

_KINDS = {
    "created_at": str,
    "fingerprint": str,
    "folder": str,
    "recipe": dict,
    "axes": dict,
    "data": dict,
}
_SPEC_KINDS = {"name": str, "workload": dict, "axes": dict, "stages": list, "label": dict}

HEADER: Final = "sweep.json"
"""Name of the file."""
ORIGIN: Final = "sweep_fingerprint"
"""Key of the fingerprint of the sweep to which runs with other seeds belong."""


def read_header(store: Store) -> dict[str, Any] | None:
    """Return the content of `sweep.json` (docs/storage.md); None without the file.

    A refinement without the key ``probes`` has none: it was begun before there were probes, and
    goes on with the points that it began with. The default is written as null. A label without the
    key ``boundary`` is that of `trainable`, the one border that there was.

    Raises
    ------
    SweepError
        If the file is damaged.
    """
    text = store.read_text(HEADER)
    if text is None:
        return None
    remedy = "; restore it from a copy, or take another name or --storage"
    with reading(f"{store.location}/{HEADER}", remedy):
        header = json.loads(text)
        _check(header)
    for refine in _refinements(header):
        refine.setdefault("probes", 0)
    header["spec"].setdefault("label", {}).setdefault("boundary", "trainable")
    return header


def part_facts(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts for the schema of a part, from the header of its dataset."""
    facts = {name: header[name] for name in IDENTITY if name in header}
    label = header.get("spec", {}).get("label")
    return {**facts, "label": label, "fractal_ray": VERSION, "python": platform.python_version()}


def write_header(store: Store, header: Mapping[str, Any]) -> None:
    """Write `sweep.json`, whole or not at all; refinements as `read_header` reads them."""
    header = copy.deepcopy(dict(header))
    for refine in _refinements(header):
        if refine.setdefault("probes", None) == 0:
            del refine["probes"]
    store.write_file(HEADER, (json.dumps(header, indent=2) + "\n").encode())


def _check(header: Any) -> None:
    """Refuse a header with a value of another type than the one that is written."""
    if not isinstance(header, dict) or not isinstance(header.get("spec"), dict):
        raise ValueError('it is no object with the key "spec"')
    spec: dict[str, Any] = header["spec"]
    for of, place, kinds in ((header, "", _KINDS), (spec, "spec.", _SPEC_KINDS)):
        for key, kind in kinds.items():
            if key in of and not isinstance(of[key], kind):
                raise ValueError(f"{place}{key} is {quoted(of[key])}")
    datetime.fromisoformat(header.get("created_at", "2026-01-01"))
    for number, stage in enumerate(spec.get("stages") or ()):
        parts = list(stage.values()) if isinstance(stage, dict) else [stage]
        if stage is None or not all(part is None or isinstance(part, dict) for part in parts):
            raise ValueError(f"spec.stages.{number} is {quoted(stage)}")


def _refinements(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of all stages `refine` of a header."""
    stages = [stage for stage in header["spec"].get("stages") or () if isinstance(stage, dict)]
    return [stage["refine"] for stage in stages if isinstance(stage.get("refine"), dict)]
