"""``fractal-ray rerun``: one point run again, with its model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import SetOption, StorageOption, SweepArgument, open_sweep
from nanochat.cli.output_options import check_folder

if TYPE_CHECKING:
    from fractal_ray.sweep import Sweep


def rerun(
    sweep_path: SweepArgument,
    point: Annotated[
        str | None,
        typer.Option(
            help="The point: its id, the first digits of its id, or X,Y for the nearest point.",
            show_default=False,
        ),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Take the best point, as `advise` names it.")
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            callback=check_folder, help="Folder for the result and for the model's folder."
        ),
    ] = Path("models"),
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
) -> None:
    """Run one point again, keep its model, and compare its losses with the dataset's."""
    from fractal_ray.engine.rerun import rerun as run_again
    from fractal_ray.errors import SweepError

    if best == (point is not None):
        raise SweepError("rerun takes a point: either --best, or --point with an id or X,Y")
    sweep = open_sweep(sweep_path, settings, storage)
    repeat = run_again(sweep, point or _best(sweep), out, print)
    print(f"point: {repeat.point_id} at x = {repeat.x!r}, y = {repeat.y!r}")
    if repeat.deviation == 0:
        print("losses: those of the dataset, to the bit")
    elif repeat.deviation == float("inf"):
        print("losses: not as many as in the dataset (another device, or other software?)")
    else:
        print(
            f"losses: up to {repeat.deviation:.2g} (relative) off those of the dataset"
            " (another device, or other software?)"
        )
    now, before = repeat.val_loss, repeat.val_loss_before
    if now is not None:
        if before is None:
            comparison = "the dataset has none for this point"
        elif now == before:
            comparison = "that of the dataset, to the bit"
        else:
            comparison = f"in the dataset {before:.6f}"
        print(f"validation loss: {now:.6f}, {comparison}")
    if repeat.result is not None:
        print(f"result: {repeat.result}")
    if repeat.model is not None:
        print(f"model: {repeat.model}")
    raise typer.Exit(repeat.exit_code)


def _best(sweep: "Sweep") -> str:
    """Return the place of the best point as ``X,Y``."""
    from fractal_ray.analysis.advice.results import Refusal
    from fractal_ray.errors import SweepError

    best = sweep.advice().best
    if isinstance(best, Refusal):
        raise SweepError(f"--best: there is no best point: {best.reason}")
    return f"{best.x!r},{best.y!r}"
