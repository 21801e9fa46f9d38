"""``fractal-ray status``, ``analyze`` and ``plot``: what a dataset shows."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fractal_ray.commands.options import (
    FrameOption,
    JsonOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    keep_figure,
    open_sweep,
    title_of,
)


def status(
    sweep_path: SweepArgument,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show the failures, grouped, with one traceback each.")
    ] = False,
    frames: Annotated[bool, typer.Option("--frames", help="List the frames.")] = False,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Say how far a sweep is. Reads the dataset only, wherever the sweep runs."""
    from fractal_ray.status import failure_groups, frame_line, read_frames, read_status

    sweep = open_sweep(sweep_path, settings, storage)
    state = read_status(sweep, skip_corrupt=skip_corrupt)
    groups = failure_groups(sweep, skip_corrupt=skip_corrupt) if errors else []
    listed = read_frames(sweep, skip_corrupt=skip_corrupt) if frames else []
    if as_json:
        asked = {"errors": groups} if errors else {}
        asked |= {"frames": listed} if frames else {}
        print(json.dumps({**state.to_dict(), **asked}))
        return
    print("\n".join([*state.lines(), *map(frame_line, listed)]))
    for group in groups:
        print(f"\n{group['count']} x {group['error']}\n{group['traceback']}".rstrip())


def analyze(
    sweep_path: SweepArgument,
    frame: FrameOption = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Measure the boundary and its dimension, beside what a smooth border gives."""
    from fractal_ray.analysis import analyze as measure

    sweep = open_sweep(sweep_path, settings, storage)
    result, _ = measure(sweep, frame=frame, skip_corrupt=skip_corrupt)
    print(json.dumps(result.to_dict()) if as_json else "\n".join(result.lines()))


class Figure(StrEnum):
    """Which map."""

    PANELS = "panels"
    OUTCOMES = "outcomes"
    MEASURED = "measured"


def plot(
    sweep_path: SweepArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write (.png, .svg or .pdf); default: figures/ in the dataset's folder."
        ),
    ] = None,
    figure: Annotated[
        Figure,
        typer.Option(
            help="panels: value, final loss and label; outcomes: the three classes; measured: what"
            " was run and what was inferred."
        ),
    ] = Figure.PANELS,
    frame: FrameOption = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    skip_corrupt: SkipOption = False,
) -> None:
    """Draw the map."""
    from fractal_ray.figures.maps import measured_map, outcome_map, save, three_panel

    sweep = open_sweep(sweep_path, settings, storage)
    raster = sweep.raster(sweep.table(skip_corrupt=skip_corrupt), frame=frame)
    title = title_of(sweep, frame)
    if figure is Figure.PANELS:
        drawn = three_panel(raster, title=title, label=sweep.spec.label.boundary)
    else:
        draw = outcome_map if figure is Figure.OUTCOMES else measured_map
        drawn = draw(raster, title=title, boundary=sweep.spec.label.boundary)
    if out is None:
        number = "" if frame is None else f"-frame{frame}"
        print(keep_figure(sweep, drawn, f"{sweep.spec.name}{number}-{figure.value}.png"))
    else:
        print(save(drawn, out))
