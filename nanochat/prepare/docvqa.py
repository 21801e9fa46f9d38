"""Conversations about scanned pages, made from DocVQA rows: one for each question.

The user shows what the OCR read and asks; the assistant answers. A page that is too long loses the
lines farthest from the answer, never the answer's own lines as long as these fit.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from nanochat.data.bad_rows import SkippedRows, parse_rows
from nanochat.data.rows import read_rows
from nanochat.errors import NanochatError
from nanochat.prepare.docvqa_answers import KINDS, by_need, find_answer
from nanochat.prepare.docvqa_rows import COLUMNS, Page, Question, parse_row
from nanochat.prepare.ordered import ordered_map
from nanochat.prepare.row_files import write_jsonl, write_parquet
from nanochat.tokenizer.tokenizer import Tokenizer

MAX_TOKENS = 1750
MAX_ANSWER_CHARS = 150
REASONS = ("no_answer", "long_answer", "too_long")
_LIBRARY = "https://www.industrydocuments.ucsf.edu/docs/"
_PAGES = 32  # pages that a worker gets at a time


@dataclass(frozen=True)
class Limits:
    """Limits of an example.

    Attributes
    ----------
    tokenizer
        It counts.
    max_tokens
        Tokens of a rendered conversation, special tokens included, at least 2.
    max_answer_chars
        Characters of an answer, at least 1.
    """

    tokenizer: Tokenizer
    max_tokens: int = MAX_TOKENS
    max_answer_chars: int = MAX_ANSWER_CHARS

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            raise NanochatError(f"max_tokens must be at least 2, not {self.max_tokens}")
        if self.max_answer_chars < 1:
            raise NanochatError(f"max_answer_chars must be at least 1, not {self.max_answer_chars}")


@dataclass
class Summary:
    """Counts of a preparation.

    Attributes
    ----------
    skipped
        Bad rows left out, which `rows` does not count.
    rows, questions, kept
        Source rows, questions in them, conversations written.
    dropped
        By reason: ``no_answer`` (none is given), ``long_answer`` (all are longer than allowed),
        ``too_long`` (question and answer leave no room for a line of the page).
    matches
        Conversations by how the answer was found: ``exact``, ``fuzzy``, ``none``.
    tokens
        Tokens of all rendered conversations.
    """

    skipped: SkippedRows
    rows: int = 0
    questions: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    matches: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    tokens: int = 0

    def lines(self) -> list[str]:
        """Return the counts as lines of text."""
        groups = [("dropped", self.dropped), ("match", self.matches)]
        return [
            f"{self.rows} rows, {self.questions} questions, {self.kept} kept, {self.tokens} tokens",
            *(
                f"{name}: {', '.join(f'{k} {v}' for k, v in counts.items())}"
                for name, counts in groups
            ),
            *self.skipped.lines(),
        ]


def prepare_docvqa(
    source: str,
    split: str,
    out_path: Path,
    limits: Limits,
    workers: int = 8,
    progress: Callable[[int], None] | None = None,
    skipped: SkippedRows | None = None,
) -> Summary:
    """Write the conversations of a DocVQA set to one file, equal for any number of workers.

    Parameters
    ----------
    source, split
        Source and split of `read_rows`; rows as `parse_row` reads them.
    out_path
        ``.jsonl`` or ``.parquet``; there whole or not at all. A row has ``messages``, ``match``,
        ``page`` (int or null), ``question_id`` and ``document_id`` (text or null).
    workers
        Processes that tokenise; 1: this one.
    progress
        Called with the number of source rows done.
    skipped
        Counts bad rows, which are left out up to its limit; without it, the first one is an error.

    Raises
    ------
    NanochatError
        For a bad row (named), a bad file name, or a source that gives no conversation.
    """
    if workers < 1:
        raise NanochatError(f"workers must be at least 1, not {workers}")
    if out_path.suffix not in (".jsonl", ".parquet"):
        raise NanochatError(f"{out_path}: the name must end in .jsonl or .parquet")
    summary = Summary(SkippedRows() if skipped is None else skipped)

    def examples() -> Iterator[dict[str, Any]]:
        pages = parse_rows(read_rows(source, split, COLUMNS), parse_row, summary.skipped)
        chunks = iter(lambda: list(islice(pages, _PAGES)), [])
        for outcomes in ordered_map(_make_all, chunks, limits, workers):
            summary.rows += len(outcomes)
            for outcome in (each for of_page in outcomes for each in of_page):
                summary.questions += 1
                if isinstance(outcome, str):
                    summary.dropped[outcome] += 1
                    continue
                row, tokens = outcome
                summary.kept += 1
                summary.tokens += tokens
                summary.matches[row["match"]] += 1
                yield row
            if progress is not None:
                progress(summary.rows)
        if not summary.kept:
            raise NanochatError(
                f"{source}: no conversations ({summary.rows} rows, {summary.questions} questions,"
                f" dropped: {summary.dropped})"
            )

    if out_path.suffix == ".jsonl":
        write_jsonl(out_path, examples())
    else:
        write_parquet(out_path, examples(), _schema())
    return summary


def make_example(
    page: Page, question: Question, limits: Limits
) -> tuple[dict[str, Any], int] | str:
    """Make the row of a question and its tokens, or return the reason (of `REASONS`) for none.

    The answer is the first accepted one that is short enough. Lines are added to the prompt in the
    order of `by_need` while the conversation keeps to the limit, and shown in reading order.
    """
    if not question.answers:
        return "no_answer"
    short = (each for each in question.answers if len(each) <= limits.max_answer_chars)
    answer = next(short, None)
    if answer is None:
        return "long_answer"
    match, answer_lines = find_answer(page.lines, answer)
    order = by_need(len(page.lines), answer_lines)

    def conversation(count: int) -> list[dict[str, str]]:
        chosen_lines = [page.lines[line] for line in sorted(order[:count])]
        prompt = user_text(chosen_lines, page.number, page.document, question.text)
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]

    def tokens(count: int) -> int:
        return len(limits.tokenizer.render_conversation(conversation(count), sys.maxsize)[0])

    count = _most(len(order), lambda count: tokens(count) <= limits.max_tokens)
    if count is None or (order and not count):
        return "too_long"
    row = {
        "messages": conversation(count),
        "match": match,
        "page": page.number,
        "question_id": question.id,
        "document_id": page.document,
    }
    return row, tokens(count)


def user_text(lines: Sequence[str], page: int | None, document: str | None, question: str) -> str:
    """Return the user's message: the page, its origin, and the question."""
    head = ["Document:"] if page is None else ["Document:", f"Page {page}"]
    source = [] if document is None else [f"Source: {_LIBRARY}{document}"]
    return "\n".join([*head, *lines, *source, "", f"Question: {question}"])


def _schema() -> Any:
    import pyarrow as pa

    from nanochat.data.messages_table import TEXT_MESSAGES

    text = pa.string()
    columns = {"messages": TEXT_MESSAGES, "match": text, "page": pa.int32()}
    return pa.schema({**columns, "question_id": text, "document_id": text})


def _most(count: int, fits: Callable[[int], bool]) -> int | None:
    """Find the largest number up to `count` that fits, by bisection; None where 0 does not fit."""
    if fits(count):
        return count
    if count == 0 or not fits(0):
        return None
    low, high = 0, count  # low fits, high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _make_all(
    limits: Limits, pages: Iterable[Page]
) -> list[list[tuple[dict[str, Any], int] | str]]:
    return [[_make_named(page, each, limits) for each in page.questions] for page in pages]


def _make_named(page: Page, question: Question, limits: Limits) -> tuple[dict[str, Any], int] | str:
    try:
        return make_example(page, question, limits)
    except NanochatError as error:
        place = f"document {page.document}, page {page.number}, question {question.id}"
        raise NanochatError(f"{place}: {error}") from error
