"""Limits of pickles: work, memory and names, before anything is made."""

import collections
import pickle
import struct
from typing import Any

import pytest

import nanochat.files.pickle_limits as limits
from nanochat.errors import NanochatError
from nanochat.files.pickle_limits import check_pickle

END = b"."


def pairs(depth: int, pair: bytes = pickle.TUPLE2) -> bytes:
    """Pairs of which each holds the one before it twice: the key of a dict."""
    content = b"\x80\x02}N" + b"q\x00"
    for number in range(depth):
        content += b"h" + bytes([number]) + b"h" + bytes([number]) + pair
        content += b"q" + bytes([number + 1])
    return content + b"Ns" + END


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pairs(40), "it nests more than 100 objects in one tuple"),
        (pairs(3), None),
        # The same with DUP, and with frozen sets.
        (b"N" + b"2\x86" * 40 + END, "it nests more than 100 objects in one tuple"),
        (b"N\x94" + b"".join(b"(h%ch%c\x91\x94" % (k, k) for k in range(40)) + END, "it nests mor"),
        (b"(2" + END, "it is damaged"),
        (b"(\x94" + END, "it is damaged"),
        (b"N(\x86" + END, "it is damaged"),
        (b"N(0" + END, None),  # takes the mark away
        (b"N" + b"\x85" * 1000 + END, "it nests more than 100"),  # hashing would end the process
        (b"Nr" + struct.pack("<I", 2**32 - 1) + END, "it asks for a memo of 4,294,967,295 places"),
        (b"\x8a\xff" + b"\x7f" * 255 + END, "it holds a number of more than 64 bits"),
        (b"cos\nsystem\n.", "it asks for os.system"),
        (b"cos.path\njoin\n.", "it asks for os.path.join"),
        (b"\x8e" + struct.pack("<Q", 2**40) + b"ab" + END, "it is damaged"),
        (b"h\x05" + END, "it is damaged"),
        (b"0" + END, "it is damaged"),
        (b"", "it is damaged"),
        (b"\xff\xff", "it is damaged"),
        (b"N", "it is damaged"),
    ],
)
def test_what_costs_too_much_is_refused(content: bytes, message: str | None) -> None:
    if message is None:
        check_pickle(content, lambda name: False)
        return
    with pytest.raises(NanochatError, match=f"^{message}") as caught:
        check_pickle(content, lambda name: False)
    assert "\n" not in str(caught.value)


def test_steps_and_bytes_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(list(range(100)))
    monkeypatch.setattr(limits, "MOST_STEPS", 50)
    with pytest.raises(NanochatError, match="it has more than 50 instructions"):
        check_pickle(content, lambda name: True)
    monkeypatch.setattr(limits, "LARGEST_FILE", 50)
    with pytest.raises(NanochatError, match=r"it has \d+ bytes; at most 50 are read"):
        check_pickle(content, lambda name: True)


@pytest.mark.parametrize("protocol", range(6))
def test_usual_objects_pass(protocol: int) -> None:
    shared = (1, "a")
    value = {
        "numbers": [1, 2.5, -(2**40), None, True],
        "nested": {"a": [shared, shared, {shared: b"x"}], "b": frozenset({1}), "c": {1, 2}},
        "ordered": collections.OrderedDict(a=1),
        "many": {bytes([index, 7]): index for index in range(256)},
    }
    content = pickle.dumps(value, protocol)
    check_pickle(content, lambda name: True)
    names: list[Any] = []
    check_pickle(content, lambda name: names.append(name) or True)
    if protocol < 4:  # later protocols put names together on the stack
        assert "collections.OrderedDict" in names


def test_want_of_memory_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(content: bytes) -> Any:
        raise MemoryError

    monkeypatch.setattr("pickletools.genops", fails)
    with pytest.raises(MemoryError):
        check_pickle(b"N.", lambda name: True)
