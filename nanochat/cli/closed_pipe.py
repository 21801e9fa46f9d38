"""Standard streams that survive their reader: after ``| head`` only the printing ends."""

import io
import os
import sys
from typing import Any


class _PipeFile(io.FileIO):
    """Open file descriptor that leads to nowhere as soon as its reader is gone."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # child processes and libraries write there, too
            os.close(nowhere)
            return super().write(data)


def survive_closed_pipes() -> None:
    """Let standard output and errors of this process go on where their reader has gone.

    A stream that is no file of its own, as in tests and notebooks, is not changed.
    """
    sys.stdout = _surviving(sys.stdout)
    sys.stderr = _surviving(sys.stderr)


def _surviving(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # no buffer of its own under PYTHONUNBUFFERED
    if type(raw) is not io.FileIO:
        return stream
    stream.flush()
    file = _PipeFile(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        file if buffer is raw else io.BufferedWriter(file),  # pyright: ignore[reportArgumentType]
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
