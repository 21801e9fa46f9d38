"""A W&B server on the loopback device that has one artifact, ``team/proj/run:v7``, also ``latest``.

It answers what `wandb.Api().artifact(...).download(...)` of the real library asks for: the user,
the artifact, its manifest, addresses of files, and the files.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_WHEN = "2026-01-01T00:00:00Z"
_PROJECT = {"id": "UA==", "internalId": "UA==", "name": "proj", "entity": {"name": "team"}}
_COLLECTION = {"__typename": "ArtifactSequence", "name": "run", "project": _PROJECT}


class WandbStandIn:
    """The server, as a context manager.

    Parameters
    ----------
    files : dict of str to bytes
        What is in the artifact.

    Attributes
    ----------
    url : str
        For WANDB_BASE_URL.
    sent : list of str
        Paths of the files that were sent, oldest first.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.sent: list[str] = []
        handler = type("Handler", (_Handler,), {"outer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def manifest(self) -> dict[str, Any]:
        """The file that lists the artifact's contents."""
        contents = {
            name: {
                "digest": base64.b64encode(hashlib.md5(content).digest()).decode(),
                "size": len(content),
                "birthArtifactID": "QQ==",
            }
            for name, content in self.files.items()
        }
        policy = {"storagePolicy": "wandb-storage-policy-v1"}
        layout = {"storagePolicyConfig": {"storageLayout": "V2"}}
        return {"version": 1, **policy, **layout, "contents": contents}

    def answer(self, query: str) -> dict[str, Any]:
        """Data for a GraphQL query."""
        if "artifactCollectionMembership(" in query:
            return {"project": {"artifactCollectionMembership": self._membership()}}
        if "currentManifest" in query:
            link = {"directUrl": f"{self.url}/manifest"}
            return {"artifact": {"currentManifest": {"id": "TQ==", "file": link}}}
        if "artifactMembership(" in query:
            nodes = [
                {"node": {"id": "Rg==", "name": name, "directUrl": f"{self.url}/file/{name}"}}
                for name in self.files
            ]
            files = {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": nodes}
            found = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
            return {"project": {"artifactCollection": found}}
        return {"viewer": {"id": "VQ==", "username": "tester", "entity": "team"}}

    def _membership(self) -> dict[str, Any]:
        artifact = {
            "__typename": "Artifact",
            "id": "QQ==",
            "artifactSequence": _COLLECTION,
            "versionIndex": 7,
            "artifactType": {"name": "model"},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": sum(map(len, self.files.values())),
            "digest": "0",
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": None,
            "fileCount": len(self.files),
            "createdAt": _WHEN,
            "updatedAt": None,
            "aliases": [],
        }
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": "TQ==",
            "versionIndex": 7,
            "createdAt": _WHEN,
            "aliases": [{"__typename": "ArtifactAlias", "id": "TA==", "alias": "latest"}],
            "artifactCollection": _COLLECTION,
            "artifact": artifact,
        }


class _Handler(BaseHTTPRequestHandler):
    outer: WandbStandIn
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        if self.path == "/manifest":
            self._send(200, json.dumps(self.outer.manifest()).encode())
            return
        name = self.path.removeprefix("/file/")
        if name in self.outer.files:
            self.outer.sent.append(name)
        self._send(200 if name in self.outer.files else 404, self.outer.files.get(name, b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = {}
        if self.path == "/graphql":  # other posts are statistics
            data = {"data": self.outer.answer(json.loads(body)["query"])}
        self._send(200, json.dumps(data).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
