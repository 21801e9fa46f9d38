"""``fractal-ray status``, ``analyze`` and ``ensemble``: what a dataset shows."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    Colors,
    ColorsOption,
    FrameOption,
    JsonOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    open_sweep,
)
from fractal_ray.cli.status_watch import check_watch, follow
from fractal_ray.dataset.plain_json import to_json

if TYPE_CHECKING:
    from fractal_ray.sweep import Sweep


def status(
    sweep_path: SweepArgument,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show the failures, grouped, with one traceback each.")
    ] = False,
    frames: Annotated[bool, typer.Option("--frames", help="List the frames.")] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show it as `run` does, until the sweep is complete."),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="With --watch: look so often; 2 if not given, 0.1 at least."
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Say how far a sweep is. Reads the dataset only, wherever the sweep runs."""
    check_watch(watch=watch, errors=errors, frames=frames, every=every)
    if watch:
        seconds = 2.0 if every is None else every
        how = {"as_json": as_json, "skip_corrupt": skip_corrupt}
        follow(sweep_path, settings, storage, every=seconds, **how)
        return
    from fractal_ray.analysis.status import failure_groups, frame_line, read_frames, read_status

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


class Against(StrEnum):
    """What a series of dimensions runs over."""

    ZOOM = "zoom"
    STEPS = "steps"
    THRESHOLD = "threshold"


def analyze(
    sweep_path: SweepArgument,
    frame: FrameOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Give dimensions without a verification sheet, marked.")
    ] = False,
    published: Annotated[
        list[str],
        typer.Option(
            "--published",
            metavar="NAME",
            help="Also apply a published estimator, flaws included: sohl-dickstein-2024,"
            " fractal-llm, attractors.jl or torkamandi-2025. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    against: Annotated[
        Against | None,
        typer.Option(
            help="A series of dimensions: zoom, of every frame; steps and threshold, of one frame"
            " with its runs cut short, or labelled by other thresholds."
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Measure the boundary, and its dimension where a verification sheet allows it."""
    from fractal_ray.analysis.summary import analyze as measure

    sweep = open_sweep(sweep_path, settings, storage)
    if against is not None:
        _series(sweep, against, frame, force=force, as_json=as_json, skip_corrupt=skip_corrupt)
        return
    result, _ = measure(
        sweep, frame=frame, force=force, published=published, skip_corrupt=skip_corrupt
    )
    print(to_json(result.to_dict()) if as_json else "\n".join(result.lines()))


def _series(
    sweep: "Sweep",
    against: Against,
    frame: int | None,
    *,
    force: bool,
    as_json: bool,
    skip_corrupt: bool,
) -> None:
    from fractal_ray.analysis.series import against_steps, against_threshold, against_zoom

    if against is Against.ZOOM:
        entries = against_zoom(sweep, force=force, skip_corrupt=skip_corrupt)
    else:
        measure = against_steps if against is Against.STEPS else against_threshold
        entries = measure(sweep, frame, force=force, skip_corrupt=skip_corrupt)
    if as_json:
        print(to_json([entry.to_dict() for entry in entries]))
        return
    what = {"zoom": "frame", "steps": "steps", "threshold": "threshold"}[against.value]
    marked = " (dimensions are not verified)" if force else ""
    print(f"{sweep.spec.name}, boundary '{sweep.spec.label.boundary}', by {what}{marked}")
    print("\n".join(map(str, entries)))


def ensemble(
    sweeps: Annotated[
        list[str], typer.Argument(help="Sweeps over the same lattice that differ in their seed.")
    ],
    frame: FrameOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Draw the share of seeds that say yes (.png, .svg, .pdf).")
    ] = None,
    colors: ColorsOption = Colors.SOURCE,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Combine a sweep run under several seeds: where they agree, the border without noise."""
    from fractal_ray.analysis.verify.kept_sheet import read_frame
    from fractal_ray.dimension.ensemble import combine
    from fractal_ray.errors import SweepError
    from fractal_ray.figures.canvas import save
    from fractal_ray.figures.maps import share_map

    opened = [open_sweep(path, [], None) for path in sweeps]
    if len(opened) < 2:
        raise SweepError(f"an ensemble needs two sweeps or more; given {len(opened)}")
    read = [read_frame(sweep, frame, skip_corrupt=skip_corrupt) for sweep in opened]
    first = read[0].raster
    alike = {_but_seed(each.sweep) for each in read}
    places = {each.sweep.location for each in read}
    if len(alike) > 1 or len(places) < len(read):
        raise SweepError(
            "an ensemble is of sweeps that differ in their seed only, each in a folder of its own:"
            f" {', '.join(sweeps)} have other workloads or labels, or one is given twice"
        )
    for path, each in zip(sweeps, read, strict=True):
        same = [
            a.shape == b.shape and bool((a == b).all())
            for a, b in ((each.raster.x, first.x), (each.raster.y, first.y))
        ]
        if not all(same):
            raise SweepError(f"{path} has another lattice than {sweeps[0]}: axes or levels differ")
    found = combine([each.labels() for each in read])
    print(to_json(found.to_dict()) if as_json else "\n".join(found.lines()))
    if out is not None:
        title = f"{found.seeds} seeds"
        drawn = share_map(first, found.yes_share, title=title, colors=colors.value)
        kept = save(drawn, out)
        if not as_json:
            print(f"figure: {kept}")


def _but_seed(sweep: "Sweep") -> str:
    """What the sweeps of an ensemble have in common."""
    workload = sweep.spec.workload.model_dump(mode="json")
    for part in (workload, workload.get("recipe", {}), workload.get("parameters", {})):
        for key in ("seed", "draw"):
            part.pop(key, None)
    return json.dumps([workload, sweep.spec.label.model_dump()], sort_keys=True)
