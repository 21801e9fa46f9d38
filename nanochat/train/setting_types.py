"""Conversion of settings from files and command lines to their types."""

import math
from typing import Any

from nanochat.errors import NanochatError, quoted


def coerce(name: str, value: Any, kind: type) -> Any:
    """Convert the value of a setting to its type.

    Parameters
    ----------
    name
        For the message.
    value
        Numbers may be of either kind, or text, as long as the value fits: ``5e5`` is an integer,
        ``1`` a fraction.
    kind
        One of int, float, bool, str.

    Raises
    ------
    NanochatError
        If the value does not fit the type.
    """
    if kind is int or kind is float:
        return _number(name, value, kind)
    if not isinstance(value, kind):
        wanted = "true or false" if kind is bool else "text"
        raise NanochatError(f"{name} must be {wanted}, not {quoted(value)}")
    return value


def _number(name: str, value: Any, kind: type) -> int | float:
    # Below 2^53 a float holds every whole number exactly; an axis gives floats.
    wanted = "a whole number below 2^53" if kind is int else "a finite number"
    try:
        # YAML 1.1 reads 5e5 as text; True is an int in Python, but users mean no number by it.
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    whole = math.isfinite(number) and number.is_integer() and abs(number) < 2**53
    if not math.isfinite(number) or (kind is int and not whole):
        raise NanochatError(f"{name} must be {wanted}, not {quoted(value)}")
    return kind(number)
