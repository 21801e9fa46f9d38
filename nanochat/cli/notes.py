"""Standard streams of a command: any text in any encoding, and warnings as one plain line each."""

import io
import sys
import traceback
import warnings
from typing import Any

from nanochat.cli.escapes import escaped


def show_warnings_plainly() -> None:
    """Print each warning of this process as ``note: ...`` on stderr from now on."""
    warnings.showwarning = _note


def print_any_text() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, instead of raising.

    Half of a surrogate pair, which JSON can hold, has no form in any encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # notebooks and tests have streams of other types
            stream.reconfigure(errors="backslashreplace")


def show_tracebacks_escaped() -> None:
    """Escape control characters in the tracebacks of this process, whose messages may hold some."""
    sys.excepthook = _traceback


def _traceback(kind: type[BaseException], error: BaseException, place: Any) -> None:
    if sys.stderr is not None:
        text = "".join(traceback.format_exception(kind, error, place))
        print(escaped(text), end="", file=sys.stderr)


def _note(message: Warning | str, *_: Any) -> None:
    print(escaped(f"note: {message}"), file=sys.stderr)
