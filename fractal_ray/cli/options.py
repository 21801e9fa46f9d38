"""Arguments and helper functions that several commands share."""

import json
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.plane.color_schemes import COLORS, FORMER_COLORS, Colors, color_scheme, former_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

    from fractal_ray.analysis.advice.advice import Advice
    from fractal_ray.analysis.sweep_data import SweepData
    from fractal_ray.spec.sweep_spec import SweepSpec
    from fractal_ray.sweep import Sweep


class Engine(StrEnum):
    """Engine that runs the points."""

    RAY = "ray"
    LOCAL = "local"


def _color_scheme(name: str) -> Colors:
    """Return the colour scheme of an option's value; print a note on a former name."""
    from fractal_ray.errors import SweepError

    if name in FORMER_COLORS:
        print(f"note: {former_name(name)}", file=sys.stderr)
        return FORMER_COLORS[name]
    try:
        return color_scheme(name)
    except SweepError as error:
        raise typer.BadParameter(str(error)) from None


EngineOption = Annotated[
    Engine, typer.Option(help="ray: Ray Tune on a cluster; local: this process, without Ray.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster to join, for example auto or host:6379; default: RAY_ADDRESS, or a new"
        " one on this machine that listens on loopback only."
    ),
]
CpusOption = Annotated[
    int | None, typer.Option(min=1, help="CPUs of a new Ray; default: all of this machine.")
]
BudgetPointsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Stop cleanly when the dataset holds this number of points."),
]
BudgetHoursOption = Annotated[
    float | None,
    typer.Option(
        help="Stop cleanly when the finished points have taken this number of GPU-hours of"
        " training, over all runs of this sweep."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
SpecArgument = Annotated[
    str,
    typer.Argument(
        help="The sweep's YAML, or the name of a shipped spec: quickstart, paper/tanh, ...",
        show_default=False,
    ),
]
SweepArgument = Annotated[
    str, typer.Argument(help="The sweep's YAML, or the folder of its dataset.", show_default=False)
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the spec: a dotted key and a YAML value, for example axes.x.max=0.1."
        " Repeatable.",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(help="Folder or URI that holds sweeps; short for --set storage=..."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
FrameOption = Annotated[
    int | None,
    typer.Option(
        help="Number of the frame; `fractal-ray status --frames` lists the numbers. Default: the"
        " last frame."
    ),
]
ColorsOption = Annotated[
    Colors,
    typer.Option(
        metavar="|".join(COLORS),
        parser=_color_scheme,
        help="safe: blue, orange and vermilion, which differ in every common form of colour"
        " blindness; fractal-llm: the reds, blues and greens of fractal-llm.",
    ),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out parts of the dataset that cannot be read.")
]


def overrides(settings: list[str], storage: str | None) -> tuple[str, ...]:
    """Return the values of `--set`, with `--storage` as one of them."""
    return (*settings, f"storage={json.dumps(storage)}") if storage else tuple(settings)


def open_sweep(
    path: str,
    settings: list[str],
    storage: str | None,
    *,
    skip_corrupt: bool = False,
    reads: bool = True,
) -> "Sweep":
    """Open the sweep of a YAML file or of a dataset's folder, with changed settings.

    With `reads` the damaged parts that `skip_corrupt` leaves out are named; a run sets them aside.
    """
    from fractal_ray.sweep import Sweep

    sweep = Sweep.open(path, overrides(settings, storage), skip_corrupt=skip_corrupt)
    if reads:
        _note_left_out(sweep)
    return sweep


def open_data(
    path: str, settings: list[str], storage: str | None, *, skip_corrupt: bool = False
) -> "SweepData":
    """Open a sweep to read its dataset only, without what runs points."""
    from fractal_ray.analysis.sweep_data import SweepData

    sweep = SweepData.open(path, overrides(settings, storage), skip_corrupt=skip_corrupt)
    _note_left_out(sweep)
    return sweep


def _note_left_out(sweep: "SweepData") -> None:
    """Name the parts that a command with --skip-corrupt leaves out, on the standard error."""
    for line in sweep.left_out():
        print(f"note: {line}", file=sys.stderr)


def note_on_repeats(spec: "SweepSpec") -> str | None:
    """Return a warning where a sweep's runs do not repeat to the bit; None for other sweeps."""
    if spec.workload.deterministic:
        return None
    return (
        "recipe.deterministic is false, so labels may differ between repeats of a run;"
        " fractal-ray verify measures how many do"
    )


def keep_figure(sweep: "Sweep", drawn: "MatplotlibFigure", name: str, dpi: int = 150) -> str:
    """Write a figure into the folder ``figures`` of a dataset, local or remote; return its path."""
    from fractal_ray.figures.canvas import save

    with tempfile.TemporaryDirectory() as folder:
        data = save(drawn, Path(folder) / name, dpi=dpi).read_bytes()
    return sweep.store().write_file(f"figures/{name}", data)


_MOST_NODES = 1 << 18
"""Largest number of nodes of a frame whose advice is part of `run` and `analyze`."""


def advice_of(sweep: "SweepData", frame: int | None) -> "Advice | None":
    """Return the advice on a frame; None for workloads without losses, and for huge lattices.

    Parameters
    ----------
    sweep
    frame
        Number of the frame; None for the first one.
    """
    number = min(sweep.frames) if frame is None else frame
    lattice = sweep.frame(number)
    nodes = (lattice.frame.cells_x << lattice.level) * (lattice.frame.cells_y << lattice.level)
    if not sweep.spec.workload.records_losses or nodes > _MOST_NODES:
        return None
    from fractal_ray.analysis.advice.advise import advise
    from fractal_ray.analysis.frame_data import read_frame

    return advise(read_frame(sweep, number))
