"""Repositories on the Hugging Face hub: ``hf:owner/name``, ``hf:owner/name@revision``.

Files lie in the hub library's own cache. Its locks keep processes from fetching a file twice, and
a file gets its name there only when it is whole.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from nanochat.errors import NanochatError, first_line, quoted
from nanochat.files.file_systems import refuses_locks
from nanochat.files.listing import Listing, check_names
from nanochat.files.retry import (
    command_online,
    is_network_fault,
    is_offline,
    offline_note,
    with_retries,
)

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_LOG_IN = "`hf auth login`, or set HF_TOKEN"


def split_revision(source: str) -> tuple[str, str | None]:
    """Split an ``hf:`` source into repository and revision (None: the newest).

    Raises
    ------
    NanochatError
        For a wrong form. No request is sent.
    """
    repository, at, revision = source.removeprefix("hf:").partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not revision):
        raise NanochatError(
            f"{quoted(source)} is not of the form hf:owner/name or hf:owner/name@revision"
        )
    return repository, revision or None


def list_repository(source: str) -> Listing:
    """List the files of a model's repository, at the commit that the revision names now.

    Without a network, and with ``HF_HUB_OFFLINE``, what the cache holds of the revision.

    Raises
    ------
    NanochatError
        If the hub refuses, or cannot be reached and nothing is cached.
    """
    from huggingface_hub import HfApi

    repository, revision = split_revision(source)
    try:
        info = with_retries(lambda: HfApi().model_info(repository, revision=revision))
    except Exception as error:
        if is_offline(error) or is_network_fault(error):
            return _cached(source, error)
        if refusal := _refusal(source, error):
            raise refusal from error
        raise
    commit = str(info.sha)
    paths = sorted(file.rfilename for file in info.siblings or ())
    check_names(source, paths)
    return Listing(paths, lambda files: _download(source, commit, files))


def _download(source: str, commit: str, files: Sequence[str]) -> Path:
    """Download these files and return the folder of the commit."""
    from huggingface_hub import hf_hub_download

    repository, revision = split_revision(source)
    # The first one by the revision: that is what writes down, for the next time without a
    # network, which commit was meant.
    wanted = [(files[0], revision), *((file, commit) for file in files)]
    path = ""
    for file, at in wanted:
        try:
            path = with_retries(
                lambda file=file, at=at: hf_hub_download(repository, file, revision=at)
            )
        except Exception as error:
            if refusal := _refusal(source, error, file):
                raise refusal from error
            raise
    return Path(path).parents[files[-1].count("/")]


def _cached(source: str, error: Exception) -> Listing:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision = split_revision(source)
    if asked := is_offline(error):
        revision_option = f" --revision {revision}" if revision else ""
        command = command_online(f"hf download {repository}{revision_option}")
        hint = f"{offline_note()}: fetch what is missing with {command}"
    else:
        hint = f"the hub cannot be reached ({first_line(error)}): try again with a network"
    try:
        # Only the folder is requested; its files show if it is complete.
        snapshot = Path(
            snapshot_download(
                repository, revision=revision, local_files_only=True, ignore_patterns=["*"]
            )
        )
    except LocalEntryNotFoundError:
        where = constants.HF_HUB_CACHE
        raise NanochatError(
            f"model {quoted(source)}: it is not in the cache {where}; {hint}"
        ) from error
    paths = [
        file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()
    ]
    warning = "" if asked else f"the hub cannot be reached ({first_line(error)}); the cache is used"
    return Listing(sorted(paths), lambda _: snapshot, warning=warning, hint=hint)


def _refusal(source: str, error: Exception, file: str = "") -> NanochatError | None:
    """Return a one-line error for an answer of the hub; None for an error of another cause."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, revision = split_revision(source)
    if isinstance(error, GatedRepoError):
        reason = f"{repository} is gated: accept its terms on the hub, then {_LOG_IN}"
    elif isinstance(error, RepositoryNotFoundError):
        reason = f"the hub has no model {repository}, or it is private: then {_LOG_IN}"
    elif isinstance(error, RevisionNotFoundError):
        reason = f"{repository} has no branch, tag or commit {revision}"
    elif is_network_fault(error):
        reason = f"{file} was not fetched ({first_line(error)}); run it again: whole files are kept"
    elif refuses_locks(error):
        reason = (
            f"the file system of the cache {constants.HF_HUB_CACHE} has no file locks"
            f" ({first_line(error)}); set HF_HOME to a folder on a local disk"
        )
    elif isinstance(error, HfHubHTTPError | HFValidationError):
        reason = f"the hub refuses {file or 'it'} ({first_line(error)})"
    else:
        return None
    return NanochatError(f"model {quoted(source)}: {reason}")
