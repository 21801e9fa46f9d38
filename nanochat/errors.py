"""Exception for bad input, and suggestions for misspelt names."""

import difflib
from collections.abc import Iterable


class NanochatError(ValueError):
    """Error for input that cannot be used; its message is one line for the user."""


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> NanochatError:
    """Return the error for a name that does not exist.

    Parameters
    ----------
    kind
        What the name should have named, e.g. ``"setting"``.
    given
        The name as given.
    allowed
        Every name that would have been accepted.

    Returns
    -------
    NanochatError
        Error to raise; its message holds the nearest allowed name, if any, and the list.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return NanochatError(f"unknown {kind} {given!r}{hint} (allowed: {', '.join(names)})")


def missing_library(purpose: str, library: str, extra: str) -> NanochatError:
    """Return the error for a library that a plain installation does not have.

    Parameters
    ----------
    purpose
        Subject of the sentence "... needs LIBRARY", e.g. the command.
    extra
        Extra of pyproject.toml that installs the library.

    Examples
    --------
    >>> print(missing_library("nanochat export", "tokenizers", "export"))
    nanochat export needs tokenizers, which is not installed; pip install 'fractal-ray[export]'
    """
    return NanochatError(
        f"{purpose} needs {library}, which is not installed; pip install 'fractal-ray[{extra}]'"
    )
