"""Parser of DocVQA rows: lines of the page, its number and document, and the questions.

Rows of ``pixparse/docvqa-single-page-questions`` hold what the OCR read in ``ocr_results``, one
question or many, and a record of the page in ``other_metadata``; nested values come as objects, as
lists of objects, or as JSON text, depending on how the file was written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.errors import NanochatError, quoted

COLUMNS = ("questions", "question", "answers", "question_id", "ocr_results", "other_metadata")


@dataclass(frozen=True)
class Question:
    """Question with its id and the accepted answers (none in a test split)."""

    text: str
    answers: tuple[str, ...]
    id: str | None


@dataclass(frozen=True)
class Page:
    """Page and the questions about it.

    Attributes
    ----------
    lines
        Text of the OCR in reading order, with single spaces; no line is empty.
    number
        Within the document.
    document
        Id in UCSF's library of industry documents.
    """

    lines: tuple[str, ...]
    questions: tuple[Question, ...]
    number: int | None
    document: str | None


def parse_row(where: str, row: Any) -> Page:
    """Parse the page of a row.

    Parameters
    ----------
    where
        Names the row in a message.
    row
        With `COLUMNS`: either ``questions`` (a list of objects, or an object of lists) or one
        ``question`` with its ``answers``; ``ocr_results`` with ``lines``, each with ``text``;
        ``other_metadata``, which may be missing.

    Raises
    ------
    NanochatError
        Names the row and the key that is missing or of the wrong kind.
    """
    if not isinstance(row, Mapping):
        raise NanochatError(f"{where}: not an object but a {type(row).__name__}")
    about = _opened(where, "other_metadata", row.get("other_metadata")) or {}
    if not isinstance(about, Mapping):
        raise NanochatError(f"{where}: other_metadata is a {type(about).__name__}, not an object")
    document = about.get("ucsf_document_id")
    return Page(
        lines=_lines(where, row),
        questions=_questions(where, row),
        number=_page_number(where, about.get("ucsf_document_page_no")),
        document=str(document) if document else None,
    )


def _questions(where: str, row: Mapping[str, Any]) -> tuple[Question, ...]:
    if row.get("questions") is None:
        return (_question(where, row),)
    questions = _records(where, "questions", _opened(where, "questions", row["questions"]))
    return tuple(_question(f"{where}, question {n}", each) for n, each in enumerate(questions, 1))


def _question(where: str, given: Mapping[str, Any]) -> Question:
    text, answers = _need(where, given, "question"), given.get("answers", "")
    if not isinstance(text, str):
        raise NanochatError(f"{where}: question is a {type(text).__name__}, not text")
    if "answers" not in given:
        _need(where, given, "answers")
    answers = _opened(where, "answers", answers) if _is_json_list(answers) else answers
    each = [answers] if isinstance(answers, str) else answers or []
    if not all(isinstance(answer, str) for answer in each):
        raise NanochatError(f"{where}: answers must be text")
    known = given.get("question_id")
    accepted = tuple(answer.strip() for answer in each if answer.strip())
    return Question(" ".join(text.split()), accepted, None if known is None else str(known))


def _lines(where: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    results = _opened(where, "ocr_results", _need(where, row, "ocr_results"))
    pages = [results] if isinstance(results, Mapping) else results
    if not isinstance(pages, Sequence) or not all(isinstance(page, Mapping) for page in pages):
        raise NanochatError(f"{where}: ocr_results must be an object with lines, or a list of them")
    texts = [
        _need(f"{where}, ocr_results", line, "text")
        for page in pages
        for line in _records(where, "lines", _need(f"{where}, ocr_results", page, "lines"))
    ]
    # A line break within a line would make it two lines of the prompt.
    tidy = (" ".join(str(text).split()) for text in texts)
    return tuple(text for text in tidy if text)


def _page_number(where: str, given: Any) -> int | None:
    if given is None or given == "":
        return None
    try:
        return int(given)
    except (TypeError, ValueError) as error:
        key = "other_metadata.ucsf_document_page_no"
        raise NanochatError(f"{where}: {key} must be a number, not {quoted(given)}") from error


def _records(where: str, key: str, given: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list, or of an object of equally long lists (used in some files)."""
    if isinstance(given, Mapping):
        if not all(isinstance(column, Sequence) for column in given.values()):
            raise NanochatError(f"{where}: {key} must be a list of objects")
        if len({len(column) for column in given.values()}) > 1:
            raise NanochatError(f"{where}: the lists in {key} differ in length")
        rows = zip(*given.values(), strict=True)
        return [dict(zip(given, values, strict=True)) for values in rows]
    if not isinstance(given, Sequence) or not all(isinstance(each, Mapping) for each in given):
        raise NanochatError(f"{where}: {key} must be a list of objects")
    return list(given)


def _need(where: str, given: Mapping[str, Any], key: str) -> Any:
    if given.get(key) is None:
        raise NanochatError(f"{where}: no {key} (keys: {', '.join(map(str, given)) or 'none'})")
    return given[key]


def _opened(where: str, key: str, given: Any) -> Any:
    """Return a nested value, which may have been stored as JSON text."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given) if given.strip() else None
    except (ValueError, RecursionError) as error:  # RecursionError: brackets a thousand deep
        raise NanochatError(f"{where}: {key} is not JSON ({error})") from error


def _is_json_list(given: Any) -> bool:
    return isinstance(given, str) and given.lstrip().startswith("[")
