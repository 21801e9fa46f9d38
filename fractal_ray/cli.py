"""The command line: ``fractal-ray plan | run | status | analyze | plot``.

Exit codes: 0 done, 1 the sweep could not end, 2 a mistake in what was asked, 130 stopped by Ctrl-C.
Only typer is imported here; each command imports what it needs.
"""

import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

    from fractal_ray.engine.base import Progress
    from fractal_ray.sweep import Sweep

app = typer.Typer(
    name="fractal-ray",
    help="How far can a fine-tune be pushed before it breaks? Run it at every point of a grid of"
    " hyperparameters, draw the map of what trains, and measure the border.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Engine(StrEnum):
    """Where points are run."""

    RAY = "ray"
    LOCAL = "local"


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
SkipOption = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out parts of the dataset that cannot be read.")
]


def _overrides(settings: list[str], storage: str | None) -> tuple[str, ...]:
    return (*settings, f"storage={json.dumps(storage)}") if storage else tuple(settings)


def _open(path: str, settings: list[str], storage: str | None) -> "Sweep":
    from fractal_ray.sweep import Sweep

    return Sweep.open(path, _overrides(settings, storage))


@app.command()
def plan(
    spec: SpecArgument,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(help="All tokens that one slot trains on in a second; default: the spec's."),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a sweep would run and cost. Needs no model, network or GPU."""
    from fractal_ray.cost import reckon
    from fractal_ray.errors import SweepError
    from fractal_ray.spec import load_spec

    if tokens_per_second is not None and not 0 < tokens_per_second < float("inf"):
        raise SweepError(f"--tokens-per-second must be above 0; given {tokens_per_second:g}")
    sweep = load_spec(spec, _overrides(settings, storage))
    cost = reckon(sweep, tokens_per_second)
    if as_json:
        print(
            json.dumps(
                {
                    "name": sweep.name,
                    "stages": [
                        {
                            "stage": stage.name,
                            "nodes": stage.nodes,
                            "points": stage.runs,
                            "supervised_tokens": stage.supervised_tokens,
                        }
                        for stage in cost.stages
                    ],
                    "points": cost.runs,
                    "supervised_tokens": cost.supervised_tokens,
                    "tokens_per_second": cost.tokens_per_second,
                    "supervised_fraction": cost.supervised_fraction,
                    "slot_hours": cost.slot_hours,
                    "gpu_hours": _gpu_hours(cost.slot_hours, sweep.resources.gpu),
                }
            )
        )
        return
    print(f"{sweep.name}: {sweep.workload.model} on {sweep.workload.data.source}")
    for side in ("x", "y"):
        axis = sweep.axis(side)
        print(f"  {side}: {axis.param}, {axis.scale} from {axis.min!r} to {axis.max!r}")
    for index, stage in enumerate(cost.stages):
        nx, ny = stage.nodes
        print(
            f"  stage {index} {stage.name}: {nx} x {ny} nodes, {stage.runs:,} points to run,"
            f" at most {stage.supervised_tokens:,} supervised tokens"
        )
    print(f"  in all: {cost.runs:,} points, {cost.supervised_tokens:,} supervised tokens")
    print(f"  dataset: {sweep.storage}/{sweep.name}")
    if cost.slot_hours is None:
        print("  no throughput stated: give --tokens-per-second, or cost in the spec")
        return
    gpu = sweep.resources.gpu
    hours = _gpu_hours(cost.slot_hours, gpu)
    what = f"{hours:,.1f} GPU-hours (slots of {gpu:g} GPU)" if gpu else f"{hours:,.1f} core-hours"
    print(
        f"  estimate: {what} at {cost.tokens_per_second:,.0f} tokens/s a slot,"
        f" {cost.supervised_fraction:.0%} of them supervised"
    )


def _gpu_hours(slot_hours: float | None, gpu: float) -> float | None:
    return None if slot_hours is None else slot_hours * (gpu or 1.0)


@app.command()
def run(
    spec: SpecArgument,
    engine: Annotated[
        Engine, typer.Option(help="ray: Ray Tune on a cluster; local: this process, without Ray.")
    ] = Engine.RAY,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join, for example auto or host:6379; default: RAY_ADDRESS,"
            " or a new one on this machine that listens on loopback only."
        ),
    ] = None,
    num_cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs of a new Ray; default: all of this machine.")
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Run a sweep, or go on with it: points in the dataset are not run again."""
    sweep = _open(spec, settings, storage)

    def say(text: str) -> None:
        if not quiet:
            print(f"{text} ...", file=sys.stderr, flush=True)

    try:
        with (
            _stop_signals(),
            # Ray prints what it has to say of lost workers on stdout, which belongs to --json.
            redirect_stdout(sys.stderr),
            _view(sweep.spec.name, hide=quiet or as_json) as view,
        ):
            progress = sweep.run(
                engine.value,
                address=address,
                num_cpus=num_cpus,
                view=view,
                say=say,
                skip_corrupt=skip_corrupt,
            )
    except KeyboardInterrupt:
        done = sweep.store().read(["point_id"], skip_corrupt=True).num_rows
        again = shlex.join(["fractal-ray", *sys.argv[1:]])
        print(
            f"\nstopped; {done} points are in {sweep.location}.\nTo go on: {again}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    _report(sweep, progress, as_json=as_json, skip_corrupt=skip_corrupt)
    if progress.gave_up:
        print(
            f"{progress.gave_up} points failed again and again and are unknown on the map;"
            f" see why: fractal-ray status --errors {shlex.quote(sweep.location)};"
            " the same command tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _report(sweep: "Sweep", progress: "Progress", *, as_json: bool, skip_corrupt: bool) -> None:
    from fractal_ray.analysis import analyze
    from fractal_ray.figures.maps import three_panel

    result, raster = analyze(sweep, skip_corrupt=skip_corrupt)
    drawn = three_panel(raster, title=_title(sweep), label=sweep.spec.label.boundary)
    figure = _keep(sweep, drawn, f"{sweep.spec.name}.png")
    if as_json:
        print(
            json.dumps(
                {
                    "dataset": sweep.location,
                    "figure": str(figure),
                    "done": progress.done,
                    "reused": progress.reused,
                    "failures": progress.failures,
                    "gave_up": progress.gave_up,
                    "seconds": progress.seconds,
                    **result.to_dict(),
                }
            )
        )
        return
    print("\n".join(result.lines()))
    print(f"figure:  {figure}\ndataset: {sweep.location}")


def _keep(sweep: "Sweep", drawn: "MatplotlibFigure", name: str) -> str:
    """Put a figure beside its dataset, wherever that is."""
    from fractal_ray.figures.maps import save

    with tempfile.TemporaryDirectory() as folder:
        data = save(drawn, Path(folder) / name).read_bytes()
    return sweep.store().write_file(f"figures/{name}", data)


def _title(sweep: "Sweep") -> str:
    workload = sweep.spec.workload
    return f"{sweep.spec.name}: {workload.model} on {workload.data.source}"


@app.command()
def status(
    sweep_path: SweepArgument,
    errors: Annotated[
        bool, typer.Option("--errors", help="Show the failures, grouped, with one traceback each.")
    ] = False,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Say how far a sweep is. Reads the dataset only, wherever the sweep runs."""
    from fractal_ray.status import failure_groups, read_status

    sweep = _open(sweep_path, settings, storage)
    state = read_status(sweep, skip_corrupt=skip_corrupt)
    groups = failure_groups(sweep, skip_corrupt=skip_corrupt) if errors else []
    if as_json:
        print(json.dumps({**state.to_dict(), **({"errors": groups} if errors else {})}))
        return
    print("\n".join(state.lines()))
    for group in groups:
        print(f"\n{group['count']} x {group['error']}\n{group['traceback']}".rstrip())


@app.command()
def analyze(
    sweep_path: SweepArgument,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Measure the boundary and its dimension, beside what a smooth border gives."""
    from fractal_ray.analysis import analyze as measure

    sweep = _open(sweep_path, settings, storage)
    result, _ = measure(sweep, skip_corrupt=skip_corrupt)
    print(json.dumps(result.to_dict()) if as_json else "\n".join(result.lines()))


class Figure(StrEnum):
    """Which map."""

    PANELS = "panels"
    OUTCOMES = "outcomes"


@app.command()
def plot(
    sweep_path: SweepArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write (.png, .svg or .pdf); default: figures/ in the dataset's folder."
        ),
    ] = None,
    figure: Annotated[
        Figure,
        typer.Option(help="panels: value, final loss and label; outcomes: the three classes."),
    ] = Figure.PANELS,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    skip_corrupt: SkipOption = False,
) -> None:
    """Draw the map."""
    from fractal_ray.figures.maps import outcome_map, save, three_panel

    sweep = _open(sweep_path, settings, storage)
    raster = sweep.raster(sweep.table(skip_corrupt=skip_corrupt))
    if figure is Figure.PANELS:
        drawn = three_panel(raster, title=_title(sweep), label=sweep.spec.label.boundary)
    else:
        drawn = outcome_map(raster, title=_title(sweep))
    if out is None:
        print(_keep(sweep, drawn, f"{sweep.spec.name}-{figure.value}.png"))
    else:
        print(save(drawn, out))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import fractal_ray

        print(f"fractal-ray {fractal_ray.__version__}")
        raise typer.Exit


@contextmanager
def _view(title: str, *, hide: bool) -> Iterator[Any]:
    """The right way to show progress here: a screen, plain lines, or nothing."""
    from rich.console import Console

    from fractal_ray.live import LineView, ScreenView

    console = Console(stderr=True)
    if hide:
        yield lambda progress: None
    elif console.is_terminal:
        with ScreenView(title, console) as screen:
            yield screen
    else:
        with LineView() as lines:
            yield lines


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM (a stopped Ray job) ends a sweep as cleanly as Ctrl-C."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> None:
    """Entry point: a user's mistake is one message, anything else a whole traceback."""
    from fractal_ray.errors import SweepError

    try:
        app()
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        from nanochat.errors import NanochatError

        if not isinstance(error, NanochatError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from fractal_ray.engine.base import SweepStoppedError

        if not isinstance(error, SweepStoppedError):
            raise
        print(f"the sweep was stopped: {error}", file=sys.stderr)
        sys.exit(1)
