"""Seeded mutations of files and texts, as damage, other programs and mistakes make them."""

import copy
import json
import random
from typing import Any

DEEP = "[" * 2000
ODD_VALUES = (
    None, True, False, 0, -1, 1, 2**63, -(10**400), 1.5, 1e308, float("nan"), float("-inf"),
    "", "x", "\x00", "\udce4", "é" * 300, "a" * 5000, "~nobody-of-that-name/x", "9" * 5000,
    [], {}, [[]], [None], {"": None}, {"x": {"y": []}}, list(range(300)),
)  # fmt: skip
ODD_BYTES = (
    b"", b"\x00", b"\xff\xfe\x00", b"\xe4", b"null", b"[]", b"{}", b"0", b'"x"', DEEP.encode(),
    b'{"a":' * 2000, b"9" * 6000, b"-", b"NaN", b"\xef\xbb\xbf{}", b"{" + b"}" * 9,
)  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return changed content: values of JSON where it is JSON, else and sometimes its bytes."""
    if rng.random() < 0.7:
        try:
            value = json.loads(content)
        except ValueError:
            pass
        else:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                value = _mutated_value(value, rng)
            return json.dumps(value).encode()
    return _mutated_bytes(content, rng)


def mutated_text(text: str, rng: random.Random) -> str:
    """Return a text with a word, a line or some of its signs changed."""
    return _mutated_bytes(text.encode(errors="surrogateescape"), rng).decode(
        errors="surrogateescape"
    )


def odd_text(rng: random.Random) -> str:
    """Return a value such as a person or a program may set by mistake."""
    value = rng.choice(ODD_VALUES)
    return value if isinstance(value, str) else json.dumps(value)


def _mutated_value(value: Any, rng: random.Random) -> Any:
    """Replace, delete or add one value at a place of a JSON value, deeper places more often."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return copy.deepcopy(rng.choice(ODD_VALUES))  # later changes must not reach the list
    key: Any = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    action = rng.random()
    if action < 0.1:
        del value[key]
    elif action < 0.2 and isinstance(value, dict):
        value[odd_text(rng)] = copy.deepcopy(value[key])
    elif action < 0.2:
        value.append(copy.deepcopy(value[key]))
    else:
        value[key] = _mutated_value(value[key], rng)
    return value


def _mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    action = rng.randrange(6)
    if action == 0 or not data:
        return rng.choice(ODD_BYTES)
    place = rng.randrange(len(data))
    if action == 1:
        return bytes(data[:place])
    if action == 2:
        data[place] ^= 1 << rng.randrange(8)
    elif action == 3:
        data[place:place] = rng.choice(ODD_BYTES)
    elif action == 4:
        del data[place : place + rng.randrange(1, 40)]
    else:
        end = place + rng.randrange(1, 12)
        data[place:end] = rng.choice(ODD_BYTES)[:200]
    return bytes(data)
