"""Limits of a pickle, checked on its instructions before anything of it is made.

A restricted unpickler runs no foreign code, yet a few bytes can keep it busy for ever: forty pairs,
each of which holds the pair before it twice, take 2 to the 40th steps to hash. They can also ask
for memory beyond all bounds, by a memo of four billion places.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from nanochat.errors import NanochatError, first_line

LARGEST_FILE = 2**28  # bytes; a tokenizer of 200,000 tokens has 4 million
MOST_STEPS = 2**22  # instructions; such a tokenizer has 600,000, 1,024 layers of a model 300,000
# Objects in a tuple, those of the tuples in it included; a tensor is described by about 20.
LARGEST_TUPLE = 100
LARGEST_NUMBER = 2**64

_GET, _PUT = {"GET", "BINGET", "LONG_BINGET"}, {"PUT", "BINPUT", "LONG_BINPUT"}
_HASHABLE = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
_MARK = -1


def check_pickle(content: bytes, allows: Callable[[str], bool]) -> None:
    """Refuse a pickle that asks for other names than are allowed, or for too much work or memory.

    Parameters
    ----------
    allows
        Function of the full name of a class or function, such as ``collections.OrderedDict``, that
        returns True if the pickle may ask for it. Names that are put together by the pickle itself
        (``STACK_GLOBAL``) are left to the unpickler.

    Raises
    ------
    NanochatError
        Says what the pickle asks for, without the name of the file.
    """
    if len(content) > LARGEST_FILE:
        raise NanochatError(f"it has {len(content):,} bytes; at most {LARGEST_FILE:,} are read")
    try:
        _follow(content, allows)
    except (NanochatError, MemoryError):
        raise
    except Exception as error:  # instructions that are none raise errors of many types
        raise NanochatError(f"it is damaged ({first_line(error)[:100]})") from error


def _follow(content: bytes, allows: Callable[[str], bool]) -> None:
    """Follow the instructions with the size of each object in place of the object."""
    stack: list[int] = []
    memo: dict[int, int] = {}
    instructions: Any = pickletools.genops(content)
    for step, (opcode, argument, _) in enumerate(instructions, 1):
        if step > MOST_STEPS:
            raise NanochatError(f"it has more than {MOST_STEPS:,} instructions")
        name = opcode.name
        if name == "GLOBAL" and not allows(full := str(argument).replace(" ", ".", 1)):
            raise NanochatError(f"it asks for {full[:100]}")
        if isinstance(argument, int) and abs(argument) > LARGEST_NUMBER:
            raise NanochatError("it holds a number of more than 64 bits")
        if name in _GET:
            stack.append(memo[argument])
        elif name in _PUT:
            if argument > step:
                raise NanochatError(f"it asks for a memo of {argument:,} places")
            memo[argument] = _top(stack)
        elif name == "MEMOIZE":
            memo[len(memo)] = _top(stack)
        elif name == "POP":
            stack.pop()  # a mark, too
        elif name == "DUP":
            stack.append(_top(stack))
        else:
            _apply(opcode, stack)


def _apply(opcode: Any, stack: list[int]) -> None:
    """Take the objects of an instruction from the stack, and put its results there."""
    before = opcode.stack_before
    size = 1
    if pickletools.markobject in before:
        while (item := stack.pop()) != _MARK:
            size += item
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        size += _top(stack)
        stack.pop()
    if opcode.name == "MARK":
        stack.append(_MARK)
        return
    if opcode.name not in _HASHABLE:
        size = 1
    elif size > LARGEST_TUPLE:
        raise NanochatError(f"it nests more than {LARGEST_TUPLE} objects in one tuple")
    stack += [size] * len(opcode.stack_after)


def _top(stack: list[int]) -> int:
    if stack[-1] == _MARK:
        raise ValueError("an object is missing")
    return stack[-1]
