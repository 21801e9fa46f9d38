"""Digests of plain data that do not depend on the process, as those of a pickle do."""

from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np


def add_content(digest: Any, value: Any) -> None:
    """Add a value to a digest of hashlib: numbers, texts, arrays, tensors and containers.

    Of other objects their attributes are added, and of those without attributes the type.
    """
    _add(digest, value, set())


def _add(digest: Any, value: Any, seen: set[int]) -> None:
    if hasattr(value, "detach") and hasattr(value, "numpy"):  # a tensor
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, bytes):
        digest.update(value)
    elif isinstance(value, str | int | float | complex | np.generic | None):
        digest.update(f"{type(value).__name__} {value!r}".encode())
    elif id(value) in seen:
        digest.update(b"again")
    else:
        seen.add(id(value))
        _add_parts(digest, value, seen)


def _add_parts(digest: Any, value: Any, seen: set[int]) -> None:
    if isinstance(value, Mapping):
        digest.update(f"mapping {len(value)}".encode())
        for key, inner in value.items():
            _add(digest, key, seen)
            _add(digest, inner, seen)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)}".encode())
        for inner in value:
            _add(digest, inner, seen)
    elif isinstance(value, set | frozenset):
        digest.update(f"set {sorted(map(repr, value))}".encode())
    else:
        digest.update(type(value).__qualname__.encode())
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict) and not isinstance(value, FunctionType | ModuleType | type):
            _add(digest, attributes, seen)
