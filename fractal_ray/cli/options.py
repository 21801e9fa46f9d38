"""Arguments that several commands take, and what several of them do with a sweep."""

import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

    from fractal_ray.spec.sweep_spec import SweepSpec
    from fractal_ray.sweep import Sweep


class Engine(StrEnum):
    """Where points are run."""

    RAY = "ray"
    LOCAL = "local"


class Colors(StrEnum):
    """Whose colours a map has."""

    SOURCE = "source"
    SAFE = "safe"


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
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
SpecArgument = Annotated[str, typer.Argument(help="The sweep's YAML.", show_default=False)]
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
    typer.Option(help="Folder or URI that holds sweeps; the same as --set storage=..."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
FrameOption = Annotated[
    int | None,
    typer.Option(
        help="Number of the frame, as `fractal-ray status --frames` lists them; default: the last."
    ),
]
ColorsOption = Annotated[
    Colors,
    typer.Option(
        help="source: those of the work that a colouring comes from; safe: orange to purple, told"
        " apart in every common colour blindness, as all other figures are."
    ),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out parts of the dataset that cannot be read.")
]


def overrides(settings: list[str], storage: str | None) -> tuple[str, ...]:
    return (*settings, f"storage={json.dumps(storage)}") if storage else tuple(settings)


def open_sweep(path: str, settings: list[str], storage: str | None) -> "Sweep":
    from fractal_ray.sweep import Sweep

    return Sweep.open(path, overrides(settings, storage))


def note_on_repeats(spec: "SweepSpec") -> str | None:
    """What to know of a sweep whose runs do not repeat to the bit; None of any other."""
    from fractal_ray.spec.workloads import NanochatSpec

    if not isinstance(spec.workload, NanochatSpec) or spec.workload.deterministic:
        return None
    return (
        "recipe.deterministic is false, so labels may differ between repeats of a run;"
        " fractal-ray verify measures how many do"
    )


def keep_figure(sweep: "Sweep", drawn: "MatplotlibFigure", name: str, dpi: int = 150) -> str:
    """Put a figure beside its dataset, wherever that is."""
    from fractal_ray.figures.canvas import save

    with tempfile.TemporaryDirectory() as folder:
        data = save(drawn, Path(folder) / name, dpi=dpi).read_bytes()
    return sweep.store().write_file(f"figures/{name}", data)
