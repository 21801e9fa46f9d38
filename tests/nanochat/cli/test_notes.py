"""Standard streams of the commands: characters that an encoding lacks, and half surrogate pairs."""

import io
import sys

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
