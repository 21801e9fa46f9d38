"""``fractal-ray run``: run a sweep, or go on with it."""

import json
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_ray.commands.options import (
    JsonOption,
    SetOption,
    SkipOption,
    SpecArgument,
    StorageOption,
    keep_figure,
    open_sweep,
    title_of,
)

if TYPE_CHECKING:
    from fractal_ray.engine.base import Progress
    from fractal_ray.sweep import Sweep


class Engine(StrEnum):
    """Where points are run."""

    RAY = "ray"
    LOCAL = "local"


def run(
    spec: SpecArgument,
    engine: Annotated[
        Engine, typer.Option(help="ray: Ray Tune on a cluster; local: this process, without Ray.")
    ] = Engine.RAY,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join, for example auto or host:6379; default: RAY_ADDRESS,"
            " or a new one on this machine that listens on loopback only."
        ),
    ] = None,
    num_cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs of a new Ray; default: all of this machine.")
    ] = None,
    budget_points: Annotated[
        int | None,
        typer.Option(min=1, help="Stop cleanly when the dataset holds so many points."),
    ] = None,
    budget_gpu_hours: Annotated[
        float | None,
        typer.Option(
            help="Stop cleanly when training has taken so many GPU-hours, all runs of"
            " this sweep together."
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Run a sweep, or go on with it: points in the dataset are not run again."""
    from fractal_ray.engine.budget import Budget

    sweep = open_sweep(spec, settings, storage)
    budget = Budget(budget_points, budget_gpu_hours, sweep.spec.resources.gpu)
    budget.check()

    def say(text: str) -> None:
        if not quiet:
            print(f"{text} ...", file=sys.stderr, flush=True)

    try:
        with (
            _stop_signals(),
            # Ray prints what it has to say of lost workers on stdout, which belongs to --json.
            redirect_stdout(sys.stderr),
            _view(sweep.spec.name, hide=quiet or as_json) as view,
        ):
            progress = sweep.run(
                engine.value,
                address=address,
                num_cpus=num_cpus,
                view=view,
                say=say,
                skip_corrupt=skip_corrupt,
                budget=budget,
            )
    except KeyboardInterrupt:
        done = sweep.store().read(["point_id"], skip_corrupt=True).num_rows
        again = shlex.join(["fractal-ray", *sys.argv[1:]])
        print(
            f"\nstopped; {done} points are in {sweep.location}.\nTo go on: {again}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
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


@contextmanager
def _view(title: str, *, hide: bool) -> Iterator[Any]:
    """The right way to show progress here: a screen, plain lines, or nothing."""
    from rich.console import Console

    from fractal_ray.live import LineView, ScreenView

    console = Console(stderr=True)
    if hide:
        yield lambda progress: None
    elif console.is_terminal:
        with ScreenView(title, console) as screen:
            yield screen
    else:
        with LineView() as lines:
            yield lines


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM (a stopped Ray job) ends a sweep as cleanly as Ctrl-C."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
