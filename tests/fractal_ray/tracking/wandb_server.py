"""A W&B server on the loopback device that lets runs begin and then stops answering."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_PROJECT = {"id": "UA==", "name": "maps", "entity": {"id": "RQ==", "name": "team"}}
_BEGIN = {
    "Viewer": {
        "viewer": {
            "id": "VQ==",
            "entity": "team",
            "username": "user",
            "flags": "{}",
            "teams": {"edges": []},
        }
    },
    "ServerFeaturesQuery": {"serverInfo": {"features": []}},  # a request of wandb 0.30
    "RunResumeStatus": {"model": {**_PROJECT, "bucket": None}},
}


class SilentServer:
    """The server, as a context manager.

    Attributes
    ----------
    url : str
        For WANDB_BASE_URL.
    begun : list of dict
        What was asked of it for each run, by W&B's names (`name`, `groupName`, `jobType`, ...).
    """

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"outer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return data for a GraphQL request; None for all requests after the start of a run."""
        name, asked = request.get("operationName", ""), request.get("variables", {})
        if name != "UpsertBucket":
            return _BEGIN.get(name)
        self.begun.append(asked)
        bucket = {
            "id": "UnVu",
            "name": asked["name"],
            "displayName": asked["displayName"],
            "config": "{}",
            "project": _PROJECT,
            "historyLineCount": 0,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}


class _Handler(BaseHTTPRequestHandler):
    outer: SilentServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = self.outer.answer(json.loads(body)) if self.path == "/graphql" else None
        if data is None:
            self.outer.over.wait()
            return
        content = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
