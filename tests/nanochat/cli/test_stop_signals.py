"""Signals that end a command, where libraries replace or catch the KeyboardInterrupt."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nanochat.cli.stop_signals import raise_if_stopped, stop_signals

NUMBERS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_exception_that_replaces_the_interrupt_is_exit_code_130(number: int) -> None:
    before = [signal.getsignal(each) for each in NUMBERS]
    with pytest.raises(SystemExit) as ended, stop_signals():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as interrupt:
            raise ValueError("the library cannot be loaded") from interrupt
    assert ended.value.code == 130
    assert [signal.getsignal(each) for each in NUMBERS] == before


@pytest.mark.parametrize("number", NUMBERS)
def test_an_interrupt_that_is_caught_comes_back_at_the_next_step(number: int) -> None:
    with pytest.raises(SystemExit) as ended, stop_signals():
        raise_if_stopped()
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        raise_if_stopped()
    assert ended.value.code == 130


KILLS = "import os\nos.kill(os.getpid(), {})\n"
IN_A_TEXT = """
from nanochat.cli.stop_signals import stop_signals

with stop_signals():
    exec({text!r})
"""


def run_module(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m name`` in a folder whose modules come first."""
    command = [sys.executable, "-m", name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_interrupted_text_of_code_does_not_end_python_by_the_signal(
    tmp_path: Path, number: int
) -> None:
    text = KILLS.format(int(number))
    (tmp_path / "interrupted.py").write_text(IN_A_TEXT.format(text=text))
    done = run_module("interrupted", tmp_path)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("package", ["fractal_ray", "nanochat"])
def test_a_signal_while_a_command_loads_its_modules(
    tmp_path: Path, package: str, number: int
) -> None:
    (tmp_path / "typer.py").write_text(KILLS.format(int(number)))
    done = run_module(package, tmp_path)
    assert (done.returncode, done.stderr) == (130, "")


def test_errors_without_a_signal_pass() -> None:
    with pytest.raises(ValueError, match="mistake"), stop_signals():
        raise ValueError("mistake")
    with stop_signals():
        raise_if_stopped()


def test_an_ignored_interrupt_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_STOP_SIGNAL", raising=False)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals():
            os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setenv("RAY_JOB_STOP_SIGNAL", "SIGINT")
        with pytest.raises(SystemExit), stop_signals():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_in_another_thread_has_no_handlers() -> None:
    ended = []

    def call() -> None:
        with stop_signals():
            ended.append(True)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert ended
