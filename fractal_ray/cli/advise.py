"""``fractal-ray advise``: the best settings, the safe region, and the distance to the cliff."""

from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    AddressOption,
    BudgetHoursOption,
    BudgetPointsOption,
    CpusOption,
    Engine,
    EngineOption,
    FrameOption,
    JsonOption,
    QuietOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    open_sweep,
)
from fractal_ray.cli.progress import note_rest, watched
from fractal_ray.dataset.plain_json import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fractal_ray.sweep import Sweep

NO_ADVICE = 3
"""Exit code where the runs allow no advice."""


def advise(
    sweep_path: SweepArgument,
    frame: FrameOption = None,
    at: Annotated[
        list[str],
        typer.Option(
            "--at",
            metavar="NAME=VALUE",
            help="Predict the critical value at an amount of data, such as num_tokens=1e6, where an"
            " axis changes it. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="First load the model, and add its losses without any update to the dataset.",
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="First run the best, its neighbours and both sides of each cliff with this number"
            " of seeds, on shuffled data. Runs that there are already are not run again.",
        ),
    ] = None,
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
) -> None:
    """Say what works best, how far it is to the cliff, and how sure that is.

    Exit code 3 if the runs allow no advice.
    """
    from fractal_ray.engine.budget import Budget

    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    budget = Budget(budget_points, budget_gpu_hours, sweep.spec.resources.cards)
    budget.check()
    if seeds is None:
        _refuse_run_options(
            {"--address": address, "--num-cpus": num_cpus}
            | {"--budget-points": budget_points, "--budget-gpu-hours": budget_gpu_hours}
        )
    if baseline:
        _add_baseline(sweep)
    amounts = _amounts(sweep, at)
    advice, failed = sweep.advice(frame, amounts), False
    if seeds is not None and advice.given and sweep.seeding is not None:
        with watched(sweep, quiet=quiet, as_json=as_json) as how:
            states = sweep.run_seeds(
                seeds,
                frame,
                engine=engine.value,
                address=address,
                num_cpus=num_cpus,
                budget=budget,
                **how,
            )
        for location, state in states:
            note_rest(state.spent, state.gave_up, location)
            failed |= state.gave_up > 0
        advice = sweep.advice(frame, amounts)
    print(to_json(advice.to_dict()) if as_json else "\n".join(advice.lines()))
    if not advice.given:
        raise typer.Exit(NO_ADVICE)
    if failed:
        raise typer.Exit(1)


def _refuse_run_options(options: "Mapping[str, int | float | str | None]") -> None:
    """Refuse options of runs where nothing runs."""
    from fractal_ray.errors import SweepError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise SweepError(f"{', '.join(given)}: advise runs points only with --seeds; add it")


def _amounts(sweep: "Sweep", texts: list[str]) -> list[float]:
    """Return the amounts of ``NAME=VALUE``; the name is that of the axis that changes the data."""
    from fractal_ray.errors import SweepError
    from nanochat.errors import quoted

    axes = (sweep.spec.axes.x.param, sweep.spec.axes.y.param)
    names = [name for name in axes if sweep.spec.workload.changes_data(name)]
    amounts = []
    for text in texts:
        name, _, value = text.partition("=")
        try:
            amount = float(value)
            if name not in names or not 0 < amount < float("inf"):
                raise ValueError
        except ValueError as error:
            example = f"{names[0]}=1e6" if names else "none here: no axis changes the data"
            raise SweepError(
                f"--at takes an axis that changes the data and an amount above 0; given"
                f" {quoted(text)}, allowed: {example}"
            ) from error
        amounts.append(amount)
    return amounts


def _add_baseline(sweep: "Sweep") -> None:
    import sys

    from fractal_ray.analysis.advice.seed_runs import data_of_seed, stored_seeds
    from fractal_ray.dataset.baseline_file import BASELINE
    from fractal_ray.engine.baseline import evaluate_untouched
    from fractal_ray.engine.workload_of import workload_of

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    evaluate_untouched(sweep.spec, sweep.location, sweep.workload(), say)
    for seed in stored_seeds(sweep):
        of_seed = data_of_seed(sweep, seed)
        if of_seed.store().read_text(BASELINE) is None:
            evaluate_untouched(of_seed.spec, of_seed.location, workload_of(of_seed.spec), say)
