"""Checks of a dataset's folder before a run: it holds no other sweep's data, or the run is refused.

The facts are those of ``sweep.json`` (`dataset/header.py`) and ``frames.json``
(`dataset/frames_file.py`).
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from fractal_ray.dataset.frames_file import FILE, read_zooms
from fractal_ray.dataset.header import HEADER, ORIGIN, read_header
from fractal_ray.dataset.sources_file import Texts, changes, read_sources
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import stage_of
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import Prepared, Workload
from nanochat.errors import quoted

NO_SOURCES: Final[Texts] = MappingProxyType({})
"""Texts of a workload whose fingerprint covers none."""
_OTHER: Final = "the model, the data or the arithmetic of this version differ"


def own_header(
    spec: SweepSpec,
    store: Store,
    fingerprint: str,
    recipe: Mapping[str, Any],
    sources: Texts = NO_SOURCES,
) -> dict[str, Any]:
    """Return the header to write before a run.

    Parameters
    ----------
    spec, store
        The sweep to run and its dataset.
    fingerprint, recipe
        Fingerprint and recipe of the workload.
    sources
        Texts that the fingerprint covers, to name those that have changed.

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
    if differences and theirs and theirs.get("fingerprint") != fingerprint:
        differences += changes(read_sources(store), sources)
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
        **_folder_of(spec, store),
    }


def _folder_of(spec: SweepSpec, store: Store) -> dict[str, str]:
    """Return the folder of the spec, relative to the dataset, if paths in the spec need it."""
    folder = spec.workload.context.get("folder")
    if store.is_remote or not folder:
        return {}
    return {"folder": os.path.relpath(folder, store.root)}


def data_facts(store: Store, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about the data for the header; those of the validation are kept.

    Parameters
    ----------
    store
        The dataset.
    facts
        `Prepared.data_facts` of this run.

    Raises
    ------
    SweepError
        Where the dataset has losses of other validation batches: these are not comparable.
    """
    before = (read_header(store) or {}).get("data", {}).get("validation")
    now = facts.get("validation", before)
    if before is not None and now != before:
        raise SweepError(
            f"{store.location} has validation losses of {_batches(before)}, and the spec names"
            f" {_batches(now)}: they cannot be compared. Set workload.data.validation as it was,"
            " leave it out, or take another name (--set name=...)"
        )
    return {**facts, **({} if now is None else {"validation": now})}


def _batches(validation: Mapping[str, Any]) -> str:
    return (
        f"{validation.get('rows')} rows in {validation.get('batches')} batches (fingerprint"
        f" {quoted(validation.get('fingerprint'))})"
    )


def check_fingerprint(store: Store, fingerprint: str, sources: Texts = NO_SOURCES) -> None:
    """Refuse to compare runs with a dataset of another fingerprint.

    Raises
    ------
    SweepError
        Where the dataset has another fingerprint.
    """
    theirs = (read_header(store) or {}).get("fingerprint", fingerprint)
    if theirs != fingerprint:
        changed = "".join(f"\n  {line}" for line in changes(read_sources(store), sources))
        raise SweepError(
            f"{store.location} cannot be compared with runs of now: {_OTHER} (fingerprint"
            f" {quoted(theirs)} there, {quoted(fingerprint)} here). Run the sweep again"
            f" under another name (--set name=...), or use the version that made it{changed}"
        )


def check_same_origin(store: Store, prepared: Prepared, reseeded: Workload | None) -> None:
    """Refuse to compare runs with a dataset of another model, other data or other arithmetic.

    Parameters
    ----------
    store
        The dataset.
    prepared
        Fingerprint of the runs, and the texts that it covers.
    reseeded
        The workload of the dataset, if the runs have another seed. Their fingerprint may cover the
        seed; then that of this workload is compared.

    Raises
    ------
    SweepError
        Where the dataset has another fingerprint.
    """
    theirs = (read_header(store) or {}).get("fingerprint")
    if reseeded is not None and theirs != prepared.fingerprint:
        prepared = reseeded.prepare()
    check_fingerprint(store, prepared.fingerprint, prepared.sources)


def origin_of(store: Store) -> dict[str, Any]:
    """Return the key of a header that names the sweep to which runs with other seeds belong."""
    header = read_header(store) or {}
    return {ORIGIN: header["fingerprint"]} if "fingerprint" in header else {}


def _differences(theirs: dict[str, Any], ours: dict[str, Any], at: str = "") -> list[str]:
    lines = []
    for key in sorted({*theirs, *ours}) if at else sorted(ours):
        where = f"{at}{key}"
        there, here = theirs.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            lines += _differences(there, here, f"{where}.")
        elif there != here:
            what = f"{_OTHER}: fingerprint" if key == "fingerprint" else where
            lines.append(f"{what} is {quoted(there)} there, {quoted(here)} here")
    return lines


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def refuse_other_zooms(
    spec: SweepSpec, store: Store, zooms: Sequence[Zoom], before: Mapping[str, Any]
) -> None:
    """Refuse a spec whose zooms differ from those that chose the dataset's frames.

    Parameters
    ----------
    spec
        The sweep to run.
    store, zooms
        The dataset and its frames. Frames in its rows count as well, in case the file is gone.
    before
        The earlier spec of the dataset, as JSON.

    Raises
    ------
    SweepError
        With the stage and the difference. Only the last chain of frames chosen one by one may
        become longer or shorter.
    """
    stages = spec.model_dump(mode="json")["stages"]
    old = before["stages"]
    zoomed = [stage_of(number) for number in {*(zoom.frame.id for zoom in zooms), *store.frames()}]
    used = sorted(i for i in set(zoomed) if i < len(old) and old[i].get("zoom") is not None)
    for index in used:
        theirs = old[index]["zoom"]
        ours = stages[index]["zoom"] if index < len(stages) else None
        free = False
        if ours is not None and ours["pick"] in ("densest", "diverse") and index == used[-1]:
            free, ours = True, {**ours, "depth": theirs["depth"]}
        if ours == theirs:
            _check_fits(spec, index, zooms, store.location)
            continue
        what = "is gone"
        if ours is not None:
            changed = (key for key in theirs if theirs[key] != ours[key])
            what = "differs: " + ", ".join(
                f"{key} was {quoted(theirs[key])}, now {quoted(ours[key])}" for key in changed
            )
        raise SweepError(
            f"{store.location} holds frames that stage {index}, a zoom, has chosen, and that stage"
            f" {what}. Nothing was changed."
            + (" Only its depth may change." if free else "")
            + " Take another name (--set name=...) or --storage."
        )


def _check_fits(spec: SweepSpec, index: int, zooms: Sequence[Zoom], location: str) -> None:
    params = spec.axes.x.param, spec.axes.y.param
    for zoom in zooms:
        frame = zoom.frame
        if stage_of(frame.id) == index and (
            (frame.cells_x, frame.cells_y) != spec.plan.cells(index)
            or (frame.x.param, frame.y.param) != params
        ):
            raise SweepError(
                f"{location}/{FILE} is damaged (frame {frame.id} has other axes or cells than stage"
                f" {index}); restore it from a copy"
            )
