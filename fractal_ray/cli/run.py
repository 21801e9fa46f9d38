"""``fractal-ray run``: run a sweep, or resume it."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    AddressOption,
    BudgetHoursOption,
    BudgetPointsOption,
    CpusOption,
    Engine,
    EngineOption,
    JsonOption,
    QuietOption,
    SetOption,
    SkipOption,
    SpecArgument,
    StorageOption,
    advice_of,
    keep_figure,
    note_on_repeats,
    open_sweep,
)
from fractal_ray.cli.progress import note_rest, watched
from fractal_ray.figures.catalog import title_of

if TYPE_CHECKING:
    from fractal_ray.analysis.advice.advice import Advice
    from fractal_ray.analysis.summary import Analysis
    from fractal_ray.engine.progress import Progress
    from fractal_ray.plane.boundary import Raster
    from fractal_ray.sweep import Sweep
    from fractal_ray.tracking.base import Tracker
    from nanochat.errors import LaterSteps


def run(
    spec: SpecArgument,
    engine: EngineOption = Engine.RAY,
    address: AddressOption = None,
    num_cpus: CpusOption = None,
    budget_points: BudgetPointsOption = None,
    budget_gpu_hours: BudgetHoursOption = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Leave out points that fail with the same error at every attempt, instead of"
            " stopping at the third such point.",
        ),
    ] = False,
    tracking: Annotated[
        bool | None,
        typer.Option(
            "--tracking/--no-tracking",
            help="Log to Weights & Biases or not; default: the spec's setting (docs/tracking.md).",
        ),
    ] = None,
) -> None:
    """Run a sweep, or resume it: points in the dataset are not run again."""
    from fractal_ray.engine.jobs.keys import take_keys

    take_keys()  # before other modules read the environment
    from fractal_ray.engine.budget import Budget
    from fractal_ray.spec.idle import check_new_dataset
    from fractal_ray.spec.resources import WHOLE_CARD
    from fractal_ray.spec.shipped import keep_copy, shipped_spec
    from fractal_ray.tracking import tracked
    from fractal_ray.tracking.base import both
    from nanochat.errors import LaterSteps

    sweep = open_sweep(spec, settings, storage, skip_corrupt=skip_corrupt, reads=False)
    cards = sweep.spec.resources.cards
    if sweep.spec.resources.gpu is None and sweep.spec.workload.takes_card:
        cards = WHOLE_CARD  # if there are any, which the run finds out
    budget = Budget(budget_points, budget_gpu_hours, cards)
    budget.check()
    check_new_dataset(sweep.spec, sweep.location)  # before W&B hears of the sweep

    note = _quiet if quiet or as_json else _note
    if warning := note_on_repeats(sweep.spec):
        note(warning)
    shipped = None if Path(spec).exists() else shipped_spec(spec)
    if shipped and (
        copy := keep_copy(shipped, sweep.spec.storage, sweep.spec.name, sweep.run_command)
    ):
        note(f"spec: {copy} (a copy of {spec}, which comes with fractal-ray)")
    with tracked(sweep, tracking, note=note) as tracker:
        with watched(sweep, quiet=quiet, as_json=as_json) as how:
            progress = sweep.run(
                engine.value,
                address=address,
                num_cpus=num_cpus,
                keep_going=keep_going,
                budget=budget,
                **{**how, "view": both(how["view"], tracker)},
            )
        later = LaterSteps(_note)
        _report(sweep, progress, tracker, later, as_json=as_json)
    note_rest(progress.spent, progress.gave_up, sweep.location)
    raise typer.Exit(later.exit_code or (1 if progress.gave_up else 0))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(text: str) -> None:
    """Drop a note: --quiet and --json print none."""


def _report(
    sweep: "Sweep",
    progress: "Progress",
    tracker: "Tracker",
    later: "LaterSteps",
    *,
    as_json: bool,
) -> None:
    """Print the result of a sweep, then draw its map and send both; each step may fail alone."""
    from fractal_ray.analysis.summary import analyze

    again = shlex.join(["fractal-ray", "analyze", sweep.location])
    analysis = later.run(f"analyze the dataset ({again})", analyze, sweep, needed=True)
    if analysis is None:
        return
    result, raster = analysis
    if not as_json:
        print("\n".join(result.lines()), flush=True)
    name = f"{sweep.spec.name}.png"
    advice = later.run("advise on the settings", advice_of, sweep, None)
    marked = advice if advice and advice.frame == result.frame else None
    figure = later.run("draw the map", _draw, sweep, raster, name, marked)
    if as_json:
        _print_json(sweep, result, progress, figure)
    else:
        print("" if figure is None else f"figure:  {figure}\n", end="")
        print(f"dataset: {sweep.location}", flush=True)
        if advice is not None:
            print("\n".join(advice.lines()), flush=True)
    picture = None if figure is None else f"figures/{name}"
    later.run("send the result to W&B", tracker.end, result, raster, progress, picture)


def _draw(sweep: "Sweep", raster: "Raster", name: str, advice: "Advice | None") -> str:
    """Draw the map with the best point and the safe region of an advice; return its path."""
    from fractal_ray.figures.advice import mark_advice
    from fractal_ray.figures.maps import three_panel
    from fractal_ray.figures.notes import add_foot, notes_on

    drawn = three_panel(raster, title=title_of(sweep), label=sweep.spec.label.boundary)
    if advice is not None:
        mark_advice(drawn, raster, advice)
    add_foot(drawn, notes_on(sweep, raster))
    return keep_figure(sweep, drawn, name)


def _print_json(
    sweep: "Sweep", result: "Analysis", progress: "Progress", figure: str | None
) -> None:
    print(
        json.dumps(
            {
                "dataset": sweep.location,
                "figure": figure,
                "done": progress.done,
                "reused": progress.reused,
                "shared_nodes": progress.shared_nodes,
                "bisection_points": progress.bisection_points,
                "failures": progress.failures,
                "gave_up": progress.gave_up,
                "spent": progress.spent,
                "seconds": progress.seconds,
                **result.to_dict(),
            }
        )
    )
