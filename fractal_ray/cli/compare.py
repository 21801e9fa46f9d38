"""``fractal-ray compare``: a comparison of two sweeps, point by point."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fractal_ray.cli.options import (
    ColorsOption,
    JsonOption,
    SetOption,
    SkipOption,
    open_sweep,
)
from fractal_ray.dataset.plain_json import to_json
from nanochat.cli.output_options import check_file


def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A sweep's YAML, or the folder of its dataset; its label labels both.",
            show_default=False,
        ),
    ],
    b: Annotated[
        str, typer.Argument(help="Another sweep, over the same axes.", show_default=False)
    ],
    frame: Annotated[
        int | None,
        typer.Option(
            help="Number of the frame in both sweeps; default: the last frame that both have, or"
            " else the last frame of each."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            callback=check_file,
            metavar="FIGURE",
            help="Draw A, B and where they differ (.png, .svg, .pdf).",
        ),
    ] = None,
    colors: ColorsOption = "safe",
    settings: SetOption = [],  # noqa: B006 - typer copies it
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Compare two sweeps point by point: settings, outcomes, labels, border, dimensions.

    Nodes are matched by their exact values, so grids and levels may differ. --set changes both.
    """
    from fractal_ray.analysis.compare.sweeps import compare as measure

    sweeps = [open_sweep(each, settings, None, skip_corrupt=skip_corrupt) for each in (a, b)]
    comparison = measure(*sweeps, frame=frame)
    print(to_json(comparison.to_dict()) if as_json else "\n".join(comparison.lines()))
    if output is not None:
        from fractal_ray.figures.canvas import save
        from fractal_ray.figures.difference import difference_figure
        from fractal_ray.figures.notes import add_foot, notes_on

        figure = difference_figure(comparison, colors=colors)
        add_foot(
            figure,
            [
                f"{letter}: {note}"
                for letter, sweep, raster in zip("AB", sweeps, comparison.rasters, strict=True)
                for note in notes_on(sweep, raster)
            ],
        )
        path = save(figure, output)
        print(f"figure: {path}", file=sys.stderr if as_json else sys.stdout)
