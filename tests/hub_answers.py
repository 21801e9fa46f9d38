"""What a hub answers to a request, without any network: state in, reply out."""

import hashlib
import json
import re
import threading
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from tests.hub_files import Files, committed, is_large, object_id, sha, tree, upload_mode

TOKEN = "hf_stand_in"
USER = "tester"


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        body = json.dumps({"error": message}).encode()
        told = {"X-Error-Code": code, "X-Error-Message": message}
        self.reply = Reply(status, body, {**told, **headers})


class Hub:
    """What a hub holds, which may be read and changed at any time.

    Attributes
    ----------
    url : str
        Its address.
    repos : dict of str to dict of str to bytes
        Files on ``main``, by ``"models/owner/name"`` or ``"datasets/owner/name"``. The commit's
        SHA is a hash of the content: a file that changes makes a new commit.
    revisions : dict of str to dict of str to dict
        Other revisions than ``main``: ``revisions["models/owner/name"]["v1"] = {...}``.
    private : set of str
        Repositories that are not there for anyone without a token.
    tokens : set of str
        Accepted ones; writing needs one.
    requests : list of (str, str)
        Method and path (without the query) of every request, oldest first.
    commits : list of dict
        Every commit made: ``repo``, ``revision``, ``message``, ``paths``, ``sha``.
    fail : list of (str, int, int)
        A piece of ``"METHOD /path"``, a status, and how many requests it is still answered to.
        Status 0 cuts the connection without an answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repos: dict[str, Files] = {}
        self.revisions: dict[str, dict[str, Files]] = {}
        self.private: set[str] = set()
        self.tokens = {TOKEN}
        self.requests: list[tuple[str, str]] = []
        self.commits: list[dict[str, Any]] = []
        self.fail: list[tuple[str, int, int]] = []
        self._large: Files = {}
        self._past: dict[str, dict[str, Files]] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, token: str | None, body: bytes) -> Reply | None:
        """Reply to one request, or None where the connection is to be cut."""
        path, _, query = target.partition("?")
        with self._lock:
            self.requests.append((method, path))
            try:
                status = self._injected(f"{method} {path}")
                if status is not None:
                    return Reply(status, b'{"error": "injected"}') if status else None
                return self._route(method, path, parse_qs(query), token, body)
            except _Refusal as refusal:
                return refusal.reply

    def _injected(self, request: str) -> int | None:
        for index, (piece, status, times) in enumerate(self.fail):
            if times > 0 and piece in request:
                self.fail[index] = (piece, status, times - 1)
                return status
        return None

    def _route(
        self, method: str, path: str, query: dict[str, list[str]], token: str | None, body: bytes
    ) -> Reply:
        known = token in self.tokens
        if token is not None and not known:
            raise _Refusal(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return Reply(200, b'{"errors": [], "warnings": []}')
        if path.startswith("/lfs/"):
            if method == "PUT":
                self._large[hashlib.sha256(body).hexdigest()] = body
            return Reply(200)
        if method == "POST" and path != "/api/repos/create" and "/paths-info/" not in path:
            _need(known)
        if path in ("/api/whoami-v2", "/api/repos/create"):
            _need(known)
            return self._create(json.loads(body)) if method == "POST" else _json(_ACCOUNT)
        if found := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/.+", path):
            return self._batch(json.loads(body)["objects"])
        if found := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            key = (found[1] or "models/") + found[2]
            return self._file(*self._at(key, unquote(found[3]), known), unquote(found[4]))
        if not (found := re.fullmatch(r"/api/((?:models|datasets)/[\w.-]+/[\w.-]+)(/.*)?", path)):
            raise _Refusal(404, "", f"no answer to {path}")
        key, rest = found[1], (found[2] or "/revision/main").split("/", 3)[1:]
        action, revision, inner = rest[0], unquote(rest[1]), unquote((*rest, "")[2])
        return self._about(
            key, self._at(key, revision, known), action, revision, inner, query, body
        )

    def _about(
        self,
        key: str,
        found: tuple[str, Files],
        action: str,
        revision: str,
        inner: str,
        query: dict[str, list[str]],
        body: bytes,
    ) -> Reply:
        commit, files = found
        if action == "revision":
            names = [{"rfilename": name} for name in sorted(files)]
            told = {"id": key.split("/", 1)[1], "sha": commit, "siblings": names, "tags": []}
            return _json({**told, "private": key in self.private})
        if action == "tree":
            entries = tree(files, inner, query.get("recursive", [""])[0].lower() in ("true", "1"))
            if inner and not entries:
                raise _no_entry(commit)
            return _json(entries)
        if action == "paths-info":
            every = {entry["path"]: entry for entry in tree(files, "", True)}
            asked = parse_qs(body.decode())["paths"]
            return _json([every[name] for name in asked if name in every])
        if action == "preupload":
            asked = [each["path"] for each in json.loads(body)["files"]]
            return _json({"files": [upload_mode(name, files.get(name)) for name in asked]})
        if action == "commit":
            return self._commit(key, revision, [json.loads(line) for line in body.splitlines()])
        raise _Refusal(404, "", f"no answer to {action}")

    def _at(self, key: str, revision: str, known: bool) -> tuple[str, Files]:
        """SHA and files of a repository at a revision: main, another one, or a SHA seen before."""
        if key not in self.repos or (key in self.private and not known):
            raise _Refusal(404, "RepoNotFound", "Repository not found")
        past = self._past.setdefault(key, {})
        named = {"main": self.repos[key], **self.revisions.get(key, {})}
        for files in named.values():
            past.setdefault(sha(files), dict(files))
        if revision not in named and revision not in past:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = named[revision] if revision in named else past[revision]
        return sha(files), files

    def _file(self, commit: str, files: Files, name: str) -> Reply:
        if name not in files:
            raise _no_entry(commit)
        content = files[name]
        tag = f'"{object_id(name, content)}"'
        headers = {"ETag": tag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if is_large(name, content):
            headers |= {"X-Linked-Etag": tag, "X-Linked-Size": str(len(content))}
        return Reply(200, content, headers)

    def _create(self, asked: dict[str, Any]) -> Reply:
        kind = asked.get("type") or "model"
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        url = f"{self.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        if f"{kind}s/{name}" in self.repos:
            return Reply(409, json.dumps({"error": "exists", "url": url}).encode())
        self.repos[f"{kind}s/{name}"] = {".gitattributes": b"*.pt filter=lfs"}
        if asked.get("visibility") == "private":
            self.private.add(f"{kind}s/{name}")
        return _json({"url": url, "name": name, "id": name})

    def _batch(self, objects: list[dict[str, Any]]) -> Reply:
        told = []
        for each in objects:
            link = {"href": f"{self.url}/lfs/{each['oid']}"}
            missing = each["oid"] not in self._large
            told.append({**each, "actions": {"upload": link, "verify": link}} if missing else each)
        return _json({"transfer": "basic", "objects": told})

    def _commit(self, key: str, revision: str, lines: list[dict[str, Any]]) -> Reply:
        named = {"main": self.repos[key], **self.revisions.get(key, {})}
        if revision not in named:
            raise _Refusal(400, "", f"{revision} is no branch")
        try:
            files = committed(named[revision], lines[1:], self._large)
        except KeyError as error:
            raise _Refusal(400, "", f"nothing is known of {error}") from error
        if revision == "main":
            self.repos[key] = files
        else:
            self.revisions[key][revision] = files
        done = {"repo": key, "revision": revision, "message": lines[0]["value"]["summary"]}
        paths = [line["value"]["path"] for line in lines[1:]]
        self.commits.append({**done, "paths": paths, "sha": sha(files)})
        url = f"{self.url}/{key.removeprefix('models/')}/commit/{sha(files)}"
        return _json({"success": True, "commitOid": sha(files), "commitUrl": url})


_ACCOUNT = {"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}}


def _no_entry(commit: str) -> _Refusal:
    return _Refusal(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})


def _need(known: bool) -> None:
    if not known:
        raise _Refusal(401, "", "Invalid username or password.")


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
