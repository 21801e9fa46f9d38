"""``fractal-ray advise``: the best settings, the safe region, and the distance to the cliff."""

from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    FrameOption,
    JsonOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    open_sweep,
)
from fractal_ray.dataset.plain_json import to_json

if TYPE_CHECKING:
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
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Say what works best, how far it is to the cliff, and how sure that is.

    Exit code 3 if the runs allow no advice.
    """
    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    if baseline:
        _add_baseline(sweep)
    advice = sweep.advice(frame, _amounts(sweep, at))
    print(to_json(advice.to_dict()) if as_json else "\n".join(advice.lines()))
    if not advice.given:
        raise typer.Exit(NO_ADVICE)


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

    from fractal_ray.engine.baseline import evaluate_untouched

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    evaluate_untouched(sweep.spec, sweep.location, sweep.workload(), say)
