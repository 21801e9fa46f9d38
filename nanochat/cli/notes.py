"""Warnings as one plain line, without their place in the code."""

import sys
import warnings
from typing import Any


def show_warnings_plainly() -> None:
    """Print each warning of this process as ``note: ...`` on stderr from now on."""
    warnings.showwarning = _note


def _note(message: Warning | str, *_: Any) -> None:
    print(f"note: {message}", file=sys.stderr)
