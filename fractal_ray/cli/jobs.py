"""``fractal-ray jobs``: list, follow and stop the jobs of a cluster."""

import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fractal_ray.engine.jobs.client import Client
    from fractal_ray.engine.jobs.submit import JobDetails

app = typer.Typer(
    help="Jobs of a cluster: those that `fractal-ray submit` started, and others.",
    no_args_is_help=True,
)

ServerOption = Annotated[
    str | None,
    typer.Option(
        help="Dashboard of the cluster, http://HOST:8265; default: RAY_API_SERVER_ADDRESS,"
        " RAY_ADDRESS, or this machine's."
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="ID", show_default=False, help="The job's id.")]


@app.command("list")
def list_jobs(address: ServerOption = None) -> None:
    """List all jobs, newest first."""
    from fractal_ray.engine.jobs import submit as jobs
    from fractal_ray.engine.jobs.client import connect

    infos = jobs.every(connect(address))
    if not infos:
        print("no jobs yet", file=sys.stderr)
    width = max((len(str(info.submission_id)) for info in infos), default=0)
    for info in infos:
        print(f"{info.submission_id!s:{width}}  {_state(info)}  {_subject(info)}")


@app.command()
def status(job: JobArgument, address: ServerOption = None) -> None:
    """Print the state of a job."""
    from fractal_ray.engine.jobs import submit as jobs
    from fractal_ray.engine.jobs.client import connect

    info = jobs.find(connect(address), job)
    print(f"{job}  {_state(info)}\ncommand: {info.entrypoint}")
    if info.metadata and "dataset" in info.metadata:
        print(f"dataset: {info.metadata['dataset']}")
    if info.driver_exit_code is not None:
        print(f"exit code: {jobs.exit_code(info)}")
    for line in _reason(info):
        print(line)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Follow the log until the job ends; exit with the job's exit code.",
        ),
    ] = False,
    address: ServerOption = None,
) -> None:
    """Print the log of a job."""
    from fractal_ray.engine.jobs import submit as jobs
    from fractal_ray.engine.jobs.client import connect

    client = connect(address)
    if follow:
        watch(client, job, address)
    else:
        print(jobs.logs(client, job), end="")


@app.command()
def stop(job: JobArgument, address: ServerOption = None) -> None:
    """Stop a job; its finished points are written first. The same `submit` resumes the sweep."""
    from fractal_ray.engine.jobs import submit as jobs
    from fractal_ray.engine.jobs.client import connect

    was_running, info = jobs.stop(connect(address), job)
    if not was_running:
        print(f"{job} has ended already: {_state(info)}")
    elif info.status.is_terminal():
        print(f"{job}  {_state(info)}")
    else:
        print(f"{job} does not end: {_state(info)}", file=sys.stderr)
        raise typer.Exit(1)


def watch(client: "Client", job: str, address: str | None) -> None:
    """Follow the log of a job to its end and exit with its code; Ctrl-C leaves the job running."""
    from fractal_ray.engine.jobs import submit as jobs
    from fractal_ray.errors import SweepError

    jobs.find(client, job)
    try:
        info = jobs.follow(client, job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print("\ndetached; the job goes on", *how_to(job, address), sep="\n", file=sys.stderr)
        raise typer.Exit(130) from None
    except SweepError as error:
        print(f"\nlost: {error}", *how_to(job, address), sep="\n", file=sys.stderr)
        raise typer.Exit(1) from error
    print(f"{job}  {_state(info)}", *_reason(info), sep="\n", file=sys.stderr)
    raise typer.Exit(jobs.exit_code(info))


def how_to(job: str, address: str | None) -> list[str]:
    """Return the commands that follow and stop a job."""
    option = f" --address {shlex.quote(address)}" if address else ""
    return [
        f"follow: fractal-ray jobs logs --follow {job}{option}",
        f"stop:   fractal-ray jobs stop {job}{option}",
    ]


def _state(info: "JobDetails") -> str:
    from fractal_ray.cli.screen import duration

    if info.start_time is None:
        return str(info.status)
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.start_time / 1000))
    end = info.end_time / 1000 if info.end_time else time.time()
    return f"{info.status!s:9}  {begun}  {duration(max(0, end - info.start_time / 1000)):>7}"


def _subject(info: "JobDetails") -> str:
    return (info.metadata or {}).get("dataset") or info.entrypoint


def _reason(info: "JobDetails") -> list[str]:
    """Return the reason why a job did not start, as lines; errors of the run are in its log."""
    error = info.error_type
    failed = error is not None and getattr(error, "value", error) != "JOB_ENTRYPOINT_COMMAND_ERROR"
    return [f"reason: {info.message}"] if failed else []
