"""Standard streams of a command: any text in any encoding, and notes as one plain line each."""

import functools
import io
import logging
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from nanochat.cli.escapes import escaped
from nanochat.errors import Note

_log = logging.getLogger("py.warnings")  # that of logging.captureWarnings


def show_warnings_plainly() -> None:
    """Print each `Note` of this process as ``note: ...`` on stderr; log other warnings.

    Users can do nothing about the warnings of libraries, which go to the logger ``py.warnings`` at
    level DEBUG. They are printed as Python does where filters were given (``python -W``,
    PYTHONWARNINGS).
    """
    warnings.showwarning = functools.partial(_show, warnings.showwarning)


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


def _show(
    usual: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any
) -> None:
    if issubclass(category, Note):
        print(escaped(f"note: {message}"), file=sys.stderr)
    elif sys.warnoptions:
        usual(message, category, *place)
    else:
        _log.debug("%s: %s", category.__name__, message)
