"""A digest at the end of a file whose readers stop before it, as those of a pickle do."""

import hashlib
import re

from nanochat.errors import NanochatError

_TRAILER = re.compile(rb"\nsha256 ([0-9a-f]{64})\n\Z")


def with_digest(content: bytes) -> bytes:
    """Return the content of a file, followed by a line with its SHA-256."""
    return content + b"\nsha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def without_digest(content: bytes) -> bytes:
    """Return the content of a file without the line of `with_digest`, if it has one.

    Raises
    ------
    NanochatError
        If the line is that of another content; the message does not name the file.
    """
    trailer = _TRAILER.search(content, max(0, len(content) - 128))
    if trailer is None:
        return content
    body = content[: trailer.start()]
    if hashlib.sha256(body).hexdigest().encode() != trailer[1]:
        raise NanochatError(
            "it is damaged, or was changed: its bytes are not those that were saved (sha256 at its"
            " end); take a sound copy"
        )
    return body
