"""``fractal-ray rerun``: a point's model."""

from pathlib import Path
from typing import Annotated

import typer

from fractal_ray.cli.options import SetOption, StorageOption, SweepArgument, open_sweep


def rerun(
    sweep_path: SweepArgument,
    point: Annotated[
        str,
        typer.Option(
            help="Which: its id, the first digits of it, or X,Y for the nearest.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the result and the folder of the model.")
    ] = Path("models"),
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
) -> None:
    """Run one point again, keep its model, and compare its losses with the dataset's."""
    from fractal_ray.engine.rerun import rerun as run_again

    done = run_again(open_sweep(sweep_path, settings, storage), point, out, print)
    print(f"point: {done.point_id} at x = {done.x!r}, y = {done.y!r}")
    if done.deviation == 0:
        print("losses: those of the dataset, to the bit")
    elif done.deviation == float("inf"):
        print("losses: not as many as in the dataset (another device, or other software?)")
    else:
        print(
            f"losses: up to {done.deviation:.2g} (relative) off those of the dataset"
            " (another device, or other software?)"
        )
    print(f"result: {done.result}")
    if done.model is not None:
        print(f"model: {done.model}")
