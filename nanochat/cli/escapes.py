"""Control characters of texts from outside, escaped before they reach a terminal.

An error of a workload, the name of a file or a message of a server may hold sequences that write
the clipboard, move the cursor or hide what was printed before.
"""

import io
import itertools
import re
from typing import Any

# C0 but for line feed, tab and the end of a DOS line; DEL; C1; embeddings and overrides of bidi.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
_STYLE = re.compile("\x1b\\[[0-9;]*m")
_MOVES = "\x1b\\[[0-9]*[AK]|\x1b\\[\\?25[lh]|\r"
_OF_RICH = re.compile(f"{_STYLE.pattern}|{_MOVES}")
_ONLY_MOVES = re.compile(f"(?:{_MOVES}|\n)+")


def escaped(text: str) -> str:
    r"""Escape the control characters of a text but line feed and tab: ESC becomes ``\x1b``."""
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 0x0D:
        return "\\r"
    # The second form is right inside JSON too, whose strings hold no C0.
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def _escaped_except(passing: re.Pattern[str], text: str) -> str:
    """Escape a text except the matches of a pattern."""
    places = [0, *(at for match in passing.finditer(text) for at in match.span()), len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(places)]
    return "".join(part if k % 2 else escaped(part) for k, part in enumerate(parts))


class EscapingStream(io.TextIOWrapper):
    """Text stream that escapes control characters, whoever prints them.

    Consoles of rich, which print colours and live screens, find `rich_proxied_file` and write
    there. Set `bars` for a stream on which libraries draw progress bars and colours of their own.
    """

    bars = False

    def write(self, text: str, /) -> int:
        """Write a text with its control characters escaped."""
        if text.isprintable():
            return super().write(text)
        if self.bars and _ONLY_MOVES.fullmatch(text):
            return super().write(text)
        start = "\r" if self.bars and text.startswith("\r") else ""
        rest = text.removeprefix(start)
        if self.bars and self.isatty():
            super().write(start + _escaped_except(_STYLE, rest))
        else:
            super().write(start + escaped(rest))
        return len(text)

    @property
    def rich_proxied_file(self) -> "RichFile":
        """File for rich, which lets its styles and its moves of the cursor pass."""
        return RichFile(self)


class RichFile:
    """View of an `EscapingStream` for rich."""

    def __init__(self, stream: EscapingStream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; only the sequences of rich itself are not escaped."""
        io.TextIOWrapper.write(self._stream, _escaped_except(_OF_RICH, text))
        return len(text)
