"""Figures of a sweep, one kind a file (`fractal_ray.figures.catalog`)."""

import contextlib
import os
import sys

_VARIABLE = "MPLBACKEND"


def _import_under_any_backend(backend: str) -> None:
    """Import matplotlib, which raises by itself where the variable names an unknown backend.

    Figures of this package need no backend. One that exists stays chosen for the caller's own
    figures.
    """
    del os.environ[_VARIABLE]
    try:
        import matplotlib
    finally:
        os.environ[_VARIABLE] = backend
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = backend


_backend = os.environ.get(_VARIABLE, "")
# These two need no check, so nothing heavy is imported: "agg" is always there, and a notebook
# names its backend as a module.
_usual = _backend.lower() in ("", "agg") or _backend.startswith("module://")
if not _usual and "matplotlib" not in sys.modules:
    _import_under_any_backend(_backend)
