"""Signals that end a command, where libraries replace or catch the KeyboardInterrupt."""

import contextlib
import os
import signal
import threading

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
