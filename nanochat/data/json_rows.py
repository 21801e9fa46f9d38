"""Rows of a JSONL file: a JSON value a line, arrays of rows, or JSON over several lines."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from nanochat.errors import NanochatError

_DECODER = json.JSONDecoder()
_NOT_SPACE = re.compile(r"\S")
_BOM = b"\xef\xbb\xbf"


def read_json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a file, each with its name for error messages.

    An array of messages is one row, a conversation; any other array holds one row in each element.
    A file whose first value goes over several lines is read whole, into memory.

    Yields
    ------
    where : str
        File and number of the line, and of the element in an array.
    row : Any
        The value; a `NanochatError` for a line that is not JSON, after which others follow.

    Raises
    ------
    NanochatError
        Where the file cannot be opened, or a value over several lines is not JSON.
    """
    try:
        with path.open("rb") as file:
            for where, value in _values(path, file):
                if isinstance(value, list) and not _is_conversation(value):
                    yield from ((f"{where}, item {n}", each) for n, each in enumerate(value, 1))
                else:
                    yield where, value
    except OSError as error:
        raise NanochatError(f"{path}: not readable ({error.strerror})") from error


def _is_conversation(value: list[Any]) -> bool:
    """Return True for an array of messages, also a bad one; False for an array of rows."""
    objects = [each for each in value if isinstance(each, Mapping)]
    if any("role" in each and "messages" not in each for each in objects):
        return True
    return not objects and not any(isinstance(each, list) for each in value)


def _values(path: Path, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yield the JSON values of a file, each with its name."""
    first = True
    # Only "\n" ends a line: JSON may hold the other separators of Unicode as they are.
    for number, line in enumerate(file, 1):
        data = line.removeprefix(_BOM) if number == 1 else line
        if not data.strip():
            continue
        where = f"{path}, row {number}"
        value = _parsed(where, data)
        if first and isinstance(value, _UnfinishedRowError):
            place = file.tell()
            whole = _over_several_lines(path, number, data, file.read())
            if whole is not None:
                yield from whole
                return
            file.seek(place)
        first = False
        yield where, value


class _UnfinishedRowError(NanochatError):
    """Error for a line that ends before its JSON value does."""


def _parsed(where: str, data: bytes) -> Any:
    """Return the value of a line, or the error that names it."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return NanochatError(f"{where}: not UTF-8 text ({error})")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        unfinished = error.pos >= len(text.rstrip())
        kind = _UnfinishedRowError if unfinished else NanochatError
        return kind(f"{where}: not JSON ({error})")
    except (ValueError, RecursionError) as error:  # RecursionError: brackets a thousand deep
        return NanochatError(f"{where}: not JSON ({error})")


def _over_several_lines(
    path: Path, number: int, line: bytes, rest: bytes
) -> list[tuple[str, Any]] | None:
    """Parse the values of a file whose first line is unfinished.

    Returns
    -------
    list of tuple or None
        Names and values; None where the line is a row that was cut off, before rows of one line.

    Raises
    ------
    NanochatError
        Where the file holds neither values over several lines nor values of one line.
    """
    try:
        return list(_one_after_the_other(path, number, (line + rest).decode()))
    except (ValueError, RecursionError) as error:
        lines = [each for each in rest.split(b"\n") if each.strip()]
        if any(not isinstance(_parsed("", each), NanochatError) for each in lines[:1] + lines[-1:]):
            return None
        number += error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
        raise NanochatError(f"{path}, row {number}: not JSON ({error})") from error


def _one_after_the_other(path: Path, number: int, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the JSON values in a text, each with its name; `number` is that of the first line."""
    start = 0
    while (beginning := _NOT_SPACE.search(text, start)) is not None:
        number += text.count("\n", start, beginning.start())
        value, start = _DECODER.raw_decode(text, beginning.start())
        yield f"{path}, row {number}", value
        number += text.count("\n", beginning.start(), start)
