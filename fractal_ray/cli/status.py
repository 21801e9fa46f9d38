"""``fractal-ray status``: the progress of a sweep, read from its dataset."""

import json
from typing import Annotated

import typer

from fractal_ray.cli.options import (
    JsonOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    open_sweep,
)
from fractal_ray.cli.status_watch import check_watch, follow


def status(
    sweep_path: SweepArgument,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show the failures, grouped, with one traceback each.")
    ] = False,
    frames: Annotated[bool, typer.Option("--frames", help="List the frames.")] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show the screen of `run` until the sweep is complete."),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="With --watch: seconds between two looks, at least 0.1; default: 2.",
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Print the progress of a sweep. Reads the dataset only, wherever the sweep runs."""
    check_watch(watch=watch, errors=errors, frames=frames, interval=every)
    if watch:
        seconds = 2.0 if every is None else every
        follow(
            sweep_path,
            settings,
            storage,
            interval=seconds,
            as_json=as_json,
            skip_corrupt=skip_corrupt,
        )
        return
    from fractal_ray.analysis.rates import notes_on_rates
    from fractal_ray.analysis.status import failure_groups, frame_line, read_frames, read_status

    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    state = read_status(sweep)
    groups = failure_groups(sweep) if errors else []
    listed = read_frames(sweep) if frames else []
    if as_json:
        sections = {"errors": groups} if errors else {}
        sections |= {"frames": listed} if frames else {}
        print(json.dumps({**state.to_dict(), **sections}))
        return
    rates = notes_on_rates(sweep.spec, sweep.rule) if frames else []
    print("\n".join([*state.lines(), *map(frame_line, listed), *rates]))
    for group in groups:
        print(f"\n{group['count']} x {group['error']}\n{group['traceback']}".rstrip())
