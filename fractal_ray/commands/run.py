"""``fractal-ray run``: run a sweep, or go on with it."""

import json
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.commands.options import (
    AddressOption,
    CpusOption,
    Engine,
    EngineOption,
    JsonOption,
    QuietOption,
    SetOption,
    SkipOption,
    SpecArgument,
    StorageOption,
    keep_figure,
    open_sweep,
    title_of,
)
from fractal_ray.commands.watching import watched

if TYPE_CHECKING:
    from fractal_ray.engine.base import Progress
    from fractal_ray.sweep import Sweep


def run(
    spec: SpecArgument,
    engine: EngineOption = Engine.RAY,
    address: AddressOption = None,
    num_cpus: CpusOption = None,
    budget_points: Annotated[
        int | None,
        typer.Option(min=1, help="Stop cleanly when the dataset holds so many points."),
    ] = None,
    budget_gpu_hours: Annotated[
        float | None,
        typer.Option(
            help="Stop cleanly when the training of points that finished has taken so many"
            " GPU-hours, all runs of this sweep together."
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Run a sweep, or go on with it: points in the dataset are not run again."""
    from fractal_ray.engine.budget import Budget

    sweep = open_sweep(spec, settings, storage)
    budget = Budget(budget_points, budget_gpu_hours, sweep.spec.resources.gpu)
    budget.check()

    with watched(sweep, quiet=quiet, as_json=as_json) as how:
        progress = sweep.run(
            engine.value,
            address=address,
            num_cpus=num_cpus,
            skip_corrupt=skip_corrupt,
            budget=budget,
            **how,
        )
    _report(sweep, progress, as_json=as_json, skip_corrupt=skip_corrupt)
    if progress.spent:
        print(
            f"stopped at the budget of {progress.spent}; the same command with a larger one, or"
            " with none, goes on",
            file=sys.stderr,
        )
    if progress.gave_up:
        print(
            f"{progress.gave_up} points failed again and again and are unknown on the map;"
            f" see why: fractal-ray status --errors {shlex.quote(sweep.location)};"
            " the same command tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _report(sweep: "Sweep", progress: "Progress", *, as_json: bool, skip_corrupt: bool) -> None:
    from fractal_ray.analysis import analyze
    from fractal_ray.figures.maps import three_panel

    result, raster = analyze(sweep, skip_corrupt=skip_corrupt)
    drawn = three_panel(raster, title=title_of(sweep), label=sweep.spec.label.boundary)
    figure = keep_figure(sweep, drawn, f"{sweep.spec.name}.png")
    if as_json:
        print(
            json.dumps(
                {
                    "dataset": sweep.location,
                    "figure": str(figure),
                    "done": progress.done,
                    "reused": progress.reused,
                    "failures": progress.failures,
                    "gave_up": progress.gave_up,
                    "spent": progress.spent,
                    "seconds": progress.seconds,
                    **result.to_dict(),
                }
            )
        )
        return
    print("\n".join(result.lines()))
    print(f"figure:  {figure}\ndataset: {sweep.location}")
