"""Names of repositories on the Hugging Face hub: `hf:owner/name`, `hf:owner/name@revision`."""

import re

from nanochat.errors import NanochatError

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def split_revision(source: str) -> tuple[str, str | None]:
    """Repository and revision (None: the newest) of an ``hf:`` source.

    Raises
    ------
    NanochatError
        Where the form is wrong. Nothing is looked up.
    """
    repository, at, revision = source.removeprefix("hf:").partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not revision):
        raise NanochatError(
            f"{source!r} is not of the form hf:owner/name or hf:owner/name@revision"
        )
    return repository, revision or None
