"""Control characters of texts from outside do not reach a terminal; our own colours do."""

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console
from rich.text import Text

from nanochat.cli.escapes import EscapingStream, escaped

ATTACK = "\x1b]52;c;ZWNobyBoaQ==\x07\x1b[2J\r\x1b[1A fake: 0 failures \x9b2J \u202egnp\x7f"
SEEN = r"\x1b]52;c;ZWNobyBoaQ==\x07\x1b[2J\r\x1b[1A fake: 0 failures \u009b2J \u202egnp\u007f"


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def printed(*texts: str, terminal: bool = False, bars: bool = False) -> str:
    buffer = Terminal() if terminal else io.BytesIO()
    stream = EscapingStream(buffer, "utf-8")
    stream.bars = bars
    for text in texts:
        assert stream.write(text) == len(text)
    stream.flush()
    return buffer.getvalue().decode()


def test_control_characters_are_escaped_and_text_is_not() -> None:
    assert escaped(ATTACK) == SEEN
    plain = "line\n\ttab é שלום 🙂 end of a DOS line\r\n"
    assert escaped(plain) == printed(plain) == plain
    assert printed(ATTACK, terminal=True) == SEEN
    assert printed("\x1b[31mred", terminal=True) == r"\x1b[31mred"
    assert printed("", "\x00") == r"\x00"


def test_bars_and_colours_of_libraries_stay_on_standard_error() -> None:
    bar = "\r 50%|█████     |", "\n\n", "\x1b[A\x1b[A"
    assert printed(*bar, bars=True) == "".join(bar)
    coloured = "\x1b[34m\x1b[1mwandb\x1b[0m: "
    assert printed(coloured + ATTACK, terminal=True, bars=True) == coloured + SEEN
    assert printed(coloured, bars=True) == escaped(coloured)
    assert printed("a" + ATTACK, terminal=True, bars=True) == "a" + SEEN


def test_rich_prints_its_colours_and_no_sequences_of_others() -> None:
    buffer = Terminal()
    stream = EscapingStream(buffer, "utf-8")
    console = Console(file=stream, force_terminal=True, color_system="standard", width=200)
    console.print(Text.assemble(("bold", "bold red"), escaped(ATTACK)))
    console.print(Text("\x1b]52;c;ZWNobyBoaQ==\x07"))
    stream.flush()
    out = buffer.getvalue().decode()
    assert "\x1b[1;31mbold\x1b[0m" in out
    assert SEEN in out
    assert out.count("\x1b") == 2
    assert "\x07" not in out


SCRIPT = """
import sys
from nanochat.errors import NanochatError
import {package}.cli.main as module
def attack(*arguments):
    print({attack!r})
    raise (OSError if {uncaught} else NanochatError)({attack!r})
module.app = attack
module.get_command, module._flags = (lambda app: attack), (lambda command: [])
module.main()
"""


@pytest.mark.parametrize("package", ["fractal_ray", "nanochat"])
@pytest.mark.parametrize("uncaught", [True, False])
def test_the_commands_print_no_sequences_from_outside(package: str, uncaught: bool) -> None:
    """A plain print, and the line of an error or the traceback of an uncaught one."""
    code = SCRIPT.format(package=package, attack=ATTACK, uncaught=uncaught)
    outer, inner = pty.openpty()
    out = b""
    with subprocess.Popen([sys.executable, "-c", code], stdout=inner, stderr=inner):
        os.close(inner)
        with contextlib.suppress(OSError):  # how Linux tells the end
            while more := os.read(outer, 65536):
                out += more
    os.close(outer)
    lines = out.decode().replace("\r\n", "\n").splitlines()
    assert lines[0] == SEEN
    assert lines[-1] == f"{'OSError' if uncaught else 'error'}: {SEEN}"
    assert b"\x1b" not in out
