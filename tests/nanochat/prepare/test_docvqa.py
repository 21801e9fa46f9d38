"""DocVQA rows made into conversations, on small made pages."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.conversations import load_conversations
from nanochat.errors import NanochatError
from nanochat.prepare.docvqa import Limits, make_example, prepare_docvqa
from nanochat.prepare.docvqa_answers import by_need, find_answer
from nanochat.prepare.docvqa_rows import parse_row
from nanochat.tokenizer.tokenizer import Tokenizer

LINES = ["ANNUAL   Report", "Total sales:", "$12,500.00", "Signed by J. Smith-", "Jones in May", ""]
ABOUT = {"ucsf_document_id": "abcd0123", "ucsf_document_page_no": "7", "doc_id": 3}


def _row(*questions: Any, lines: Any = LINES, about: Any = ABOUT) -> dict[str, Any]:
    return {
        "questions": [
            {"question_id": n, "question": text, "answers": answers}
            for n, (text, answers) in enumerate(questions)
        ],
        "ocr_results": {"page": 1, "lines": [{"text": line, "words": []} for line in lines]},
        "other_metadata": about,
    }


ROW = _row(("What are the  sales?", ["$12,500.00", "12500"]), ("Who signed?", ["smith- jones"]))


@pytest.fixture
def limits(tokenizer: Tokenizer) -> Any:
    return Limits(tokenizer, 1000)


def test_the_prompt_has_the_page_and_its_source(limits: Any) -> None:
    page = parse_row("row", ROW)
    row, tokens = make_example(page, page.questions[0], limits)
    assert row["messages"] == [
        {
            "role": "user",
            "content": "Document:\nPage 7\nANNUAL Report\nTotal sales:\n$12,500.00\n"
            "Signed by J. Smith-\nJones in May\n"
            "Source: https://www.industrydocuments.ucsf.edu/docs/abcd0123\n\n"
            "Question: What are the sales?",
        },
        {"role": "assistant", "content": "$12,500.00"},
    ]
    assert (row["match"], row["page"], row["question_id"], row["document_id"]) == (
        "exact",
        7,
        "0",
        "abcd0123",
    )
    assert tokens == len(limits.tokenizer.render_conversation(row["messages"], 10**6)[0])
    bare = parse_row("row", _row(("Q?", ["May"]), lines=["in May"], about=None))
    row, _ = make_example(bare, bare.questions[0], limits)
    assert row["messages"][0]["content"] == "Document:\nin May\n\nQuestion: Q?"
    assert (row["page"], row["document_id"]) == (None, None)


def _sequence(rows: Any) -> Any:
    return {key: [row[key] for row in rows] for key in rows[0]}


@pytest.mark.parametrize(
    "changed",
    [
        {"questions": _sequence(ROW["questions"])},
        {"questions": json.dumps(ROW["questions"])},
        {"ocr_results": [ROW["ocr_results"]]},
        {"ocr_results": json.dumps(ROW["ocr_results"])},
        {"ocr_results": {"lines": {"text": LINES}}},
        {"other_metadata": json.dumps(ABOUT)},
        {"other_metadata": {**ABOUT, "ucsf_document_page_no": 7}},
        {"image": b"png"},
    ],
)
def test_rows_come_in_several_forms(changed: dict[str, Any]) -> None:
    assert parse_row("row", {**ROW, **changed}) == parse_row("row", ROW)


def test_a_row_may_have_one_question_of_its_own() -> None:
    row = {key: value for key, value in ROW.items() if key != "questions"}
    one = {**row, "question": "Who?", "answers": json.dumps(["A", " "]), "question_id": 5}
    (question,) = parse_row("row", one).questions
    assert (question.text, question.answers, question.id) == ("Who?", ("A",), "5")
    (question,) = parse_row("row", {**one, "answers": None}).questions
    assert question.answers == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "not an object but a list"),
        ({}, r"no ocr_results \(keys: none\)"),
        ({"ocr_results": {}}, r"ocr_results: no lines"),
        ({"ocr_results": "{"}, "ocr_results is not JSON"),
        ({"ocr_results": 3}, "ocr_results must be an object with lines"),
        ({"ocr_results": {"lines": ["a"]}}, "lines must be a list of objects"),
        ({"ocr_results": {"lines": [{"words": []}]}}, r"no text \(keys: words\)"),
        ({"ocr_results": {"lines": {"text": ["a"], "box": []}}}, "lists in lines differ in length"),
        ({**ROW, "questions": None}, r"no question \("),
        ({**ROW, "questions": [{"answers": []}]}, r"question 1: no question \(keys: answers\)"),
        ({**ROW, "questions": [{"question": "?"}]}, r"question 1: no answers \(keys: question\)"),
        ({**ROW, "questions": [{"question": 1, "answers": []}]}, "question is a int"),
        ({**ROW, "questions": [{"question": "?", "answers": [1]}]}, "answers must be text"),
        ({**ROW, "other_metadata": {"ucsf_document_page_no": "x"}}, "page_no must be a number"),
        ({**ROW, "other_metadata": "[1]"}, "other_metadata is a list"),
    ],
)
def test_a_bad_row_is_named_with_its_key(row: Any, message: str) -> None:
    with pytest.raises(NanochatError, match=message) as caught:
        parse_row("set, row 4", row)
    assert str(caught.value).startswith("set, row 4")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind", "found"),
    [
        ("annual REPORT", "exact", [0]),
        ("sales", "exact", [1]),
        ("ale", "exact", [1]),  # part of a word, where it is no word of its own
        ("May", "exact", [4]),
        ("smith- jones", "exact", [3, 4]),
        ("Report Total", "exact", [0, 1]),
        ("Total saies", "fuzzy", [1]),
        ("Smith-Jones in Mav", "fuzzy", [3, 4]),
        ("$12,500.00", "exact", [2]),
        ("Barcelona", "none", []),
        ("xyz", "none", []),
        (" ", "none", []),
    ],
)
def test_answers_are_found(answer: str, kind: str, found: Any) -> None:
    assert find_answer(LINES[:5], answer) == (kind, found)


def test_the_best_match_comes_first_and_a_short_line_is_no_match() -> None:
    lines = ["n", "recieved papers", "nothing", "received papers", "r"]
    assert find_answer(lines, "received papers") == ("exact", [3])
    assert find_answer(lines, "receiwed papers") == ("fuzzy", [3, 1])
    assert find_answer(["1987", "no 1 here", "11"], "1") == ("exact", [1])
    assert find_answer(["a", "b"], "answers of some length") == ("none", [])


def test_lines_are_needed_by_distance() -> None:
    assert by_need(6, [4]) == [4, 3, 5, 2, 1, 0]
    assert by_need(7, [5, 0]) == [5, 0, 1, 4, 6, 2, 3]
    assert by_need(3, []) == [0, 1, 2]


def test_a_long_page_loses_the_lines_farthest_from_the_answer(tokenizer: Tokenizer) -> None:
    lines = [f"line {n} of the page" for n in range(200)]
    lines[120] = "the answer is forty-two"
    page = parse_row("row", _row(("What?", ["forty-two"]), lines=lines))
    row, tokens = make_example(page, page.questions[0], Limits(tokenizer, 400))
    shown = row["messages"][0]["content"].split("\n")[2:-3]
    first = lines.index(shown[0])
    assert shown == lines[first : first + len(shown)]
    assert abs((120 - first) - (first + len(shown) - 1 - 120)) <= 1
    assert 380 < tokens <= 400


def test_the_first_short_answer_is_taken_and_what_is_dropped_is_told(tokenizer: Tokenizer) -> None:
    page = parse_row("row", _row(("Q?", ["May" * 60, "May"]), ("Q?", ["x" * 151]), ("Q?", [])))
    limits = Limits(tokenizer, 1000)
    made = [make_example(page, question, limits) for question in page.questions]
    assert made[0][0]["messages"][1]["content"] == "May"
    assert made[1:] == ["long_answer", "no_answer"]
    assert make_example(page, page.questions[0], Limits(tokenizer, 20)) == "too_long"
    room = len(tokenizer.render_conversation(made[0][0]["messages"], 10**6)[0])
    assert make_example(page, page.questions[0], Limits(tokenizer, room)) == made[0]
    assert make_example(page, page.questions[0], Limits(tokenizer, room - 1)) != made[0]


@pytest.fixture
def rows() -> Any:
    lines = [f"row of numbers {n}" for n in range(30)]
    rows = [_row((f"Number {n}?", [f"numbers {n % 40}"]), lines=lines) for n in range(100)]
    return [*rows, ROW, _row(("Q?", ["x" * 200]), ("Q?", None))]


def test_the_file_is_the_same_whatever_the_number_of_workers(
    tmp_path: Path, rows: Any, tokenizer: Tokenizer
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limits = Limits(tokenizer, 250)
    seen = []
    one = prepare_docvqa(str(source), "train", tmp_path / "1.jsonl", limits, 1, seen.append)
    two = prepare_docvqa(str(source), "train", tmp_path / "2.jsonl", limits, 2)
    assert one == two
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    assert seen[-1] == one.rows == 102
    assert (one.questions, one.kept) == (104, 102)
    assert one.dropped == {"no_answer": 1, "long_answer": 1, "too_long": 0}
    # "numbers 30" to "numbers 39" are not on the page, but resemble what is.
    assert one.matches == {"exact": 82, "fuzzy": 20, "none": 0}
    loaded = load_conversations(str(tmp_path / "1.jsonl"))
    lengths = [len(tokenizer.render_conversation(each, 10**6)[0]) for each in loaded]
    assert sum(lengths) == one.tokens
    assert max(lengths) <= 250
    assert [each[0]["content"].split()[-1] for each in loaded[:100]] == [
        f"{n}?" for n in range(100)
    ]


def test_parquet_in_and_out(tmp_path: Path, rows: Any, tokenizer: Tokenizer) -> None:
    rows = [{**row, "other_metadata": json.dumps(row["other_metadata"])} for row in rows]
    for row in rows:
        row["ocr_results"] = {
            "lines": [{"text": each["text"]} for each in row["ocr_results"]["lines"]]
        }
    (tmp_path / "in").mkdir()
    image = pa.array([b"png"] * len(rows))
    table = pa.Table.from_pylist(rows).append_column("image", image)
    pq.write_table(table, tmp_path / "in" / "validation.parquet")
    lines = tmp_path / "out.jsonl"
    parquet = tmp_path / "out.parquet"
    for path in (lines, parquet):
        prepare_docvqa(str(tmp_path / "in"), "val", path, Limits(tokenizer), 1)
    assert load_conversations(str(parquet)) == load_conversations(str(lines))
    table = pq.read_table(parquet)
    assert table.schema.field("page").type == pa.int32()
    assert table.select(["match", "page", "question_id", "document_id"]).to_pylist()[-1] == {
        "match": "exact",
        "page": 7,
        "question_id": "1",
        "document_id": "abcd0123",
    }


def test_bad_input_leaves_no_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = tmp_path / "rows.jsonl"
    limits = Limits(tokenizer)

    def prepare(out: str = "out.jsonl", workers: int = 1) -> None:
        prepare_docvqa(str(source), "train", tmp_path / out, limits, workers)

    source.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "ocr_results": None}) + "\n")
    for workers in (1, 2):
        with pytest.raises(NanochatError, match=r"rows\.jsonl, row 2: no ocr_results"):
            prepare(workers=workers)
    source.write_text(json.dumps(_row(("Q?", []))) + "\n")
    with pytest.raises(NanochatError, match=r"no conversations \(1 rows, 1 questions, dropped"):
        prepare()
    with pytest.raises(NanochatError, match=r"must end in \.jsonl or \.parquet"):
        prepare("out.csv")
    with pytest.raises(NanochatError, match="workers must be at least 1"):
        prepare(workers=0)
    with pytest.raises(NanochatError, match="max_tokens must be at least 2"):
        Limits(tokenizer, 1)
    with pytest.raises(NanochatError, match="max_answer_chars must be at least 1"):
        Limits(tokenizer, 10, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
