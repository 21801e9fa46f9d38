"""``fractal-ray report``: all results of a sweep on one page."""

from pathlib import Path
from typing import Annotated

import typer

from fractal_ray.cli.options import (
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    open_sweep,
)
from nanochat.cli.output_options import check_file


def report(
    sweep_path: SweepArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            callback=check_file,
            help="File to write (.html); default: report.html in the dataset's folder.",
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    skip_corrupt: SkipOption = False,
) -> None:
    """Make one HTML page of a sweep: maps, frames, dimension, costs, failures, how to reproduce.

    It opens from disk without a network. Reads the dataset only.
    """
    from fractal_ray.errors import SweepError
    from fractal_ray.figures.canvas import whole_file
    from fractal_ray.report.facts import read_facts
    from fractal_ray.report.page import render

    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise SweepError(f"cannot write {output.name!r}: a report is one .html file")
    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    page = render(read_facts(sweep)).encode(errors="backslashreplace")
    if output is None:
        print(sweep.store().write_file("report.html", page))
        return
    with whole_file(output) as part:
        part.write_bytes(page)
    print(output)
