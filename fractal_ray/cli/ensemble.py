"""``fractal-ray ensemble``: one sweep, combined over several seeds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    ColorsOption,
    FrameOption,
    JsonOption,
    SkipOption,
    open_sweep,
)
from fractal_ray.dataset.plain_json import to_json
from nanochat.cli.output_options import check_file

if TYPE_CHECKING:
    from fractal_ray.analysis.sweep_data import SweepData


def ensemble(
    sweeps: Annotated[
        list[str], typer.Argument(help="Sweeps over the same lattice that differ in their seed.")
    ],
    frame: FrameOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=check_file,
            help="Draw the share of seeds whose label is yes (.png, .svg, .pdf).",
        ),
    ] = None,
    colors: ColorsOption = "safe",
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Combine several seeds of one sweep: where labels agree, and the border without noise."""
    from fractal_ray.analysis.frame_data import read_frame
    from fractal_ray.dimension.ensemble import combine
    from fractal_ray.errors import SweepError
    from fractal_ray.figures.canvas import save
    from fractal_ray.figures.maps import share_map
    from fractal_ray.figures.notes import add_foot, notes_on

    opened = [open_sweep(path, [], None, skip_corrupt=skip_corrupt) for path in sweeps]
    if len(opened) < 2:
        raise SweepError(f"an ensemble needs two sweeps or more; given {len(opened)}")
    read = [read_frame(sweep, frame) for sweep in opened]
    first = read[0].raster
    settings = {_settings_but_seed(each.sweep) for each in read}
    locations = {each.sweep.location for each in read}
    if len(settings) > 1 or len(locations) < len(read):
        raise SweepError(
            "an ensemble takes sweeps that differ in their seed only, each in its own folder:"
            f" {', '.join(sweeps)} have other workloads or labels, or one is given twice"
        )
    for path, each in zip(sweeps, read, strict=True):
        same = [
            a.shape == b.shape and bool((a == b).all())
            for a, b in ((each.raster.x, first.x), (each.raster.y, first.y))
        ]
        if not all(same):
            raise SweepError(f"{path} has another lattice than {sweeps[0]}: axes or levels differ")
    combined = combine([each.labels() for each in read])
    if as_json:
        left_out = sum(len(sweep.damaged_parts()) for sweep in opened)
        print(to_json({**combined.to_dict(), "parts_left_out": left_out}))
    else:
        print("\n".join(combined.lines()))
    if out is not None:
        title = f"{combined.seeds} seeds"
        drawn = share_map(first, combined.yes_share, title=title, colors=colors)
        add_foot(drawn, notes_on(opened[0], first))
        path = save(drawn, out)
        if not as_json:
            print(f"figure: {path}")


def _settings_but_seed(sweep: "SweepData") -> str:
    """Return the settings that the sweeps of an ensemble share: all but the seed, as JSON."""
    workload = sweep.spec.workload.model_dump(mode="json")
    for part in (workload, workload.get("recipe", {}), workload.get("parameters", {})):
        for key in ("seed", "draw"):
            part.pop(key, None)
    return json.dumps([workload, sweep.spec.label.model_dump()], sort_keys=True)
