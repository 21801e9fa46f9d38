"""Standard streams of the commands: characters that an encoding lacks, and half surrogate pairs."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.cli.finetune import _show
from nanochat.cli.notes import print_any_text
from nanochat.finetune_run.log import Answers
from nanochat.finetune_run.samples import Sample


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", "שלום … \\ud83d end"),
        ("cp1252", "\\u05e9\\u05dc\\u05d5\\u05dd … \\ud83d end"),
        ("ascii", "\\u05e9\\u05dc\\u05d5\\u05dd \\u2026 \\ud83d end"),
    ],
)
def test_any_text_is_printed(monkeypatch: pytest.MonkeyPatch, encoding: str, printed: str) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    print_any_text()
    for stream in streams.values():
        print("שלום … \ud83d end", end="", file=stream, flush=True)
        assert stream.buffer.getvalue().decode(encoding) == printed  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_the_table_of_samples_is_straight(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "100")
    print_any_text()
    sample = Sample([0], "half \ud83d of a pair", "é" * 400, 1)
    _show(Answers([sample], ["שלום"], ["yes"]))
    stream.flush()
    lines = stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert any("\\ud83d" in line for line in lines)
    if encoding == "utf-8":
        assert len({len(line) for line in lines}) == 1


SCRIPT = """
import logging, sys, warnings
from nanochat.cli.notes import show_warnings_plainly
from nanochat.errors import Note
if "debug" in sys.argv:
    logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
show_warnings_plainly()
for category in (RuntimeWarning, UserWarning, FutureWarning):
    warnings.warn("overflow encountered in cast", category)
warnings.warn("step 400 \x1b[2J is used", Note)
"""
NOTE = "note: step 400 \\x1b[2J is used"


def printed(*options: str, arguments: tuple[str, ...] = ()) -> list[str]:
    program = [sys.executable, *options, "-c", SCRIPT, *arguments]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


ROOT = Path(__file__).parents[3]


def test_users_see_notes_and_no_warnings_of_libraries() -> None:
    assert printed() == [NOTE]


def test_warnings_of_libraries_are_in_the_log_and_shown_on_request() -> None:
    logged = printed(arguments=("debug",))
    assert logged[0] == "py.warnings RuntimeWarning: overflow encountered in cast"
    assert logged[-1] == NOTE and len(logged) == 4
    shown = printed("-W", "default")
    assert any("RuntimeWarning: overflow encountered in cast" in line for line in shown)
    assert shown[-1] == NOTE


def test_every_warning_of_the_packages_has_the_category_of_notes() -> None:
    """The category decides if users see the text; renamed names warn Python programs only."""
    others = []
    for path in [*ROOT.glob("nanochat/**/*.py"), *ROOT.glob("fractal_ray/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "warnings.warn(" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                category = ast.unparse(node.args[1]) if len(node.args) > 1 else "none"
                if category not in ("Note", "DeprecationWarning"):
                    others.append(f"{path}:{node.lineno} {category}")
    assert others == []
