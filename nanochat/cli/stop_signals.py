"""SIGTERM and SIGINT end a command as Ctrl-C does, from its start to its end."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
"""Exit code of a command that was stopped."""
_received: list[int] = []


@contextmanager
def stop_signals() -> Iterator[None]:
    """Let SIGTERM (a stopped Ray job, a batch system) and SIGINT raise KeyboardInterrupt.

    A library that is being loaded may replace the exception by one of its own, which ends the
    command in the same way: with exit code `INTERRUPTED`, and without a traceback.
    """
    with _handlers():
        try:
            yield
        except Exception:
            if _received:
                sys.exit(INTERRUPTED)
            raise
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        finally:
            _received.clear()
            _forget_interrupted_text()


def _forget_interrupted_text() -> None:
    """Let Python end with the exit code of the command, and not by SIGINT.

    Python notes a KeyboardInterrupt that leaves a text given to `exec` or `eval`, such as the
    methods of a dataclass, and at its end kills itself by SIGINT, even if the exception was caught.
    The next text without one clears the note.
    """
    exec("")


def raise_if_stopped() -> None:
    """Raise the KeyboardInterrupt of an earlier signal that a library has caught."""
    if _received:
        raise KeyboardInterrupt


@contextmanager
def _handlers() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return

    def stop(number: int, frame: Any) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    numbers = []
    # A process that a script starts in the background ignores SIGINT, and so do its children, a
    # Ray head and its jobs among them. `ray job stop` may send SIGINT.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN or "RAY_JOB_STOP_SIGNAL" in os.environ:
        numbers.append(signal.SIGINT)
    numbers.append(signal.SIGTERM)  # the last one: once it is handled, both are
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            with contextlib.suppress(TypeError):  # None: a handler that was not set by Python
                signal.signal(number, handler)
