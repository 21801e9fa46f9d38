"""The locations of datasets without credentials, for shared pages, artifacts and W&B runs."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_PUBLIC: Final = ("endpoint_override", "region", "scheme")
"""Options of a pyarrow URI that hold no credentials."""


def without_secrets(location: str) -> str:
    """Remove keys from a location: ``s3://KEY:SECRET@bucket/...`` and ``?secret=...``."""
    if "://" not in location:
        return location
    scheme, host, path, query, _ = urlsplit(location)
    options = [(key, at) for key, at in parse_qsl(query) if key in _PUBLIC and "@" not in at]
    return urlunsplit((scheme, host.rpartition("@")[2], path, urlencode(options, safe=":/"), ""))


def cleaned(plain: Any) -> Any:
    """Remove keys from all locations in plain data, such as a spec."""
    if isinstance(plain, dict):
        return {key: cleaned(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [cleaned(value) for value in plain]
    return without_secrets(plain) if isinstance(plain, str) else plain
