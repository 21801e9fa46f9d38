"""What is tried again: faults of the network, told by their kind and status, never by words."""

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import stamina

from nanochat.files.retry import (
    ATTEMPTS,
    FIRST_WAIT,
    command_online,
    is_network_fault,
    offline_note,
    offline_variables,
    with_retries,
)


class Server:
    """Answers with one status after the other, the last one for good."""

    def __init__(self, *statuses: Any) -> None:
        self.left = list(statuses)
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                status = outer.left.pop(0) if len(outer.left) > 1 else outer.left[0]
                if status == 0:  # half of an answer
                    self.send_response(200)
                    self.send_header("Content-Length", "100")
                    self.end_headers()
                    self.wfile.write(b"cut")
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: Any, *args: Any) -> None:
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


def with_httpx(url: str) -> Any:
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.get(url).raise_for_status().status_code


def with_requests(url: str) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, timeout=10)
        answer.raise_for_status()
        return answer.status_code


CLIENTS = pytest.mark.parametrize("get", [with_httpx, with_requests])


@pytest.fixture(autouse=True)
def without_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


@pytest.fixture
def nobody() -> Iterator[Any]:
    """Address that nobody listens at."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, so that no one else gets it; not listening
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@CLIENTS
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(get: Any, status: int) -> None:
    with Server(status, status, 200) as server:
        assert with_retries(lambda: get(server.url)) == 200
        assert server.asked == 3


@CLIENTS
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_final(get: Any, status: int) -> None:
    with Server(status) as server:
        with pytest.raises(Exception, match=str(status)):
            with_retries(lambda: get(server.url))
        assert server.asked == 1


@CLIENTS
def test_an_answer_that_is_cut_is_asked_for_again(get: Any) -> None:
    with Server(0, 200) as server:
        assert with_retries(lambda: get(server.url)) == 200
        assert server.asked == 2


@CLIENTS
def test_a_refused_connection_is_tried_as_often_as_allowed(get: Any, nobody: Any) -> None:
    calls = []

    def call() -> Any:
        calls.append(1)
        return get(nobody)

    with pytest.raises((httpx.ConnectError, requests.ConnectionError)):
        with_retries(call)
    assert len(calls) == ATTEMPTS


@pytest.mark.parametrize(
    "error",
    [
        ValueError("503 Service Unavailable"),
        ValueError("loss 502.0: ConnectionError, Read timed out"),
        RuntimeError("CUDA out of memory. Tried to allocate 504 MiB"),
        FileNotFoundError("ConnectionPool"),
        MemoryError("429"),
    ],
)
def test_words_and_numbers_in_a_message_are_no_fault(error: Any) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        with_retries(call)
    assert caught.value is error
    assert len(calls) == 1


def test_a_fault_is_found_behind_another_error() -> None:
    def wrapped(*, hide: Any) -> Any:
        try:
            try:
                raise ConnectionResetError("gone")
            except ConnectionError as error:
                raise LookupError("no file") from (None if hide else error)
        except LookupError as error:
            return error

    assert is_network_fault(wrapped(hide=False))
    assert not is_network_fault(wrapped(hide=True))  # its author says that it has no cause
    assert is_network_fault(TimeoutError())
    assert is_network_fault(socket.gaierror(-3, "Temporary failure in name resolution"))
    assert not is_network_fault(PermissionError("disk"))
    circle = LookupError()
    circle.__cause__ = circle
    assert not is_network_fault(circle)


def test_offline_mode_is_a_wish() -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    assert issubclass(OfflineModeIsEnabled, ConnectionError)
    assert not is_network_fault(OfflineModeIsEnabled())


def test_offline_mode_behind_another_error_is_not_tried_again() -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    calls = []

    def call(*, hide: Any) -> None:
        calls.append(1)
        try:
            raise OfflineModeIsEnabled("offline")
        except OfflineModeIsEnabled as error:
            # Both forms are those of the datasets library.
            raise ConnectionError("Couldn't reach it") from (None if hide else error)

    for hide in (False, True):
        with pytest.raises(ConnectionError, match="Couldn't reach it"):
            with_retries(lambda hide=hide: call(hide=hide))
    assert len(calls) == 2


def test_the_variables_of_offline_mode_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert (offline_variables(), offline_note()) == ([], "HF_HUB_OFFLINE is set")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert offline_note() == "HF_DATASETS_OFFLINE is set"
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    assert offline_note() == "HF_HUB_OFFLINE and HF_DATASETS_OFFLINE are set"
    assert command_online("hf download a/b") == (
        "`HF_HUB_OFFLINE=0 HF_DATASETS_OFFLINE=0 hf download a/b`"
    )


def test_waits_double(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    with stamina.set_testing(False), Server(503, 503, 503, 200) as server:
        monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
        assert with_retries(lambda: with_httpx(server.url)) == 200
    assert len(waits) == ATTEMPTS - 1
    for turn, wait in enumerate(waits):  # and up to a second more, so that not all come at once
        assert 0 <= wait - FIRST_WAIT * 2**turn <= 1
