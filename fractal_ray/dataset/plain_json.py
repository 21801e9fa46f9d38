"""The conversion of plain data to JSON, which has no NaN and no infinity."""

import json
import math
from typing import Any


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return the JSON of plain data; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
