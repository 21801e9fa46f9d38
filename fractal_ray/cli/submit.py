"""``fractal-ray submit``: run a sweep as a job on a cluster."""

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_ray.cli.jobs import ServerOption, how_to, watch
from fractal_ray.cli.options import SpecArgument, overrides
from fractal_ray.cli.run import run

if TYPE_CHECKING:
    from fractal_ray.engine.jobs.package import Shipment
    from fractal_ray.engine.jobs.request import JobRequest
    from fractal_ray.spec.sweep_spec import SweepSpec


def submit(
    context: typer.Context,
    spec: SpecArgument,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- ARGUMENTS",
            help="Arguments of `fractal-ray run`, after two dashes.",
            show_default=False,
        ),
    ] = None,
    address: ServerOption = None,
    job: Annotated[
        str | None,
        typer.Option("--id", help="Name of the job; default: the sweep's name and the time."),
    ] = None,
    include: Annotated[
        list[str],
        typer.Option(
            help="Ship this file or folder too. Repeatable. Shipped in any case are fractal-ray,"
            " the spec and the files that it names; in a git repository they must be tracked."
        ),
    ] = [],  # noqa: B006 - typer copies it
    env: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[=VALUE]",
            help="Pass this environment variable too. Those of W&B, the hub and (with storage on"
            " S3) AWS are passed in any case. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    install: Annotated[
        bool,
        typer.Option(
            "--install",
            help="Install the shipped project and its dependencies on every node first (pip);"
            " slow. Default: the nodes have them.",
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="Largest package in MiB; Ray refuses more than 100.")
    ] = 90,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", "-d", help="Print the job's id and return; do not follow the log."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything that needs no cluster; send nothing."),
    ] = False,
) -> None:
    """Run a sweep as a job on a Ray cluster: ship the code, the spec and its files; follow the log.

    Exit code: that of the run. Ctrl-C leaves the job running.

    fractal-ray submit SPEC.yaml --address http://HOST:8265 -- --storage s3://bucket/sweeps
    """
    from fractal_ray.engine.jobs.package import describe, write_package

    request, shipment = _prepared(context, spec, arguments or [], job, include, env, install)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package.zip"
        try:
            size = write_package(shipment, package, limit << 20)
        except Exception:
            _say(describe(shipment))
            raise
        _say([*describe(shipment, size), *_what(request)])
        if dry_run:
            return
        from fractal_ray.engine.jobs import submit as jobs
        from fractal_ray.engine.jobs.client import connect

        client = connect(address)
        jobs.submit(client, request, package)
    _say([f"job: {request.id} on {client.get_address()}"])
    if detach:
        print(request.id)
        _say(how_to(request.id, address))
        return
    watch(client, request.id, address)


def _prepared(
    context: typer.Context,
    spec: str,
    arguments: list[str],
    job: str | None,
    include: list[str],
    env: list[str],
    install: bool,
) -> "tuple[JobRequest, Shipment]":
    """Return the job and its files; report every mistake that can be found on this machine."""
    from fractal_ray.engine.jobs import request as job_request
    from fractal_ray.engine.jobs.package import gather
    from fractal_ray.errors import SweepError
    from fractal_ray.spec.shipped import FOLDER, shipped_spec
    from fractal_ray.spec.yaml_file import load_spec
    from fractal_ray.tracking.target import find_target

    options = _parsed(spec, arguments)
    for name in ("address", "num_cpus"):
        if options[name] is not None:
            raise SweepError(
                f"--{name.replace('_', '-')} of `run` has no place in a job, which joins the"
                " cluster that it runs in; where to send it goes before the two dashes"
            )
    sweep = load_spec(spec, overrides(options["settings"], options["storage"]))
    warnings = [*job_request.check_storage(sweep), *job_request.check_settings(sweep)]
    _say(f"warning: {line}" for line in warnings)
    by_name = None if Path(spec).exists() else shipped_spec(spec)
    shipment = gather(
        [spec, *(path for _, path in job_request.relative_files(sweep))],
        include,
        data=sweep.workload.package_data(),
        install=install,
        beside={} if by_name is None else {f"{FOLDER}/{spec}.yaml": by_name},
    )
    if by_name is None:
        shipment.refuse_missing(spec, "spec")
    _say(f"warning: {line}" for line in job_request.check_paths(sweep, shipment))
    folder = "." if by_name else job_request.job_folder(shipment)
    if folder is None:
        raise SweepError(
            "a job runs in the folder of the package that matches the current one, and no file of"
            f" {shipment.name(Path.cwd()) or Path.cwd()} is shipped; submit from the root:\n"
            + _at_root(context, shipment, sweep)
        )
    if install and "pyproject.toml" not in shipment:
        raise SweepError(
            f"--install: there is no pyproject.toml among the shipped files of {shipment.root};"
            " leave --install out where the cluster's image has fractal-ray"
        )
    settings, keys = job_request.job_environment(env, sweep.storage)
    # Names that W&B would refuse are refused here.
    find_target(sweep, options["tracking"], {**settings, **keys})
    return job_request.JobRequest(
        id=job_request.job_id(job, sweep),
        entrypoint=job_request.entrypoint(folder, spec, arguments),
        env=settings,
        keys=keys,
        metadata=job_request.metadata(sweep),
        install=install,
    ), shipment


def _at_root(context: typer.Context, shipment: "Shipment", sweep: "SweepSpec") -> str:
    """Return this command as it is typed in the root of the package; values of --env are hidden."""

    def text(name: str, value: Any) -> str:
        if name == "include":
            return shipment.name(value) or value
        return f"{value.partition('=')[0]}=VALUE" if name == "env" and "=" in value else str(value)

    from fractal_ray.engine.jobs.request import relative_files

    words = ["fractal-ray", "submit", shipment.name(context.params["spec"]) or "."]
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if option.param_type_name != "option" or source is None or source.name == "DEFAULT":
            continue
        value = context.params[name]
        if value is True:
            words.append(option.opts[0])
        else:
            for item in value if isinstance(value, list | tuple) else [value]:
                words += [option.opts[0], text(name, item)]
    # Paths in the spec are relative to the folder of the command.
    moved = [
        ("--set", f"{key}={json.dumps(shipment.name(path))}") for key, path in relative_files(sweep)
    ]
    arguments = [*context.params["arguments"], *(word for pair in moved for word in pair)]
    words += ["--", *arguments] if arguments else []
    return f"cd {shlex.quote(str(shipment.root))} && {shlex.join(words)}"


def _parsed(spec: str, arguments: list[str]) -> dict[str, Any]:
    """Parse arguments with the parser of `run`, so that mistakes show before anything is sent."""
    program = typer.Typer(add_completion=False)
    program.command("run")(run)
    command = typer.main.get_command(program)
    return command.make_context("fractal-ray run", [spec, *arguments]).params


def _what(request: "JobRequest") -> list[str]:
    from fractal_ray.engine.jobs.request import passed_names

    return [f"command: {request.entrypoint}", f"environment passed: {passed_names(request)}"]


def _say(lines: Any) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)
