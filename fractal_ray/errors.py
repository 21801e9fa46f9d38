"""Errors that users see as a message rather than a traceback."""

from collections.abc import Iterable
from functools import partial

from nanochat import errors


class SweepError(ValueError):
    """Mistake of the caller: the message names the value, what is allowed and what helps.

    Examples
    --------
    >>> import fractal_ray
    >>> try:
    ...     fractal_ray.load("results/no-such-sweep")
    ... except fractal_ray.SweepError as error:
    ...     print(str(error).partition(":")[0])
    there is nothing at results/no-such-sweep
    """


class StorageError(SweepError, OSError):
    """Failure of the storage of a dataset; callers that wait for it to return catch OSError."""


class SweepStoppedError(RuntimeError):
    """End of a sweep that cannot continue: the message holds the whole traceback of the cause.

    The runs that finished before are in the dataset.

    Examples
    --------
    >>> import fractal_ray
    >>> from fractal_ray.spec.yaml_file import load_spec
    >>> class Unreadable:
    ...     recipe = {}
    ...     def prepare(self):
    ...         return fractal_ray.Prepared("unreadable-1", None)
    ...     def open(self, shared, device):
    ...         return self
    ...     device = "cpu"
    ...     def evaluate(self, points):
    ...         raise TypeError("a bug")
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     spec = load_spec("sweeps/weierstrass.yaml", (f"storage={folder}",))
    ...     try:
    ...         fractal_ray.Sweep(spec, Unreadable()).run(engine="local")
    ...     except fractal_ray.SweepStoppedError as error:
    ...         print(str(error).splitlines()[-1])
    TypeError: a bug
    """


reading = partial(errors.reading, as_error=SweepError)
"""Context manager that turns every error that a user's file can cause into a SweepError."""


def nearest(key: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest allowed key, or an empty string.

    Examples
    --------
    >>> nearest("lr", ["matrix_lr", "learning_rate"])
    "; did you mean 'learning_rate'?"
    """
    close = errors.nearest_name(key, allowed)
    return f"; did you mean {close!r}?" if close else ""


def missing_library(purpose: str, library: str, extra: str) -> SweepError:
    """Return nanochat's error for a library that is not installed, as an error of a sweep."""
    return SweepError(str(errors.missing_library(purpose, library, extra)))
