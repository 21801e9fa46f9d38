"""``fractal-ray plot``: the figures of a dataset."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_ray.cli.options import (
    ColorsOption,
    FrameOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    keep_figure,
    open_sweep,
)
from fractal_ray.figures.catalog import FILLABLE, FINE, KINDS, dpi_of
from nanochat.cli.output_options import check_file, check_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

    from fractal_ray.sweep import Sweep

EVERY = "all"


def plot(
    sweep_path: SweepArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write (.png, .svg or .pdf), or with --figure all a folder; default:"
            " figures/ in the dataset's folder."
        ),
    ] = None,
    figure: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())
            + "; all: every figure that the dataset has the data for.",
        ),
    ] = "panels",
    colors: ColorsOption = "safe",
    fill: Annotated[
        bool,
        typer.Option(
            "--fill",
            help="Paint points without an outcome in the colour of the nearest point with one, and"
            f" put a dot on each; for the picture only. For {', '.join(FILLABLE)}.",
        ),
    ] = False,
    line: Annotated[
        str | None,
        typer.Option(
            metavar="x=VALUE|y=VALUE|transect=N",
            help="For curves: the column or row nearest to a value, or a line of the stage"
            " transects; default: the row with the most flips.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="For scaling and against-...: draw dimensions without a verification sheet too,"
            " marked as unverified.",
        ),
    ] = False,
    frame: FrameOption = None,
    dpi: Annotated[
        int | None,
        typer.Option(
            min=20,
            max=1200,
            help="Pixels per inch; in SVG and PDF, of the maps only. Default: 300 for"
            f" {', '.join(FINE)}, 150 for the others.",
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    skip_corrupt: SkipOption = False,
) -> None:
    """Draw the map, or another figure."""
    from fractal_ray.errors import SweepError
    from fractal_ray.figures.canvas import FORMATS
    from fractal_ray.figures.catalog import draw, frame_of

    if figure == EVERY and out is not None and out.suffix.lower() in FORMATS:
        raise SweepError(f"--figure all writes many files: --out {out} must be a folder")
    out = check_folder(out) if figure == EVERY else check_file(out)
    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    options = {
        "frame": frame,
        "colors": colors,
        "fill": fill,
        "line": line,
        "force": force,
    }
    if figure == EVERY:
        _draw_all(sweep, out, dpi, options)
        return
    drawn = draw(sweep, figure, **options)
    name = _name(sweep, figure, frame_of(sweep, figure, frame))
    print(_keep(sweep, drawn, out, name, dpi or dpi_of(figure)))


def _draw_all(sweep: "Sweep", out: Path | None, dpi: int | None, options: dict[str, Any]) -> None:
    from fractal_ray.errors import SweepError
    from fractal_ray.figures.catalog import draw_all, frame_of

    written = 0
    for kind, drawn in draw_all(sweep, **options):
        if isinstance(drawn, SweepError):
            print(f"no {kind}: {drawn}", file=sys.stderr)
            continue
        name = _name(sweep, kind, frame_of(sweep, kind, options["frame"]))
        path = None if out is None else out / name
        print(_keep(sweep, drawn, path, name, dpi or dpi_of(kind)))
        written += 1
    if not written:
        raise SweepError(f"{sweep.location} has the data for none of the figures")


def _name(sweep: "Sweep", kind: str, frame: int | None) -> str:
    number = "" if frame is None else f"-frame{frame}"
    return f"{sweep.spec.name}{number}-{kind}.png"


def _keep(
    sweep: "Sweep", drawn: "MatplotlibFigure", out: Path | None, name: str, dpi: int
) -> str | Path:
    from fractal_ray.figures.canvas import save

    return keep_figure(sweep, drawn, name, dpi) if out is None else save(drawn, out, dpi=dpi)
