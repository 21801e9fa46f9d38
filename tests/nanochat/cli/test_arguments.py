"""Spellings of a command line."""

from typing import Any

import pytest

from nanochat.cli.arguments import normalise


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["finetune", "--num_tokens=5e5"], ["finetune", "--num-tokens=5e5"]),
        (["--num_tokens", "5e5"], ["--num-tokens", "5e5"]),
        (["--model_step", "7", "--model-tag=d_2"], ["--model-step", "7", "--model-tag=d_2"]),
        (["--deterministic=False"], ["--no-deterministic"]),
        (["--deterministic", "FALSE", "--x"], ["--no-deterministic", "--x"]),
        (["--debug", "True"], ["--debug"]),
        (["--debug"], ["--debug"]),
        (["--data="], ["--data="]),
        (["--run=true", "--run", "False"], ["--run=true", "--run", "False"]),
        (["--data=a=b_c"], ["--data=a=b_c"]),
        (["--matrix_lr", "-1"], ["--matrix-lr", "-1"]),
        (["a_b", "-x", "--", "--c_d=True"], ["a_b", "-x", "--", "--c_d=True"]),
        (["--budgets", "1", "2", "--out", "f"], ["--budgets", "1", "--budgets", "2", "--out", "f"]),
        (["--budgets=1", "2"], ["--budgets", "1", "--budgets", "2"]),
        (["--budgets"], ["--budgets"]),
    ],
)
def test_spellings(given: Any, expected: Any) -> None:
    flags = ("--deterministic", "--debug")
    assert normalise(given, flags, ("--budgets",)) == expected


def test_what_is_normal_stays() -> None:
    normal = ["data", "shards", "--budgets", "1", "--budgets", "2", "--no-x", "--y=z"]
    given = (("--x",), ("--budgets",))
    assert normalise(normalise(normal, *given), *given) == normal
