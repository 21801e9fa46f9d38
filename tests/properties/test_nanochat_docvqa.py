"""No page, question or answer breaks the budget, loses the answer's lines, or mixes up the page."""

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.prepare.docvqa import Limits, make_example
from nanochat.prepare.docvqa_answers import by_need, find_answer
from nanochat.prepare.docvqa_rows import Page, Question
from nanochat.tokenizer.tokenizer import Tokenizer

WORDS = st.sampled_from(["to", "be", "not", "question", "Total", "$12.50", "1987", "x" * 40])
LINES = st.lists(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), max_size=25)


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.train(["to be or not to be, that is the question. 123 456"] * 5, 280)


@st.composite
def pages(draw: Any) -> Any:
    # Each line is known by its number, so that the shown lines can be traced back.
    lines = tuple(f"{n}: {line}" for n, line in enumerate(draw(LINES)))
    answer = draw(st.sampled_from(["not", "total $12.50", "qestion", "nowhere at all"]))
    question = Question(draw(st.sampled_from(["What?", "Why " * 20])), (answer,), None)
    return Page(
        lines, (question,), draw(st.none() | st.integers(1, 9)), draw(st.none() | st.just("a1"))
    )


def _length(page: Page, numbers: list[int]) -> int:
    """Count the tokens of the example with these lines of the page and no others."""
    lines = tuple(page.lines[number] for number in sorted(numbers))
    part = Page(lines, page.questions, page.number, page.document)
    made = make_example(part, page.questions[0], Limits(_tokenizer(), 10**9))
    assert not isinstance(made, str)
    return made[1]


def _shown(text: str) -> list[str]:
    body = text.split("\n\nQuestion: ")[0].split("\n")[1:]
    return [line for line in body if not line.startswith(("Page ", "Source: "))]


@settings(deadline=None, max_examples=200)
@given(pages(), st.integers(20, 600))
def test_examples_keep_to_the_budget_and_to_the_page(page: Any, max_tokens: Any) -> None:
    limits = Limits(_tokenizer(), max_tokens)
    (question,) = page.questions
    everything = make_example(page, question, Limits(_tokenizer(), 10**9))
    assert not isinstance(everything, str)
    made = make_example(page, question, limits)
    kind, answer_lines = find_answer(page.lines, question.answers[0])
    if isinstance(made, str):
        assert made == "too_long"
        needed = by_need(len(page.lines), answer_lines)[:1]
        assert _length(page, needed) > max_tokens
        return
    row, tokens = made
    assert tokens == len(_tokenizer().render_conversation(row["messages"], 10**9)[0]) <= max_tokens
    assert row["match"] == kind
    shown = _shown(row["messages"][0]["content"])
    numbers = [page.lines.index(line) for line in shown]
    assert numbers == sorted(set(numbers))  # in reading order, none twice
    assert set(numbers) == set(by_need(len(page.lines), answer_lines)[: len(numbers)])
    assert made == everything or len(numbers) < len(page.lines)
    if set(answer_lines) - set(numbers):
        # The answer's lines are left out only where they do not fit, and then nothing else is in.
        assert set(numbers) < set(answer_lines)
        assert _length(page, answer_lines) > max_tokens


@settings(deadline=None)
@given(st.integers(0, 30), st.data())
def test_every_line_is_needed_once(count: Any, data: Any) -> None:
    numbers = st.lists(st.integers(0, count - 1), unique=True) if count else st.just([])
    answer_lines = data.draw(numbers)
    order = by_need(count, answer_lines)
    assert sorted(order) == list(range(count))
    assert order[: len(answer_lines)] == answer_lines
    if answer_lines:
        far = [
            min(abs(line - each) for each in answer_lines) for line in order[len(answer_lines) :]
        ]
        assert far == sorted(far)
