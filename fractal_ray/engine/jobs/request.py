"""The request for a job: checks of its spec, its environment and its command."""

import os
import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fractal_ray.dataset.secrets import is_name_of_key, without_secrets
from fractal_ray.dataset.store import inside
from fractal_ray.engine.jobs.package import Shipment
from fractal_ray.errors import SweepError
from fractal_ray.spec.idle import check_new_dataset, refused_lines
from fractal_ray.spec.sweep_spec import SweepSpec
from nanochat.errors import quoted

# Ray's defaults, SIGTERM and a kill after 3 s, are too short for a sweep to close its files.
STOP_SECONDS = 60
_STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}

# Credentials and addresses only: variables that hold a path would name one of this machine.
_ALWAYS = (
    *("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_MODE"),
    *("HF_TOKEN", "HF_ENDPOINT"),
)
_WITH_S3 = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
)

# Libraries and Ray read these at the start of a process, so they belong to the runtime environment.
_AT_START = (
    *("WANDB_", "HF_", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "RAY_"),
    *("NANOCHAT_", "CUDA_", "NCCL_", "NVIDIA_", "PYTORCH_", "TORCH", "TRITON_", "OMP_", "MKL_"),
    *("PYTHON", "PATH", "LD_LIBRARY_PATH", "TMPDIR", "TOKENIZERS_"),
)

# Torch alone takes minutes; Ray gives up after ten.
_INSTALL_SECONDS = 1800
_ID = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"


@dataclass(frozen=True)
class JobRequest:
    """A job before it is sent.

    Attributes
    ----------
    id
        Name of the job.
    entrypoint
        Shell command that the job runs.
    env
        Environment variables of the job's runtime environment, which Ray shows and logs.
    keys
        Environment variables that Ray must not show: values are sealed. Never print them.
    metadata
        Facts that `fractal-ray jobs` shows.
    install
        True to install the shipped project on the nodes first.
    """

    id: str
    entrypoint: str
    env: Mapping[str, str] = field(repr=False)
    keys: Mapping[str, str] = field(repr=False)
    metadata: Mapping[str, str]
    install: bool = False

    def runtime_env(self, package: Path) -> dict[str, Any]:
        """Return Ray's runtime environment for the shipped files in `package`."""
        environment: dict[str, Any] = {"working_dir": str(package), "env_vars": dict(self.env)}
        if self.install:
            # Ray replaces the variable by the folder of the unpacked package on each node.
            environment["pip"] = ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"]
            environment["config"] = {"setup_timeout_seconds": _INSTALL_SECONDS}
        return environment


def job_id(requested: str | None, spec: SweepSpec) -> str:
    """Return the requested id, or one made of the sweep's name and the time."""
    if requested is None:
        return f"{spec.name[:100]}-{time.strftime('%Y%m%d-%H%M%S')}"
    return check_id(requested)


def check_id(job: str) -> str:
    """Return an id that Ray can use in addresses and file names; refuse any other text."""
    if re.fullmatch(_ID, job) is None:
        raise SweepError(
            f"a job's id is letters, digits and _ . - (at most 128); given {quoted(job)}."
            " `fractal-ray jobs list` shows those there are"
        )
    return job


def check_storage(spec: SweepSpec) -> list[str]:
    """Refuse storage that a job would lose; return warnings.

    Raises
    ------
    SweepError
        For a relative folder.
    """
    storage = spec.storage
    if "@" in urlsplit(storage).netloc or "secret" in urlsplit(storage).query.lower():
        raise SweepError(
            "storage holds a key or a password, which a job would show to whoever may see it; give"
            " the location without, and the secret by --env AWS_ACCESS_KEY_ID --env"
            " AWS_SECRET_ACCESS_KEY"
        )
    if "://" in storage and not storage.startswith("file://"):
        return []
    if not storage.startswith(("/", "~", "file://")):
        raise SweepError(
            f"storage: {quoted(storage)} is relative; in a job it would lie in the"
            " unpacked package on the head node and be lost with it. Give a bucket or a whole path:"
            " -- --storage s3://bucket/sweeps, or -- --storage /shared/sweeps"
        )
    warning = (
        f"storage {storage} is a folder of the cluster's head node: right for a folder that"
        " outlives the node (a shared or a mounted disk), lost with the node otherwise"
    )
    return [warning]


def check_settings(spec: SweepSpec) -> list[str]:
    """Refuse a new dataset with settings of `refused_lines`, as `run` does; return warnings.

    A folder lies on the cluster, where the job finds out if its dataset is new.

    Raises
    ------
    SweepError
        With a line for each of these settings.
    """
    if "://" in spec.storage and not spec.storage.startswith("file://"):
        check_new_dataset(spec, inside(spec.storage, spec.name))
        return []
    return [f"{line}. The job refuses to begin such a dataset" for line in refused_lines(spec)]


def relative_files(spec: SweepSpec) -> list[tuple[str, str]]:
    """Return key and path of the files of a spec that a job takes along; others are the nodes'."""
    return [(k, path) for k, path in spec.workload.files() if not path.startswith(("/", "~"))]


def check_paths(spec: SweepSpec, shipment: Shipment) -> list[str]:
    """Refuse relative paths in the spec that are not shipped; absolute ones are the cluster's.

    Returns
    -------
    list of str
        A warning for each folder of which some files are not shipped.

    Raises
    ------
    SweepError
        For the first path that is not shipped.
    """
    relative = relative_files(spec)
    for key, path in relative:
        shipment.refuse_missing(path, f"{key}:")
    keys = {key for key, _ in relative}
    for key, path in spec.workload.needed_files():
        if key in keys:
            shipment.refuse_missing(path, f"{key}:")
    return [
        f"{key}: of {path}, {line}" for key, path in relative if (line := shipment.left_in(path))
    ]


def job_environment(
    options: Iterable[str], storage: str, here: Mapping[str, str] = os.environ
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment variables of a job: its settings, and its keys.

    Ray shows settings. They are variables that have to be set when a process starts, and whose
    names and values hold no key; all others are keys.

    Parameters
    ----------
    options
        ``NAME`` for the value in this environment, or ``NAME=VALUE``. They win over the variables
        that are always passed if they are set here: those of W&B and of the hub, and with storage
        on S3 those of AWS.
    storage
        Storage of the sweep.
    here
        The environment of this process.

    Raises
    ------
    SweepError
        For a name that is malformed or not set here, or a value that Ray would change.
    """
    usual = (*_ALWAYS, *(_WITH_S3 if storage.startswith("s3://") else ()))
    env = {**_STOP, **{name: here[name] for name in usual if here.get(name)}}
    for item in options:
        name, equals, value = item.partition("=")
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
            # The message does not repeat the text, which may be a secret.
            raise SweepError("--env takes NAME or NAME=VALUE; one given has no such name")
        if not equals and name not in here:
            raise SweepError(f"--env {name}: it is not set here; export it, or give {name}=VALUE")
        env[name] = value if equals else here[name]
    settings = {name: value for name, value in env.items() if _is_setting(name, value)}
    for name, value in settings.items():
        if "$" in value:
            raise SweepError(
                f"the value of {name} has a $ in it, which Ray would take for a variable on the"
                " node; set it in the environment of the nodes instead (docs/cluster.md)"
            )
    return settings, {name: value for name, value in env.items() if name not in settings}


def _is_setting(name: str, value: str) -> bool:
    if is_name_of_key(name) or without_secrets(value) != value:
        return False
    return name.startswith(_AT_START)


def passed_names(request: JobRequest) -> str:
    """Return the names of the passed variables, without those that every job has."""
    return ", ".join(sorted({*request.env, *request.keys} - set(_STOP))) or "none"


def job_folder(shipment: Shipment) -> str | None:
    """Return the folder of the package that matches the current one; None if it holds no file."""
    folder = shipment.name(Path.cwd())
    return folder if folder is not None and (folder == "." or folder in shipment) else None


def entrypoint(folder: str, spec: str, arguments: Sequence[str]) -> str:
    """Return the shell command of a job: a run in a folder of the package."""
    path = os.path.relpath(spec)
    # `python -m`, because the shipped code need not be installed there.
    run = shlex.join(["python", "-m", "fractal_ray", "run", path, *arguments])
    return run if folder == "." else f"cd {shlex.quote(folder)} && exec {run}"


def metadata(spec: SweepSpec) -> dict[str, str]:
    """Return the facts that `fractal-ray jobs` shows."""
    return {"sweep": spec.name, "dataset": inside(spec.storage, spec.name)}
