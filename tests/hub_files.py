"""Files of a repository as a hub tells of them: their names, lists, and what a commit changes.

A repository is a dict of path to bytes.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

_LARGE = (".pt", ".pkl", ".safetensors", ".parquet")  # kept apart from git, as on the hub

Files = dict[str, bytes]


def sha(files: Files) -> str:
    """Name of a commit: a hash of the content alone, so that what changes has another."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(f"{name}\n{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()


def is_large(name: str, content: bytes) -> bool:
    """Whether the content lies in large file storage."""
    return name.endswith(_LARGE) and len(content) > 0


def object_id(name: str, content: bytes) -> str:
    """SHA-256 of a large file, git's SHA-1 of another."""
    if is_large(name, content):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def upload_mode(name: str, present: bytes | None) -> dict[str, Any]:
    """How a file is to be sent, and the name of what is there already."""
    told = {"path": name, "uploadMode": "lfs" if name.endswith(_LARGE) else "regular"}
    found = {} if present is None else {"oid": object_id(name, present)}
    return {**told, **found, "shouldIgnore": False}


def tree(files: Files, inside: str, deep: bool) -> list[dict[str, Any]]:
    """Entries of a folder, or of all folders below it too."""
    prefix = f"{inside.rstrip('/')}/" if inside else ""
    below = {name: content for name, content in files.items() if name.startswith(prefix)}
    parents = {str(p) for name in below for p in Path(name).parents if len(str(p)) > len(prefix)}
    folders = [
        {"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in parents - {"."}
    ]
    entries = [_entry(name, content) for name, content in below.items()]
    every = sorted([*entries, *folders], key=lambda entry: entry["path"])
    return [entry for entry in every if deep or "/" not in entry["path"][len(prefix) :]]


def _entry(name: str, content: bytes) -> dict[str, Any]:
    tag, size = object_id(name, content), len(content)
    told: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": tag[:40]}
    if is_large(name, content):
        told["lfs"] = {"oid": tag, "size": size, "pointerSize": 134}
    return told


def committed(files: Files, lines: list[dict[str, Any]], large: Files) -> Files:
    """Files after the lines of a commit; KeyError for a large file that was not sent before."""
    after = dict(files)
    for line in lines:
        kind, value = line["key"], line["value"]
        path = value["path"]
        if kind == "file":
            after[path] = base64.b64decode(value["content"])
        elif kind == "lfsFile":
            after[path] = large[value["oid"]]
        elif kind == "deletedFile":
            after.pop(path)
        else:  # deletedFolder
            inside = path.rstrip("/") + "/"
            after = {name: after[name] for name in after if not name.startswith(inside)}
    return after
