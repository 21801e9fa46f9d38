"""Where datasets lie, as others may see it: pages, artifacts and runs of W&B are passed on."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_KEPT: Final = ("endpoint_override", "region", "scheme")
"""Of the options that pyarrow takes in a URI: they say where, and who asks is not among them."""


def without_secrets(location: str) -> str:
    """A location without keys: pyarrow takes ``s3://KEY:SECRET@bucket/...`` and ``?secret=...``."""
    if "://" not in location:
        return location
    scheme, host, path, query, _ = urlsplit(location)
    kept = [(key, at) for key, at in parse_qsl(query) if key in _KEPT and "@" not in at]
    return urlunsplit((scheme, host.rpartition("@")[2], path, urlencode(kept, safe=":/"), ""))


def cleaned(plain: Any) -> Any:
    """Plain data, such as a spec, with all locations in it `without_secrets`."""
    if isinstance(plain, dict):
        return {key: cleaned(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [cleaned(value) for value in plain]
    return without_secrets(plain) if isinstance(plain, str) else plain
