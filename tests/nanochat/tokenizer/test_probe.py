"""Panics of the libraries in Rust, and patterns that do not cover all text."""

import base64
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from nanochat.data.examples import tokenize_conversations
from nanochat.data.nested_shards import write_shards
from nanochat.errors import NanochatError
from nanochat.files.panics import is_panic, panics_as_errors
from nanochat.prepare.docvqa import Limits, _make_all
from nanochat.prepare.docvqa_rows import Page, Question
from nanochat.sharing.transformers_tokenizer import export_tokenizer, import_tokenizer
from nanochat.tokenizer.probe import PROBE
from nanochat.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

SPACES = "a" + " " * 1_200_000 + "b"  # tiktoken's and rustbpe's expressions run out of stack
STRETCH = "1,200,000 times spaces, from character 2"
GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}


def conversation(answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer}]


def test_a_panic_is_an_error_that_names_the_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(NanochatError) as caught:
        tokenizer.encode(SPACES)
    message = str(caught.value)
    assert "a text of 1,200,002 characters cannot be split into tokens" in message
    assert message.endswith(f"shorten its longest stretch of one kind: {STRETCH}")
    assert "\n" not in message
    assert caught.value.__cause__ is not None
    assert is_panic(caught.value.__cause__)


def test_training_names_the_text_that_panics(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NanochatError, match=r"^text 2, the longest of those read: a text of 1,200"):
        Tokenizer.train(["some text", SPACES, "more"], 265)
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize("backtrace", ["0", "1"])
def test_rust_prints_no_panic_that_becomes_an_error(backtrace: str) -> None:
    code = (
        "import os, sys, threading; from nanochat.tokenizer.tokenizer import Tokenizer\n"
        "from nanochat.errors import NanochatError\n"
        "tokenizer = Tokenizer.train(['one two three', 'two four'] * 20, 275)\n"
        "def encode():\n"
        "    try: tokenizer.encode('a' + ' ' * 1_200_000 + 'b')\n"
        "    except NanochatError: sys.stderr.write('one line\\n')\n"
        "threads = [threading.Thread(target=encode) for _ in range(3)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]; encode()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RUST_BACKTRACE": backtrace},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.stderr == "one line\n" * 4


def test_other_lines_on_standard_error_stay(capfd: pytest.CaptureFixture[str]) -> None:
    panic = "\nthread '<unnamed>' (7) panicked at src/lib.rs:9:2:\nbad text\nof two lines\n"

    class PanicException(BaseException):
        """Class with the name and the module of a panic."""

    PanicException.__module__ = "pyo3_runtime"
    texts = ["before\n", panic, "note: run with `RUST_BACKTRACE=1` to see it\n", "after\n"]
    with pytest.raises(NanochatError, match=r"^bad text$"), panics_as_errors(str):
        with panics_as_errors(str):
            os.write(2, b"inner\n")
        for text in texts:
            os.write(2, text.encode())
        raise PanicException("bad text\nof two lines")
    assert capfd.readouterr().err == "inner\nbefore\nafter\n"
    with panics_as_errors(str):
        os.write(2, panic.encode())
    assert capfd.readouterr().err == panic, "no error has told of it"


def test_the_row_of_a_panic_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [conversation("yes"), [{"role": "system", "content": "x"}, *conversation(SPACES)]]
    with pytest.raises(NanochatError, match=r"^conversation 2: message 3: a text of 1,200,002 "):
        tokenize_conversations(rows, tokenizer, 64)
    with pytest.raises(NanochatError, match=r"^my\.jsonl, conversation 2: message 3: a text of "):
        write_shards(rows, tokenizer, [1000], tmp_path, 64, source="my.jsonl")
    page = Page((SPACES,), (Question("what?", ("a",), "q9"),), 4, "d7")
    with pytest.raises(NanochatError, match=r"^document d7, page 4, question q9: message 1: a te"):
        _make_all(Limits(tokenizer), [page])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, OSError])
def test_nothing_but_a_panic_is_turned(error: type[BaseException]) -> None:
    with pytest.raises(error), panics_as_errors(lambda reason: reason):
        raise error


def test_the_probe_has_every_category_of_characters() -> None:
    categories = {unicodedata.category(letter) for letter in PROBE}
    # Surrogates are no text.
    known = {unicodedata.category(chr(code)) for code in range(0x20000)} - {"Cs"}
    assert categories == known


def bare(pattern: Any) -> dict[str, Any]:
    """The content of a tokenizer.json of 256 bytes and the special tokens."""
    return {
        "pattern": pattern,
        "tokens_base64": [base64.b64encode(bytes([byte])).decode() for byte in range(256)],
        "special_tokens": {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)},
    }


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (None, "the pattern must be text, not None$"),
        ("", "the pattern must be text, not ''$"),
        (3, "the pattern must be text, not 3$"),
        ("a*", "its pattern cannot split text: "),  # it matches nothing at all, too
        (r"(.*)*\1x", "its pattern "),
        ("(", "tokenizer: .*"),
        ("None", r"does not cover all text: of .* characters 0 come back .*, and '\\n' is"),
        (r"\S+| |\r|\n", r"does not cover all text: .*, and '\\t' is the first that is lost"),
        (r"\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}\p{So}]+", "does not cover all text: .*; take a sound"),
        (r"\S+|\s+(?=\S)", "does not cover all text: "),  # the spaces at the end
    ],
)
def test_patterns_that_do_not_cover_all_text_are_refused(
    tmp_path: Path, pattern: Any, message: str
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(bare(pattern)))
    with pytest.raises(NanochatError, match=rf"tokenizer\.json is not .*{message}") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?s:.)",
        r"\s+|\S+",
        # Those of GPT-2 and of o200k_base.
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
    ],
)
def test_patterns_that_cover_all_text_are_taken(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(bare(pattern)))
    assert Tokenizer.load(tmp_path).pattern == pattern


def without_a_byte(content: dict[str, Any]) -> None:
    content["tokens_base64"][65] = base64.b64encode(b"AB").decode()


def with_other_letters(content: dict[str, Any]) -> None:
    content["tokens_base64"][65] = "QQ=*="  # without a check the star is passed over


def with_a_fraction_as_an_id(content: dict[str, Any]) -> None:
    content["special_tokens"]["<|bos|>"] = 256.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_byte, "no token for the byte 0x41"),
        (with_other_letters, r"Only base64 data|Non-base64|[Ii]nvalid|padding"),
        (with_a_fraction_as_an_id, "ids are not 0 to 264, each once"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = bare(r"(?s:.)")
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(NanochatError, match=message):
        Tokenizer.load(tmp_path)


def test_deep_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(NanochatError, match=r"tokenizer\.json is not a tokenizer: maximum recurs"):
        Tokenizer.load(tmp_path)


def test_a_pattern_of_transformers_that_is_no_text_is_refused(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    export_tokenizer(tokenizer, tmp_path, 128)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = None
    path.write_text(json.dumps(content))
    with pytest.raises(NanochatError, match="the pattern must be text, not None"):
        import_tokenizer(tmp_path)


def test_a_pattern_that_transformers_cannot_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(bare(r"(?s:.)")))
    tokenizer = Tokenizer.load(tmp_path)
    tokenizer.pattern = "("
    with pytest.raises(NanochatError, match="cannot be written in the format of transformers: "):
        export_tokenizer(tokenizer, tmp_path, 128)


def test_panics_of_tiktoken_are_recognised() -> None:
    """The class has no name that could be imported."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("x", pat_str="a*", mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(BaseException, match="range end index") as caught:
        encoding.encode_ordinary("b")
    assert is_panic(caught.value)
    assert not isinstance(caught.value, Exception)
