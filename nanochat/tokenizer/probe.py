"""Checks of a tokenizer on a short text, and descriptions of texts that it cannot split."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from nanochat.errors import NanochatError, first_line

# One character of each general category of Unicode, the whole of Latin-1, and runs that patterns
# treat apart: numbers, contractions, mixed spaces, ends of lines, spaces at the end.
_CATEGORIES = (
    "\u00c0\u00df\u01c5\u02b0\u4e2d\u0627\u0301\u0903\u20dd\u0663\u2167\u00bd\u203f\u2014\u201e"
    "\u00bb\u00ab\u2026\u2211\u20ac\u02c6\u2713\u3000\u2028\u2029\u200b\ufeff\ue000\u0378\U0001f600"
)
_ALONE = "".join(map(chr, range(256))) + _CATEGORIES
PROBE = (
    "\n  The  cat's 1234567 mats:\tI'LL don't,it's\r\n\r\n\n \n x__y (a+b)=c;\t\t<|bos|> z"
    + "".join(f"{letter}a{letter}{letter} 1{letter} {letter}" for letter in _ALONE)
    + "end  \n  "
)
_KINDS = re.compile(r"\s+|[^\W\d_]+|\d+|[^\w\s]+|_+")


def check_round_trip(
    encode: Callable[[str], list[int]], decode: Callable[[Sequence[int]], str]
) -> None:
    """Refuse a tokenizer that changes or leaves out a part of `PROBE`.

    Raises
    ------
    NanochatError
        Names the first character that does not come back.
    """
    try:
        text = decode(encode(PROBE))
    except NanochatError as error:
        reason = first_line(error.__cause__ or error)
        raise NanochatError(f"tokenizer: its pattern cannot split text: {reason}") from error
    if text != PROBE:
        pairs = enumerate(zip(text, PROBE, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), len(text))
        raise NanochatError(
            f"tokenizer: its pattern does not cover all text: of {len(PROBE):,} characters"
            f" {len(text):,} come back from their tokens, and {PROBE[place : place + 1]!r} is the"
            " first that is lost; take a sound copy of the tokenizer"
        )


def describe_text(text: str, reason: str) -> str:
    """Return the message for a text that cannot be split, with its longest stretch of one kind."""
    longest = max(_KINDS.finditer(text), key=lambda match: match.end() - match.start())
    start, end = longest.span()
    return (
        f"a text of {len(text):,} characters cannot be split into tokens ({reason}); shorten its"
        f" longest stretch of one kind: {end - start:,} times {_kind(text[start])}, from character"
        f" {start + 1:,}"
    )


def _kind(letter: str) -> str:
    names = {"spaces": letter.isspace(), "letters": letter.isalpha(), "digits": letter.isdigit()}
    return next((name for name, holds in names.items() if holds), f"signs such as {letter!r}")


class LongestText:
    """Texts, of which the longest that was read is kept for a message.

    Parameters
    ----------
    texts
        Read once, in their order.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self._number, self._text = 0, ""

    def __iter__(self) -> Iterator[str]:
        for number, text in enumerate(self._texts, 1):
            if len(text) > len(self._text):
                self._number, self._text = number, text
            yield text

    def describe(self, reason: str) -> str:
        """Return the message for texts of which one cannot be split: it is about the longest."""
        return (
            f"text {self._number:,}, the longest of those read: {describe_text(self._text, reason)}"
        )
