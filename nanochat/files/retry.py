"""Calls over the network, repeated with back-off after network faults only.

A network fault is recognised by the type of the exception and by the status of the response,
never by words in a message: a loss of 502 is no bad gateway.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nanochat.errors import first_line

T = TypeVar("T")
_log = logging.getLogger(__name__)

ATTEMPTS = 4  # the first one and three more
FIRST_WAIT = 2.0  # seconds; doubles each time
# Seconds after which no attempt is started: without a network some clients retry for half a minute
# themselves.
PATIENCE = 30.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_ON = frozenset({"1", "ON", "YES", "TRUE"})  # values that the hub libraries take for true


def with_retries(call: Callable[[], T]) -> T:
    """Return the result of a call; after network faults it is tried up to `ATTEMPTS` times.

    Each new attempt is announced in the log. Any other exception, and the last of these, comes out
    as it was raised.
    """
    import stamina
    from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

    if _announce not in get_on_retry_hooks():  # in place of stamina's own wording
        set_on_retry_hooks([_announce])
    attempts = stamina.retry_context(
        on=is_network_fault,
        attempts=ATTEMPTS,
        timeout=PATIENCE,
        wait_initial=FIRST_WAIT,
        wait_max=PATIENCE,
    )
    for attempt in attempts:
        with attempt:
            return call()
    raise AssertionError("stamina ends with a result or an exception")


def _announce(details: Any) -> None:
    reason = first_line(details.caused_by)
    _log.warning("network: %s; trying again in %.0f s", reason, details.wait_for)


def is_network_fault(error: Exception) -> bool:
    """Return True for an error after which the call may succeed a moment later.

    True for connections that were refused, cut or timed out, for names that did not resolve, and
    for responses with a status of 408, 425, 429, 500, 502, 503 or 504; also where such an error
    is only the cause of this one. False in offline mode (`is_offline`): no call can succeed there.
    """
    return not is_offline(error) and any(_is_fault(link) for link in _chain(error))


def is_offline(error: BaseException) -> bool:
    """Return True for an error of a hub library in offline mode, or an error that it led to.

    The ``datasets`` library hides the cause, or replaces it by a plain ConnectionError.
    """
    plain = (ConnectionError,) if _libraries_are_offline() else ()
    return any(
        type(link).__name__ == "OfflineModeIsEnabled" or type(link) in plain
        for link in _chain(error, hidden=True)
    )


def offline_variables() -> list[str]:
    """Return the environment variables that switch the hub libraries offline; none: empty."""
    return [name for name in _OFFLINE if os.environ.get(name, "").upper() in _ON]


def offline_note() -> str:
    """Return the clause that names the variables of offline mode, ``HF_HUB_OFFLINE is set``."""
    names = _named_variables()
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} set"


def command_online(command: str) -> str:
    """Return a command with offline mode switched off for it, in backquotes.

    Examples
    --------
    >>> command_online("hf download some/model")
    '`HF_HUB_OFFLINE=0 hf download some/model`'
    """
    return f"`{' '.join(f'{name}=0' for name in _named_variables())} {command}`"


def _libraries_are_offline() -> bool:
    """Return True if one of the hub libraries that this process has loaded is in offline mode."""
    modules = ("huggingface_hub.constants", "datasets.config")
    return any(getattr(sys.modules.get(name), "HF_HUB_OFFLINE", False) for name in modules)


def _named_variables() -> list[str]:
    """Return the variables to name to a user; a process may be offline without any of them."""
    return offline_variables() or list(_OFFLINE[:1])


def _is_fault(error: BaseException) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in _TRANSIENT
    return isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, *_transport_errors()))


def _chain(error: BaseException | None, hidden: bool = False) -> Iterator[BaseException]:
    """Yield an error and its causes, those behind ``from None`` only if `hidden` is True."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        suppressed = error.__suppress_context__ and not hidden
        error = error.__cause__ or (None if suppressed else error.__context__)


def _transport_errors() -> tuple[type[BaseException], ...]:
    """Return the errors below HTTP of the clients that this process has loaded."""
    wanted = {
        "httpx": ("TransportError",),
        "httpx2": ("TransportError",),
        "requests.exceptions": ("ConnectionError", "Timeout", "ChunkedEncodingError"),
        "aiohttp": ("ClientConnectionError",),
    }
    return tuple(
        getattr(sys.modules[module], name)
        for module, names in wanted.items()
        if module in sys.modules
        for name in names
    )
