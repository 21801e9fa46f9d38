"""Standard streams that survive their reader and their disk.

After ``| head``, or on a full disk, only the printing ends. A command whose standard output was
lost on a full disk has exit code 1 (`fail_if_output_is_lost`).
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from nanochat.cli.escapes import EscapingStream

_OUTPUT = 1
_lost: set[int] = set()
"""Descriptors whose text was lost, though it had a reader."""


class _PipeFile(io.FileIO):
    """Open file descriptor that leads to nowhere once its reader is gone or its disk is full."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # child processes and libraries write there, too
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                _lost.add(self.fileno())
                _report(self.fileno(), error)
            return super().write(data)


def _report(descriptor: int, error: OSError) -> None:
    """Say on standard error, if that is possible, that a stream cannot be written."""
    name = {_OUTPUT: "standard output", 2: "standard error"}.get(descriptor, "output")
    line = f"note: {name} cannot be written ({error.strerror}); nothing more is printed there\n"
    with contextlib.suppress(OSError):  # both streams may be on the full disk
        os.write(2, line.encode(errors="replace"))


def survive_closed_pipes() -> None:
    """Let this process go on where the reader of its output has gone, or the disk is full.

    The new streams escape control characters (`nanochat.cli.escapes`).
    A stream that is no file of its own, as in tests and notebooks, is not changed.
    """
    sys.stdout = _surviving(sys.stdout)
    sys.stderr = _surviving(sys.stderr)
    if isinstance(sys.stderr, EscapingStream):
        sys.stderr.bars = True


@contextlib.contextmanager
def fail_if_output_is_lost() -> Iterator[None]:
    """Give a command that ends well exit code 1 if its standard output was lost on a full disk.

    A reader that has gone (`| head`) has read all that it wanted.
    """
    try:
        yield
    except SystemExit as ended:
        if ended.code in (0, None):
            _check_output()
        raise
    _check_output()


def _check_output() -> None:
    with contextlib.suppress(OSError, ValueError):  # ValueError: a stream that was closed
        sys.stdout.flush()
    if _OUTPUT in _lost:
        sys.exit(1)


def _surviving(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # no buffer of its own under PYTHONUNBUFFERED
    if type(raw) is not io.FileIO:
        return stream
    stream.flush()
    file = _PipeFile(raw.fileno(), "w", closefd=False)
    return EscapingStream(
        file if buffer is raw else io.BufferedWriter(file),  # pyright: ignore[reportArgumentType]
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
