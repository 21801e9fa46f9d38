"""Start or join a Ray cluster; a Ray that we start is reachable from this machine only."""

import contextlib
import functools
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fractal_ray.engine.cluster.session_folder import note_on_open_folder, session_folder
from fractal_ray.errors import SweepError
from nanochat.errors import quoted

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
        Called with the address of a cluster of our own, or with one line if Ray ships the folder
        of `uv run` to a cluster that is joined.

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
        with _signals_held():  # it takes seconds, and an exception in it may be lost
            import ray
        if (address or ray.is_initialized()) and _uv_run():
            say(_ABOUT_UV)
        if ray.is_initialized():
            yield False
            return
        with contextlib.nullcontext() if address else session_folder() as folder:
            try:
                with _signals_held():
                    if folder is None:
                        _join(str(address))
                        if (joined := _joined_session_folder()) and (
                            warning := note_on_open_folder(joined)
                        ):
                            say(warning)
                    else:
                        say(f"starting workers on Ray at {_start(num_cpus, folder)} ...")
                yield folder is not None
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
            f"no Ray cluster to join at {quoted(address)}: {reason}\n"
            "Start one with `ray start --head`, give another --address, or leave --address and"
            " RAY_ADDRESS out to start one on this machine."
        ) from error


def _joined_session_folder() -> Path | None:
    """Return the folder on this machine of the Ray that this process has joined, if it knows it."""
    from ray._private.worker import _global_node

    return None if _global_node is None else Path(_global_node.get_session_dir_path())


def _knock(address: str) -> None:
    """Fail at once if nothing listens there; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _start(num_cpus: int | None, folder: str) -> str:
    """Start Ray with its files in a folder; return the address for `ray status`."""
    import ray
    from ray._private import ray_constants
    from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

    # Both were read from the environment when ray was imported, which may be before our time.
    ray_constants.ENABLE_RAY_CLUSTER = False
    Config.initialize("")
    try:
        with _uv_hook_off():
            context: Any = ray.init(
                address="local",  # else Ray joins one that somebody has started on this machine
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folder,
            )
    except Exception as error:  # Ray raises a bare Exception for a node that does not come up
        raise SweepError(
            f"Ray did not start on this machine: {' '.join(str(error).split())}\n"
            "The engine of one process needs no Ray: --engine local"
        ) from error
    return context.address_info["gcs_address"]


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
def _signals_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back, and give them to the caller's handlers at the end.

    An exception that a handler raises inside of Ray's start is lost, or leaves half a cluster; and
    Ray replaces the handler of SIGTERM. A second signal of a kind is not held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers: dict[int, Any] = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }

    def hold(number: int, frame: Any) -> None:
        if number in received:
            handlers[number](number, frame)
        received.append(number)

    for number in handlers:
        signal.signal(number, hold)
    try:
        with _sigterm_left_alone() if signal.SIGTERM in handlers else contextlib.nullcontext():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received:
            handlers[number](number, None)


@contextmanager
def _sigterm_left_alone() -> Iterator[None]:
    """Keep Ray from replacing the handler of SIGTERM."""
    from ray._private import utils

    before = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda sigterm_handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = before
