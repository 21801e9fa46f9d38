"""Lines of a page that hold an answer, and the order in which a question needs lines."""

import re
from collections.abc import Callable, Sequence

from nanochat.errors import missing_library

EXACT, FUZZY, NONE = "exact", "fuzzy", "none"
KINDS = (EXACT, FUZZY, NONE)
# Share of characters, in percent, that must agree for a fuzzy match: one misread letter in seven.
FUZZY_SCORE = 85.0
# A line much shorter than the answer matches a part of it too easily.
_SHORTEST = 0.8


def find_answer(lines: Sequence[str], answer: str) -> tuple[str, list[int]]:
    """Find the lines of a page that hold an answer.

    Upper and lower case, and runs of white space, are as good as each other. Looked for, in this
    order, and the first that is found counts: the answer as words of its own in a line or across
    two neighbouring lines; as any part of such text; a passage that resembles it
    (``rapidfuzz.fuzz.partial_ratio`` of at least `FUZZY_SCORE`).

    Parameters
    ----------
    lines
        In reading order.

    Returns
    -------
    kind : str
        ``exact``, ``fuzzy`` or ``none``.
    holding : list of int
        Numbers of the lines, from 0: the best match first, then by distance to it.
    """
    try:
        from rapidfuzz import fuzz
    except ModuleNotFoundError as error:
        raise missing_library("nanochat data docvqa", "rapidfuzz", "data") from error

    wanted = _plain(answer)
    texts = [_plain(line) for line in lines]
    if not wanted:
        return NONE, []
    whole_word = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    for holds in (lambda text: bool(whole_word.search(text)), lambda text: wanted in text):
        holding = _where(texts, lambda text, holds=holds: 100.0 * holds(text), 100.0)
        if holding:
            return EXACT, holding

    def resemblance(text: str) -> float:
        if len(text) < _SHORTEST * len(wanted):
            return 0.0
        return fuzz.partial_ratio(wanted, text, score_cutoff=FUZZY_SCORE)

    holding = _where(texts, resemblance, FUZZY_SCORE)
    return (FUZZY, holding) if holding else (NONE, [])


def by_need(count: int, answer_lines: Sequence[int]) -> list[int]:
    """Sort the line numbers below `count` by how much a question about the answer needs them.

    First the lines with the answer, as `find_answer` orders them, then the others, nearest to one
    of these first; in reading order where there are none.
    """
    held = set(answer_lines)

    def distance(line: int) -> int:
        return min((abs(line - each) for each in held), default=0)

    others = sorted((line for line in range(count) if line not in held), key=distance)
    return [*answer_lines, *others]


def _where(texts: Sequence[str], score: Callable[[str], float], least: float) -> list[int]:
    """Find the lines that reach a score: alone, else joined with the next line."""
    scores = [score(text) for text in texts]
    hits: dict[tuple[int, ...], float] = {
        (line,): value for line, value in enumerate(scores) if value >= least
    }
    for line in range(len(texts) - 1):
        if max(scores[line : line + 2]) < least:  # else one of the two lines matches by itself
            value = score(f"{texts[line]} {texts[line + 1]}")
            if value >= least:
                hits[line, line + 1] = value
    if not hits:
        return []
    best = max(hits, key=lambda hit: (hits[hit], -len(hit), -hit[0]))
    rest = {line for hit in hits for line in hit} - set(best)
    return [*best, *sorted(rest, key=lambda line: (abs(line - best[0]), line))]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
