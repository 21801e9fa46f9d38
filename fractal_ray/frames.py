"""The frames of a sweep: those that its spec names, and those that its zooms have chosen.

A grid of stage i fills frame i. The frames of a zoom of stage i are 1000 i, 1000 i + 1, ... in the
order in which they were chosen; lines and pairs on them have numbers of their own.

Chosen frames are kept in ``frames.json`` beside the dataset, before the first of their points is.
They are chosen once: a sweep that goes on takes them from there, so that a point whose run failed
and succeeded later cannot move them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fractal_ray.errors import SweepError
from fractal_ray.planners.zoom import Zoom
from fractal_ray.space import Frame
from fractal_ray.spec import SweepSpec
from fractal_ray.store import Store

FILE: Final = "frames.json"
PER_STAGE: Final = 1000
"""Numbers of frames that a stage has for itself."""


def stage_of(frame_id: int) -> int:
    """Number of the stage that a frame's number belongs to."""
    return frame_id if frame_id < PER_STAGE else frame_id // PER_STAGE


@dataclass(frozen=True)
class Lattice:
    """A frame and its finest lattice.

    Parameters
    ----------
    frame
        The frame.
    level
        Of the finest lattice over it.
    refinement
        Number of the stage that refined it; None where it is a grid only.
    zoom
        How it was chosen; None for the axes as the spec gives them.
    """

    frame: Frame
    level: int
    refinement: int | None = None
    zoom: Zoom | None = None


def lattices(spec: SweepSpec, zooms: Sequence[Zoom]) -> dict[int, Lattice]:
    """All frames by number, in the order of the stages that fill them.

    Parameters
    ----------
    spec
    zooms
        Frames chosen so far.
    """
    made: dict[int, Lattice] = {}
    for index, stage in enumerate(spec.stages):
        refinement = spec.refinement(index)
        level = 0 if refinement is None else spec.level(refinement)
        if stage.grid is not None:
            made[index] = Lattice(spec.frame(index), level, refinement)
        for zoom in zooms if stage.zoom is not None else ():
            if stage_of(zoom.frame.id) == index:
                made[zoom.frame.id] = Lattice(zoom.frame, level, refinement, zoom)
    return made


def unchosen(spec: SweepSpec, zooms: Sequence[Zoom]) -> list[str]:
    """What to say of zooms that have fewer frames than they could have."""
    notes = []
    for index, stage in enumerate(spec.stages):
        if stage.zoom is None:
            continue
        made = sum(stage_of(zoom.frame.id) == index for zoom in zooms)
        if made < (most := spec.frames(index)):
            notes.append(
                f"stage {index}, a zoom, has {made} of up to {most} frames: where no border is left"
                " it chooses none, and each waits for the one before"
            )
    return notes


def read_zooms(store: Store) -> list[Zoom]:
    """The chosen frames of a dataset, in the order in which they were chosen.

    Raises
    ------
    SweepError
        If the file is damaged.
    """
    text = store.read_text(FILE)
    if text is None:
        return []
    try:
        return [Zoom.from_json(zoom) for zoom in json.loads(text)["zooms"]]
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise SweepError(
            f"{store.location}/{FILE} is damaged; restore it from a copy, or delete it: the frames"
            " are then chosen again, from the same labels"
        ) from error


def to_bytes(zooms: Sequence[Zoom]) -> bytes:
    """The file."""
    text = json.dumps({"schema_version": 1, "zooms": [zoom.to_json() for zoom in zooms]}, indent=1)
    return f"{text}\n".encode()


def refuse_other_zooms(
    spec: SweepSpec, zooms: Sequence[Zoom], before: Mapping[str, Any], location: str
) -> None:
    """Refuse a spec whose zooms are not those that the dataset's frames were chosen by.

    Parameters
    ----------
    spec
        What is to be run.
    zooms
        What the dataset has.
    before
        The spec that the dataset was run with, as JSON.
    location
        For the message.

    Raises
    ------
    SweepError
        Naming the stage and what differs. Chains that are chosen frame by frame may be made
        longer or shorter.
    """
    stages = spec.model_dump(mode="json")["stages"]
    for index in sorted({stage_of(zoom.frame.id) for zoom in zooms}):
        theirs = before["stages"][index]["zoom"]
        ours = stages[index]["zoom"] if index < len(stages) else None
        if ours is not None and ours["pick"] in ("densest", "diverse"):
            ours = {**ours, "depth": theirs["depth"]}
        if ours == theirs:
            continue
        what = (
            "is gone"
            if ours is None
            else "differs: "
            + ", ".join(
                f"{key} was {theirs[key]!r}, now {ours[key]!r}"
                for key in theirs
                if theirs[key] != ours[key]
            )
        )
        raise SweepError(
            f"{location} holds frames that stage {index}, a zoom, has chosen, and that stage"
            f" {what}. Nothing was changed. Take another name (--set name=...) or --storage."
        )
