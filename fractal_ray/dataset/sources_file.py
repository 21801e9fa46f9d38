"""The file ``sources.json``: texts that the fingerprint of a dataset covers, to show differences.

Nothing of it is ever run.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any, Final

from fractal_ray.dataset.store import Store
from fractal_ray.errors import reading
from nanochat.errors import quoted, shortened

SOURCES: Final = "sources.json"
"""Name of the file."""
_VERSION = 1
_MOST_LINES = 40
_LONGEST_LINE = 120

Texts = Mapping[str, Mapping[str, str | None]]
"""Digest and text (None where it is not kept) of each source by its name."""


def read_sources(store: Store) -> Texts:
    """Return the sources of a dataset; none without the file.

    Raises
    ------
    SweepError
        If the file is damaged.
    """
    text = store.read_text(SOURCES)
    if text is None:
        return {}
    remedy = "; restore it from a copy, or delete it: it only shows differences"
    with reading(f"{store.location}/{SOURCES}", remedy, also=(KeyError, TypeError)):
        content = json.loads(text)
        if (version := content["schema_version"]) != _VERSION:
            raise ValueError(
                f"schema_version is {quoted(version)}, this fractal-ray reads {_VERSION}"
            )
        return {str(name): _checked(entry) for name, entry in dict(content["sources"]).items()}


def write_sources(store: Store, sources: Texts) -> None:
    """Write the file, whole or not at all, if the dataset has none."""
    if sources and store.read_text(SOURCES) is None:
        content = {"schema_version": _VERSION, "sources": sources}
        store.write_file(SOURCES, f"{json.dumps(content)}\n".encode())


def changes(before: Texts, now: Texts) -> list[str]:
    """Return lines about sources that have changed, with the first lines of their differences."""
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            lines.append(f"{shortened(name)} is {'new' if old is None else 'gone'}")
        elif old["digest"] != new["digest"]:
            lines += [f"{shortened(name)} has changed", *_difference(old["text"], new["text"])]
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else [*lines[:_MOST_LINES], f"... and {more:,} more lines"]


def _difference(old: str | None, new: str | None) -> list[str]:
    if old is None or new is None:
        return []
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    return [f"  {_visible(line)}" for line in list(lines)[2:]]


def _visible(line: str) -> str:
    plain = "".join(each if each.isprintable() else "?" for each in line.expandtabs(4))
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[:_LONGEST_LINE]}..."


def _checked(entry: Any) -> dict[str, str | None]:
    digest, text = entry["digest"], entry["text"]
    if not isinstance(digest, str) or not (text is None or isinstance(text, str)):
        raise ValueError(f"a source is {quoted(entry)}")
    return {"digest": digest, "text": text}
