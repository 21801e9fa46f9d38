"""The command line of ``fractal-ray``.

Exit codes: 0 done, 1 the sweep could not be completed or its results not be printed, 2 a mistake in
the command or its input, 3 no advice can be given, 130 stopped by Ctrl-C. Importing
`fractal_ray.cli` loads typer only; each command imports its other modules at use.
"""

import sys
from typing import Annotated

import typer

from fractal_ray.cli import jobs
from fractal_ray.cli.advise import advise
from fractal_ray.cli.analyze import analyze
from fractal_ray.cli.compact import compact
from fractal_ray.cli.compare import compare
from fractal_ray.cli.ensemble import ensemble
from fractal_ray.cli.init import init
from fractal_ray.cli.movie import movie
from fractal_ray.cli.other_way import SweepCommands
from fractal_ray.cli.plan import plan
from fractal_ray.cli.plot import plot
from fractal_ray.cli.report import report
from fractal_ray.cli.rerun import rerun
from fractal_ray.cli.run import run
from fractal_ray.cli.status import status
from fractal_ray.cli.submit import submit
from fractal_ray.cli.verify import verify

app = typer.Typer(
    name="fractal-ray",
    cls=SweepCommands,
    help="How far can a fine-tune be pushed before it breaks? Run it at every point of a grid of"
    " hyperparameters, draw the map of what trains, and measure the border.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for command in (
    init,
    plan,
    run,
    submit,
    status,
    advise,
    analyze,
    verify,
    compare,
    ensemble,
    plot,
    movie,
    report,
    rerun,
    compact,
):
    app.command()(command)
app.add_typer(jobs.app, name="jobs")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from fractal_ray.dataset.version import VERSION

        print(f"fractal-ray {VERSION}")
        raise typer.Exit


def main() -> None:
    """Run the command line: print a user's mistake as one message, other errors with traceback."""
    from fractal_ray.errors import SweepError
    from nanochat.cli.closed_pipe import fail_if_output_is_lost, survive_closed_pipes
    from nanochat.cli.escapes import escaped
    from nanochat.cli.notes import print_any_text, show_tracebacks_escaped, show_warnings_plainly
    from nanochat.cli.stop_signals import stop_signals
    from nanochat.cli.torchrun import refuse_torchrun

    print_any_text()
    survive_closed_pipes()
    show_warnings_plainly()
    show_tracebacks_escaped()
    try:
        refuse_torchrun(
            " ".join(["fractal-ray", *sys.argv[1:2]]),
            ": a sweep uses all GPUs of this machine, or of the Ray cluster it joins",
        )
        with stop_signals(), fail_if_output_is_lost():
            app()
    except SweepError as error:
        print(escaped(f"error: {error}"), file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        from nanochat.errors import NanochatError

        if not isinstance(error, NanochatError):
            raise
        print(escaped(f"error: {error}"), file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from fractal_ray.errors import SweepStoppedError

        if not isinstance(error, SweepStoppedError):
            raise
        print(escaped(f"the sweep was stopped: {error}"), file=sys.stderr)
        sys.exit(1)
