"""Settings with which Ray is started or joined, without a cluster."""

import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import ray_constants, utils, worker
from ray._private.runtime_env import uv_runtime_env_hook

from fractal_ray.engine.cluster import start
from fractal_ray.errors import SweepError

Join = Callable[..., tuple[Any, list[str]]]


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch) -> Join:
    """Return ``join(address)``: open a cluster with Ray replaced.

    It returns the runtime environment that Ray would give the workers, and the lines said.
    """
    environments: list[Any] = []
    lines: list[str] = []

    def init(**arguments: Any) -> SimpleNamespace:
        environments.append(worker._maybe_modify_runtime_env({"working_dir": "."}, False))
        return SimpleNamespace(address_info={"gcs_address": "127.0.0.1:1"})

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(start, "_knock", lambda address: None)
    command = ["uv", "run", "fractal-ray", "run"]
    monkeypatch.setattr(uv_runtime_env_hook, "_get_uv_run_cmdline", lambda: command)
    monkeypatch.setattr(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", True)

    def call(address: str | None) -> tuple[Any, list[str]]:
        with start.cluster(address, say=lines.append) as own:
            assert own is (address in (None, "local"))
        return environments.pop(), lines

    return call


@pytest.mark.parametrize("address", [None, "local"])
def test_a_ray_of_our_own_ignores_uv_run(join: Join, address: str | None) -> None:
    assert join(address) == ({"working_dir": "."}, ["starting workers on Ray at 127.0.0.1:1 ..."])
    assert ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV, "a cluster that is joined later has it"


def test_a_joined_ray_has_the_hook_and_a_line_says_so(join: Join) -> None:
    environment, lines = join("127.0.0.1:6379")
    assert environment["py_executable"].startswith("uv run")
    assert lines == [start._ABOUT_UV]


def test_no_word_of_uv_where_the_hook_is_off(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", False)
    assert join("127.0.0.1:6379") == ({"working_dir": "."}, [])


def test_a_refusal_of_the_hook_names_its_switch(
    join: Join, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(SweepError, match=r"(?s)pyproject\.toml.*RAY_ENABLE_UV_RUN_RUNTIME_ENV=0"):
        join("127.0.0.1:6379")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("address", [None, "127.0.0.1:6379"])
def test_a_signal_during_the_start_is_delivered_after_it(
    join: Join, monkeypatch: pytest.MonkeyPatch, number: int, address: str | None
) -> None:
    steps: list[str] = []

    def init(**arguments: Any) -> SimpleNamespace:
        utils.set_sigterm_handler(lambda number, frame: steps.append("Ray's handler"))
        os.kill(os.getpid(), number)
        steps.append("started")
        return SimpleNamespace(address_info={"gcs_address": ""})

    def stop(number: int, frame: object) -> None:
        steps.append("signal")
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: steps.append("shut down"))
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            join(address)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert steps == ["started", "signal", "shut down"]


def test_a_second_signal_is_not_held_back(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def init(**arguments: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        steps.append("started")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: steps.append("shut down"))
    with pytest.raises(KeyboardInterrupt):
        join(None)
    assert steps == ["shut down"]


def test_a_ray_that_does_not_start_is_one_line(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**arguments: Any) -> None:
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SweepError, match=r"(?s)node timed out during startup.*--engine local"):
        join(None)
