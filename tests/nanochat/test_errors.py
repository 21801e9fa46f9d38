"""Names that users mean, values in messages, and errors of readers of files."""

import dataclasses
from typing import Any

import pytest

from nanochat.errors import NanochatError, nearest_name, quoted, reading, unknown_name
from nanochat.train.recipe import Recipe

FIELDS = [field.name for field in dataclasses.fields(Recipe)]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("bs", "device_batch_size"),
        ("batch_size", "device_batch_size"),
        ("epochs", "num_iterations"),
        ("steps", "num_iterations"),
        ("wd", "weight_decay"),
        ("random_seed", "seed"),
        ("warmup-steps", "warmup_frac"),
        ("tokens", "num_tokens"),
        ("precision", "dtype"),
        ("grad_checkpointing", "gradient_checkpointing"),
        ("learning_rat", "learning_rate"),
        ("matrix-lr", "matrix_lr"),
    ],
)
def test_a_name_of_another_program_or_a_misspelt_one(given: str, meant: str) -> None:
    assert nearest_name(given, FIELDS) == meant


def test_only_allowed_names_are_suggested() -> None:
    assert nearest_name("lr", ["eta0", "eta1", "eta"]) == "eta"
    assert nearest_name("lr", ["model", "preset", "out"]) is None
    assert nearest_name("--batch", ["--data", "--batch-size"]) == "--batch-size"


def test_an_unknown_setting_names_the_one_that_is_meant() -> None:
    assert "unknown setting 'lr'; did you mean 'learning_rate'?" in str(
        unknown_name("setting", "lr", FIELDS)
    )
    with pytest.raises(NanochatError, match="'wd'; did you mean 'weight_decay'"):
        Recipe.from_mapping({"wd": 0.1})


@pytest.mark.parametrize(
    "value",
    ["lr", 0.5, [1, 2], {"b": 1, "a": [None]}, ("x",), None, 10**20, b"ab"],
)
def test_a_short_value_is_quoted_as_it_is(value: Any) -> None:
    assert quoted(value) == repr(value)


def test_a_long_value_is_quoted_in_few_letters_and_never_written_out() -> None:
    bomb: Any = ["x"] * 9
    for _ in range(12):  # 9 ** 13 letters
        bomb = [bomb] * 9
    tower: Any = {}
    for _ in range(100_000):
        tower = {"a": tower}
    for value in (
        bomb,
        tower,
        "x" * 10**7,
        10**5000,
        {str(n): n for n in range(10**5)},
        b"y" * 10**6,
    ):
        assert len(quoted(value)) <= 400
    assert quoted(10**5000) == "<whole number of 16610 bits>"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(5, "Input/output error"), "file cannot be read: Input/output error; mend it"),
        (RecursionError(), "file is nested too deeply; mend it"),
        (MemoryError(), "file cannot be read: this machine has not enough free memory for it"),
        (OverflowError("int too large"), "file is damaged (int too large); mend it"),
        (
            UnicodeDecodeError("utf-8", b"\xe4", 0, 1, "x"),
            "file is not UTF-8 text (byte 0 is 0xe4)",
        ),
        (ValueError("x" * 10**6), "file is damaged (xxx"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_faults_of_a_users_file_are_one_line_with_its_name(fault: Exception, words: str) -> None:
    with pytest.raises(NanochatError) as refusal, reading("file", "; mend it"):
        raise fault
    assert str(refusal.value).startswith(words)
    assert len(str(refusal.value)) < 500


def test_bugs_and_our_own_errors_pass_the_reader_of_files() -> None:
    with pytest.raises(KeyError), reading("file"):
        raise KeyError("a bug")
    with pytest.raises(NanochatError, match=r"^as it was$"), reading("file"):
        raise NanochatError("as it was")
    looked_up = reading("file", also=(KeyError,))
    with pytest.raises(NanochatError, match=r"file is damaged \(no 'key'\)"), looked_up:
        raise KeyError("key")
