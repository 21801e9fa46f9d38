"""Panics of libraries that are written in Rust: recognised, and turned into errors of one line.

Rust itself prints a panic on standard error before Python hears of it. `panics_as_errors` keeps
these lines from the user, whose message says the same.
"""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator

from nanochat.errors import NanochatError, first_line

_ERRORS = 2  # descriptor of standard error
_HEAD = rb"(?m)(?:(?:\A|(?<=\n))\n)?^thread '[^'\n]*'(?: \(\d+\))? panicked at [^\n]*\n"
_TAIL = rb"\n(?:stack backtrace:\n(?: +[^\n]*\n)*)?(?:note: [^\n]*`RUST_BACKTRACE=[^\n]*\n)?"


def is_panic(error: BaseException) -> bool:
    """Return True for a panic of a library that is written in Rust.

    Each such library raises a class ``PanicException`` of its own. None of them is an `Exception`,
    so that ``except Exception`` lets them through.
    """
    kind = type(error)
    return (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException")


@contextlib.contextmanager
def panics_as_errors(describe: Callable[[str], str]) -> Iterator[None]:
    """Turn a panic of a Rust library into a NanochatError; every other exception passes.

    All that is printed on standard error meanwhile appears at the end, without the panic itself and
    its backtrace.

    Parameters
    ----------
    describe
        Function of the panic's first line that returns the message.
    """
    _held.begin()
    message = None
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        message = str(error)
        raise NanochatError(describe(first_line(error))) from error
    finally:
        _held.end(message)


def without_panic(text: bytes, message: str) -> bytes:
    r"""Return a text of standard error without the lines of panics.

    Parameters
    ----------
    message
        Message of the panic, which may have several lines.

    Examples
    --------
    >>> without_panic(b"a\nthread '<unnamed>' panicked at src/lib.rs:1:2:\nbad\nb\n", "bad")
    b'a\nb\n'
    """
    told = re.escape(message.encode(errors="replace"))
    return re.sub(_HEAD + rb"(?:" + told + rb"|[^\n]*)" + _TAIL, b"", text)


class _HeldErrors:
    """Standard error of this process, held back in a file while one or more threads run Rust."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._messages: list[str] = []
        self._usual: int | None = None
        self._file = self._process = -1

    def begin(self) -> None:
        """Hold standard error back, until as many calls of `end` have followed."""
        with self._lock:
            self._threads += 1
            if self._threads > 1:
                return
            with contextlib.suppress(OSError):  # closed, or no room for the file: nothing is held
                if self._process != os.getpid():  # a forked process would share the place in it
                    with tempfile.TemporaryFile() as file:
                        self._file, self._process = os.dup(file.fileno()), os.getpid()
                self._usual = os.dup(_ERRORS)
                os.dup2(self._file, _ERRORS)

    def end(self, message: str | None) -> None:
        """Print what was held back, without the panic of this message where there is one."""
        with self._lock:
            self._threads -= 1
            if message is not None:
                self._messages.append(message)
            if self._threads or self._usual is None:
                return
            os.dup2(self._usual, _ERRORS)
            os.close(self._usual)
            self._usual = None
            messages, self._messages = self._messages, []
            if not (size := os.lseek(self._file, 0, os.SEEK_END)):
                return
            text = os.pread(self._file, size, 0)
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        for each in messages:
            text = without_panic(text, each)
        with contextlib.suppress(OSError):
            os.write(_ERRORS, text)


_held = _HeldErrors()
