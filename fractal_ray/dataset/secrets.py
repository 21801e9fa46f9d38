"""Locations and texts without credentials, for rows, shared pages, artifacts and W&B runs."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_PUBLIC: Final = ("endpoint_override", "region", "scheme")
"""Options of a pyarrow URI that hold no credentials."""

_HIDDEN: Final = "***"
_LOCATION: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>`\\]+")
_HOLDS_KEY: Final = re.compile(
    r"://[^/?#]*@|[?&][^=&]*(?:key|secret|token|password|credential|signature)[^=&]*=",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|wandb_v\d+_\w{20,}|(?:AKIA|ASIA)[A-Z0-9]{16})\b"
)
_ASSIGNED: Final = re.compile(
    r"((?:api_?key|secret(?:_?access)?_?key|access_?key(?:_?id)?|session_?token|password|bearer)"
    r"[\"']?\s*(?:[:=]|\s)\s*[\"']?)([A-Za-z0-9+/_.=-]{8,})",
    re.IGNORECASE,
)
_NAME_OF_KEY: Final = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)(?:_ID)?$")
_SHORTEST: Final = 8  # a shorter value of a variable may be a common word


def without_keys(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Remove keys from a text such as a traceback.

    These are keys in locations, tokens of the hub, of W&B and of AWS, values that follow a name
    such as ``api_key=``, and values of variables of the environment whose names end in KEY, TOKEN,
    SECRET or PASSWORD.
    """
    for name, value in environment.items():
        if len(value) >= _SHORTEST and value in text and is_name_of_key(name):
            text = text.replace(value, _HIDDEN)
    if "://" in text:
        text = _LOCATION.sub(_without_secrets, text)
    return _ASSIGNED.sub(rf"\1{_HIDDEN}", _TOKEN.sub(_HIDDEN, text))


def is_name_of_key(name: str) -> bool:
    """Return True for the name of an environment variable that holds a key, such as HF_TOKEN."""
    return _NAME_OF_KEY.search(name) is not None


def _without_secrets(match: re.Match[str]) -> str:
    return without_secrets(match[0]) if _HOLDS_KEY.search(match[0]) else match[0]


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
