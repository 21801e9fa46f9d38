"""``frames.json``: the frames that zooms have chosen, kept before the first of their points is.

They are chosen once. A sweep that goes on takes them from here, so that a point whose run failed
and succeeded later cannot move them, and refuses a spec whose zooms are others.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.cut_axis import CutAxis, ends, value_at
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.frames import PER_STAGE, stage_of
from fractal_ray.spec.sweep_spec import SweepSpec

FILE: Final = "frames.json"
_VERSION = 1


def read_zooms(store: Store) -> list[Zoom]:
    """The chosen frames of a dataset, in the order in which they were chosen.

    Raises
    ------
    SweepError
        If the file is damaged, or of a later version.
    """
    try:
        text = store.read_text(FILE)
        if text is None:
            return []
        content = json.loads(text)
        zooms = [Zoom.from_json(zoom) for zoom in content["zooms"]]
        _check(content["schema_version"], zooms)
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
        raise SweepError(
            f"{store.location}/{FILE} is damaged ({error}); restore it from a copy, or delete it:"
            " frames are then chosen again, by the labels as they are now"
        ) from error
    return zooms


def to_bytes(zooms: Sequence[Zoom]) -> bytes:
    """The file."""
    content = {"schema_version": _VERSION, "zooms": [zoom.to_json() for zoom in zooms]}
    return f"{json.dumps(content, indent=1)}\n".encode()


def refuse_other_zooms(
    spec: SweepSpec, store: Store, zooms: Sequence[Zoom], before: Mapping[str, Any]
) -> None:
    """Refuse a spec whose zooms are not those that the dataset's frames were chosen by.

    Parameters
    ----------
    spec
        What is to be run.
    store, zooms
        The dataset and its frames. Rows count as well, should the file be gone.
    before
        The spec that the dataset was run with, as JSON.

    Raises
    ------
    SweepError
        Naming the stage and what differs. The last of the chains that are chosen frame by frame may
        be made longer or shorter.
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
                f"{key} was {theirs[key]!r}, now {ours[key]!r}" for key in changed
            )
        raise SweepError(
            f"{store.location} holds frames that stage {index}, a zoom, has chosen, and that stage"
            f" {what}. Nothing was changed."
            + (" Only its depth may change." if free else "")
            + " Take another name (--set name=...) or --storage."
        )


def notes(spec: SweepSpec, zooms: Sequence[Zoom]) -> list[str]:
    """What a reader should know of the frames: fewer than could be, or chosen by another label."""
    said = []
    for index, stage in enumerate(spec.stages):
        if stage.zoom is None:
            continue
        made = sum(stage_of(zoom.frame.id) == index for zoom in zooms)
        if made < (most := spec.frames(index)):
            said.append(
                f"stage {index}, a zoom, has {made} of up to {most} frames so far; it chooses none"
                " where it finds no border, or no room for another window"
            )
    label = spec.label.model_dump()
    others = [zoom for zoom in zooms if dict(zoom.label) != label]
    if others:
        was = others[0].label
        what = ", ".join(f"{key} {was.get(key)!r}" for key in label if was.get(key) != label[key])
        said.append(
            f"{len(others)} of {len(zooms)} frames were chosen where the border of another label"
            f" ran: {what}"
        )
    return said


def _check_fits(spec: SweepSpec, index: int, zooms: Sequence[Zoom], location: str) -> None:
    params = spec.axes.x.param, spec.axes.y.param
    for zoom in zooms:
        frame = zoom.frame
        if stage_of(frame.id) == index and (
            (frame.cells_x, frame.cells_y) != spec.cells(index)
            or (frame.x.param, frame.y.param) != params
        ):
            raise SweepError(
                f"{location}/{FILE} is damaged (frame {frame.id} has other axes or cells than stage"
                f" {index}); restore it from a copy"
            )


def _check(version: Any, zooms: Sequence[Zoom]) -> None:
    if version != _VERSION:
        raise ValueError(f"schema_version is {version!r}, this fractal-ray reads {_VERSION}")
    seen: set[int] = set()
    for zoom in zooms:
        frame = zoom.frame
        whole = (frame.id, zoom.parent_id, frame.cells_x, frame.cells_y)
        if not all(type(number) is int for number in whole):
            raise ValueError(f"frame {frame.id!r}: numbers and cells must be whole")
        if frame.id < PER_STAGE or frame.id in seen or min(frame.cells_x, frame.cells_y) < 1:
            raise ValueError(f"frame {frame.id}: no such number or cells, or twice")
        if zoom.parent_id >= PER_STAGE and zoom.parent_id not in seen:
            raise ValueError(f"frame {frame.id} is cut from {zoom.parent_id}, which is not there")
        for axis in (frame.x, frame.y):
            assert isinstance(axis, CutAxis)
            low, high = ends(axis)
            if not (low.is_finite() and high.is_finite() and low < high):
                raise ValueError(f"frame {frame.id}: {axis.param} from {low} to {high}")
            if (axis.min, axis.max) != (value_at(axis, low), value_at(axis, high)):
                raise ValueError(f"frame {frame.id}: ends of {axis.param} contradict each other")
        seen.add(frame.id)
