"""``sweep.json``: whose data a folder holds, checked before anything is added to them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fractal_ray.dataset.frames_file import read_zooms, refuse_other_zooms
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.spec.sweep_spec import SweepSpec

HEADER: Final = "sweep.json"
_OTHER = "the model, the data or the arithmetic of this version differ"


def read_header(store: Store) -> dict[str, Any] | None:
    """What `sweep.json` says (docs/storage.md); None where there is none.

    Raises
    ------
    SweepError
        When it is damaged.
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


def own_header(
    spec: SweepSpec, store: Store, fingerprint: str, recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """The header to write before a run.

    Parameters
    ----------
    spec, store
        What is to be run, and into which dataset.
    fingerprint, recipe
        Of the workload.

    Raises
    ------
    SweepError
        For a folder that holds another sweep's data.
    """
    swept = {spec.axes.x.param, spec.axes.y.param}
    ours = {
        "fingerprint": fingerprint,
        "recipe": {k: v for k, v in recipe.items() if k not in swept},
        "axes": spec.axes.model_dump(),
    }
    theirs = read_header(store)
    if theirs is None and not store.is_empty():
        raise SweepError(
            f"{store.location} holds a dataset without {HEADER}, so whose it is cannot be"
            " checked; restore that file, or take another name or --storage"
        )
    differences = _differences(theirs, ours) if theirs else []
    if differences:
        raise SweepError(
            f"{store.location} holds the data of another sweep; nothing was changed.\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nTake another name (--set name=...) or another --storage."
        )
    if theirs:
        refuse_other_zooms(spec, store, read_zooms(store), theirs["spec"])
    return {
        "schema_version": 1,
        "created_at": theirs.get("created_at", _now()) if theirs else _now(),
        **ours,
        "spec": spec.model_dump(mode="json"),
    }


def check_fingerprint(store: Store, fingerprint: str) -> None:
    """Refuse to compare runs with a dataset whose runs were others.

    Raises
    ------
    SweepError
        Where the dataset has another fingerprint.
    """
    theirs = (read_header(store) or {}).get("fingerprint", fingerprint)
    if theirs != fingerprint:
        raise SweepError(
            f"{store.location} cannot be compared with runs of now: {_OTHER} (fingerprint"
            f" {theirs!r} there, {fingerprint!r} here). Run the sweep again under another name"
            " (--set name=...), or use the version that made it"
        )


def _differences(theirs: dict[str, Any], ours: dict[str, Any], at: str = "") -> list[str]:
    lines = []
    for key in sorted({*theirs, *ours}) if at else sorted(ours):
        where = f"{at}{key}"
        there, here = theirs.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            lines += _differences(there, here, f"{where}.")
        elif there != here:
            what = f"{_OTHER}: fingerprint" if key == "fingerprint" else where
            lines.append(f"{what} is {there!r} there, {here!r} here")
    return lines


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
