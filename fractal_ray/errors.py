"""The one exception that users see as a message rather than a traceback."""

import difflib
from collections.abc import Iterable


class SweepError(ValueError):
    """A mistake in what was asked; the message says what was given, what is allowed, what helps."""


def nearest(key: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed key, or an empty string."""
    close = difflib.get_close_matches(key, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
