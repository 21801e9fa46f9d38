"""Model artifacts of Weights & Biases: ``wandb:entity/project/name:version``.

They are kept in ``base_dir()/artifacts/entity/project/name/vN/``. A file there is always
whole: it is fetched into a temporary folder, under a lock where the file system has locks, and then
renamed.
"""

import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nanochat.errors import NanochatError, first_line, quoted
from nanochat.files.atomic import write_atomically
from nanochat.files.base_dir import base_dir
from nanochat.files.file_systems import locked, sync_folder
from nanochat.files.listing import Listing, check_links, check_names, list_whole_folder
from nanochat.files.retry import is_network_fault, with_retries
from nanochat.files.wandb_rules import refused_setting

FORM = "wandb:entity/project/name:version"
# Parts become folder names: none may be "..".
_NAME = re.compile(r"([\w-][\w.-]*)/([\w-][\w.-]*)/([\w-][\w.-]*):([\w-][\w.-]*)", re.ASCII)
_VERSION = re.compile(r"v\d+")
_NO_NETWORK = ("offline", "disabled", "dryrun")


class ArtifactName(NamedTuple):
    """Name of an artifact; the version is ``vN`` or an alias (``latest``), which may move."""

    entity: str
    project: str
    name: str
    version: str

    @property
    def folder(self) -> Path:
        """Return the folder of the versions of the artifact."""
        return base_dir() / "artifacts" / self.entity / self.project / self.name


def split_artifact(source: str) -> ArtifactName:
    """Split a ``wandb:`` source into its parts.

    Raises
    ------
    NanochatError
        For a wrong form. No request is sent.
    """
    match = _NAME.fullmatch(source.removeprefix("wandb:"))
    if not match:
        raise NanochatError(f"{quoted(source)} is not of the form {FORM}")
    return ArtifactName(*match.groups())


def list_artifact(source: str) -> Listing:
    """List the files of an artifact.

    Without a network, or with ``WANDB_MODE`` offline or disabled, these are the cached files.

    Raises
    ------
    NanochatError
        Where W&B refuses, or cannot be asked and nothing was fetched before.
    """
    name = split_artifact(source)
    mode = os.environ.get("WANDB_MODE", "").lower()
    if mode in _NO_NETWORK:
        return _cached(source, f"WANDB_MODE is {mode}: unset it once to fetch what is missing")
    try:
        artifact, paths = _ask(name)
    except Exception as error:
        if is_network_fault(error):
            reason = f"W&B cannot be reached ({first_line(error)})"
            return _cached(
                source, f"{reason}: try again with a network", f"{reason}; the cache is used"
            )
        if refusal := _refusal(source, error):
            raise refusal from error
        raise
    check_names(source, paths)
    if not _VERSION.fullmatch(artifact.version):
        raise NanochatError(
            f"model {quoted(source)}: W&B answers with version"
            f" {artifact.version[:100]!r}, not with vN"
        )
    if artifact.version != name.version:
        alias = name.folder / f"{name.version}.alias"
        write_atomically(alias, lambda file: file.write(artifact.version.encode()))
    folder = name.folder / artifact.version
    return Listing(paths, lambda files: _download(source, artifact, folder, files))


def _ask(name: ArtifactName) -> tuple[Any, list[str]]:
    """Ask W&B for the artifact and its paths."""
    import wandb

    # W&B's client retries by itself until its time-out.
    entity, project, collection, version = name
    artifact = wandb.Api().artifact(f"{entity}/{project}/{collection}:{version}")
    return artifact, sorted(artifact.manifest.entries)


def _download(source: str, artifact: Any, folder: Path, files: Sequence[str]) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_links(source, folder, files)
    lock = folder.with_name(f".{folder.name}.lock")
    with locked(lock, "two processes may fetch one file twice") as alone:
        # An incomplete folder was made elsewhere or interrupted: none of its files are trusted.
        if not all(_is_whole(folder / file, artifact.manifest.entries[file]) for file in files):
            # Without a lock another process may build at the same time, so the name is our own.
            own = "" if alone else f".{uuid.uuid4().hex}"
            building = folder.with_name(f".{folder.name}{own}.tmp")
            shutil.rmtree(building, ignore_errors=True)  # left by a killed process
            try:
                _fetch(artifact, building, files)
                check_links(source, building, files)
            except BaseException as error:
                if not alone:  # nobody would take this folder over
                    shutil.rmtree(building, ignore_errors=True)
                if isinstance(error, Exception) and (refusal := _refusal(source, error)):
                    raise refusal from error
                raise
            for file in files:  # the weights come last: if they exist, all files do
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (building / file).replace(folder / file)
            sync_folder(folder)
            shutil.rmtree(building)
    return folder


def _fetch(artifact: Any, folder: Path, files: Sequence[str]) -> None:
    for file in files:
        # One file at a time, directly into the folder: W&B's cache would keep a second copy.
        with_retries(
            lambda file=file: artifact.download(root=str(folder), path_prefix=file, skip_cache=True)
        )
        if not _is_whole(folder / file, artifact.manifest.entries[file]):
            raise NanochatError(f"{file} came incomplete; the same command fetches it again")


def _is_whole(path: Path, entry: Any) -> bool:
    return path.is_file() and entry.size in (None, path.stat().st_size)


def _cached(source: str, hint: str, warning: str = "") -> Listing:
    """List the files of an artifact in the cache, which may be none."""
    name = split_artifact(source)
    version = name.version
    if not _VERSION.fullmatch(version):
        alias = name.folder / f"{version}.alias"
        if not alias.is_file():
            versions = sorted(path.name for path in name.folder.glob("v*") if path.is_dir())
            have = ", ".join(versions) or "none"
            raise NanochatError(
                f"model {quoted(source)}: which version is meant was never asked;"
                f" fetched: {have}; {hint}"
            )
        version = alias.read_text()
        if not _VERSION.fullmatch(version):
            raise NanochatError(
                f"model {quoted(source)}: {alias} is damaged: it names {version[:100]!r}, not vN;"
                f" delete it, {hint}"
            )
        warning = warning or f"{name.version} was {version} when W&B was last asked; it is used"
    folder = name.folder / version
    listing = list_whole_folder(folder)

    def fetch(files: Sequence[str]) -> Path:
        check_links(source, folder, files)
        return folder

    return Listing(listing.paths, fetch, listing.changed, warning, hint)


def _refusal(source: str, error: Exception) -> NanochatError | None:
    """Return a one-line error for an answer of W&B; None for an error of another cause."""
    from wandb.errors import AuthenticationError, Error, UsageError

    if isinstance(error, NanochatError):
        reason = str(error)
    elif is_network_fault(error):
        reason = f"not fetched ({first_line(error)}); try again with a network"
    elif refused := refused_setting(error, os.environ):
        reason = refused
    elif isinstance(error, AuthenticationError | UsageError):
        reason = (
            f"W&B knows no user here: `wandb login`, or set WANDB_API_KEY ({first_line(error)})"
        )
    elif isinstance(error, Error | ValueError):
        reason = f"W&B refuses it ({first_line(error)})"
    else:
        return None
    return NanochatError(f"model {quoted(source)}: {reason}")
