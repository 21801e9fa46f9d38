"""Calls over the network, repeated with back-off after network faults only.

A network fault is recognised by the type of the exception and by the status of the response,
never by words in a message: a loss of 502 is no bad gateway.
"""

import logging
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
    is only the cause of this one.
    """
    return any(_is_fault(link) for link in _chain(error))


def _is_fault(error: BaseException) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in _TRANSIENT
    if (
        type(error).__name__ == "OfflineModeIsEnabled"
    ):  # chosen by the user, though a ConnectionError
        return False
    return isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, *_transport_errors()))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


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
