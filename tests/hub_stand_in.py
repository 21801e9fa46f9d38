"""A Hugging Face hub on the loopback device, for tests of what is fetched from and sent to one.

It answers what huggingface_hub and datasets ask for: information and file lists at a revision,
files (HEAD, GET, ranges), who a token belongs to, new repositories, and commits with small files
in the body and large ones sent before. Not covered: spaces, pull requests, pages of long lists,
chunked storage (Xet), names without an owner.

    @pytest.fixture
    def hub(monkeypatch, tmp_path):
        with HubStandIn() as stand_in:
            use(monkeypatch, stand_in, tmp_path)
            yield stand_in

    hub.repos["models/owner/name"] = {"config.json": b"{}"}
"""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.hub_answers import TOKEN, Hub, Reply

CHUNK = 16 * 1024  # bytes between two waits of a slow answer


class HubStandIn(Hub):
    """The hub on a port of its own, as a context manager.

    Attributes
    ----------
    url : str
        ``http://127.0.0.1:PORT``.
    repos, revisions, private, tokens, requests, commits, fail
        See `tests.hub_answers.Hub`.
    slow : dict of str to float
        A piece of ``"METHOD /path"``, and the seconds after each `CHUNK` bytes of the answer: time
        to kill a client in the middle of a file (wait until the GET is among the requests: the
        client keeps the first megabytes in memory). It gives up on a pause of 10 s or more.
    """

    def __init__(self) -> None:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        super().__init__(f"http://127.0.0.1:{self._server.server_address[1]}")
        self.slow: dict[str, float] = {}
        self.closed = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()

    def pause(self, request: str) -> float:
        """Seconds after each chunk of the answer to ``"METHOD /path"``."""
        return max((wait for piece, wait in self.slow.items() if piece in request), default=0.0)


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # head and body are two packets

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        body = self.rfile.read(length)
        reply = self.hub.answer(self.command, self.path, token, body)
        if reply is None or self.hub.closed.is_set():
            self.close_connection = True
        else:
            self._send(reply)

    do_HEAD = do_POST = do_PUT = do_GET

    def _send(self, reply: Reply) -> None:
        status, body, headers = reply
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and status == 200:
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            status = 206 if first < len(body) else 416
            headers = {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
            body = body[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        pause = self.hub.pause(f"{self.command} {self.path}")
        try:
            for start in range(0, len(body), CHUNK):
                self.wfile.write(body[start : start + CHUNK])
                if pause and self.hub.closed.wait(pause):
                    break
        except OSError:  # the client is gone
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


_LEFT_OUT = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_OIDC_RESOURCE",
    "HUGGING_FACE_HUB_TOKEN",
)
_SWITCHES = {
    "HF_TOKEN": TOKEN,
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


def use(monkeypatch: pytest.MonkeyPatch, stand_in: HubStandIn, tmp_path: Path) -> None:
    """Send this process, and those it starts, to the stand-in until the test ends.

    Both libraries read the environment when they are imported, so here they are imported first
    and their constants changed; child processes read the environment. Caches lie in
    ``tmp_path/huggingface``, the token is `TOKEN` (``monkeypatch.delenv("HF_TOKEN")`` for none),
    no proxy is asked, and nothing is sent but to the stand-in.
    """
    import datasets.config
    import huggingface_hub.hf_api
    from huggingface_hub import constants

    home = tmp_path / "huggingface"
    for name in _LEFT_OUT:
        monkeypatch.delenv(name, raising=False)
    for name in _SWITCHES:
        monkeypatch.setenv(name, _SWITCHES[name])
    monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
    monkeypatch.setenv("HF_HOME", str(home))
    hub = {
        "ENDPOINT": stand_in.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": stand_in.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "AGENT_HARNESSES_PATH": str(home / "agents.json"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_OFFLINE": False,
    }
    data = {
        "HF_ENDPOINT": stand_in.url,
        "HF_CACHE_HOME": str(home),
        "HF_DATASETS_CACHE": home / "datasets",
        "HF_MODULES_CACHE": home / "modules",
        "DOWNLOADED_DATASETS_PATH": home / "datasets" / "downloads",
        "EXTRACTED_DATASETS_PATH": home / "datasets" / "downloads" / "extracted",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_UPDATE_DOWNLOAD_COUNTS": False,
    }
    for module, values in ((constants, hub), (datasets.config, data)):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value, raising=False)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", stand_in.url)
