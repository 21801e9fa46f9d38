"""Start or join a Ray cluster; a Ray that we start is reachable from this machine only."""

import functools
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fractal_ray.errors import SweepError

# Ray's default on Linux is to listen on every interface. Without multi-node support, the state of
# its macOS and Windows builds, every listener is on loopback.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

_QUIET = {
    # Worker processes keep the directory they were started in, so relative paths stay true.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # CSV, JSON and TensorBoard files per trial; the dataset holds everything they would.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The newer output prints a table at the start even with verbose=0.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C raises KeyboardInterrupt here, and the dispatcher writes what it holds.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A point that failed has no loss to report; it is no mistake of the trainable.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}

_ABOUT_UV = (
    "below `uv run`, Ray ships the current folder to the cluster and builds its environment on each"
    " node; RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 switches that off where the nodes have fractal-ray"
)


@contextmanager
def cluster(
    address: str | None,
    num_cpus: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[bool]:
    """Start or join a Ray cluster for the duration of a sweep.

    Parameters
    ----------
    address
        An existing cluster, joined as it is; None takes ``RAY_ADDRESS``, and without that, or for
        ``local``, a cluster of our own is started on this machine and shut down at the end. A
        session that is initialised already (a notebook, a test) is used and left running.
    num_cpus
        Logical CPUs of a cluster of our own; None for the machine's.
    say
        Called with one line if Ray ships the folder of `uv run` to a cluster that is joined.

    Yields
    ------
    bool
        True for a cluster of our own, which no other node can join.

    Raises
    ------
    SweepError
        When the address cannot be joined.
    """
    address = address_to_join(address)
    with _environment(_QUIET if address else {**_QUIET, **_LOOPBACK_ONLY, **_token()}):
        import ray

        if (address or ray.is_initialized()) and _uv_run():
            say(_ABOUT_UV)
        if ray.is_initialized():
            yield False
            return
        with _own_sigterm():
            if address:
                _join(address)
            else:
                _start(num_cpus)
        try:
            yield address is None
        finally:
            ray.shutdown()


def address_to_join(address: str | None) -> str | None:
    """Return the address of the cluster to join; None to start one on this machine.

    Ray itself takes ``local`` for the start of a cluster, which others may join.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    return None if address == "local" else address


def _join(address: str) -> None:
    import ray
    from ray.exceptions import RayError

    if address.startswith("ray://"):
        raise SweepError(
            f"{address}: Ray Client is not supported; run on the cluster (`ray job submit`), or"
            " give the address of its GCS, host:6379"
        )
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split())
        if _uv_run() and not isinstance(error, OSError):
            reason = f"{reason}\nThe cause may be this: {_ABOUT_UV}"
        raise SweepError(
            f"no Ray cluster to join at {address!r}: {reason}\n"
            "Start one with `ray start --head`, give another --address, or leave --address and"
            " RAY_ADDRESS out to start one on this machine."
        ) from error


def _knock(address: str) -> None:
    """Fail at once if nothing listens there; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _start(num_cpus: int | None) -> None:
    import ray
    from ray._private import ray_constants
    from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

    # Both were read from the environment when ray was imported, which may be before our time.
    ray_constants.ENABLE_RAY_CLUSTER = False
    Config.initialize("")
    with _uv_hook_off():
        ray.init(
            address="local",  # else Ray joins one that somebody has started on this machine
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def _uv_run() -> bool:
    """Return True if Ray gives workers the environment of a `uv run` above this process."""
    from ray._private import ray_constants
    from ray._private.runtime_env.uv_runtime_env_hook import _get_uv_run_cmdline

    return ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV and bool(_get_uv_run_cmdline())


@contextmanager
def _uv_hook_off() -> Iterator[None]:
    """Let workers run with the Python of this process, also below `uv run`.

    Ray would ship the current folder and build an environment for each worker.
    """
    from ray._private import ray_constants

    before = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    try:
        yield
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before


@functools.cache
def _token() -> Mapping[str, str]:
    """Return settings for token authentication with a secret that only the environment holds.

    Ray reads the secret once per process, so a second cluster of this process has the same one.
    """
    secret = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secret}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restore the caller's handler of SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
