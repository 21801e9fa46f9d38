"""The YAML of specs: keys that stand twice, and numbers that are not plain decimal."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.spec.yaml_loader import parse_yaml
from tests.fractal_ray.conftest import raw_spec


@pytest.mark.parametrize(
    ("text", "key", "where"),
    [
        ("a: 1\nb: 2\na: 3", "a", "lines 1 and 3"),
        ("{a: 1, a: 2}", "a", "line 1"),
        ("x:\n  y:\n    z: 1\n    z: 1", "z", "lines 3 and 4"),
        ("- b: 1\n  c: {d: 1,\n   d: 2}", "d", "lines 2 and 3"),
        ("a: 1\n'a': 2", "a", "lines 1 and 2"),
        ("base: &base {p: 1}\nuse:\n  <<: *base\n  q: 1\n  q: 2", "q", "lines 4 and 5"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_lines(text: str, key: str, where: str) -> None:
    with pytest.raises(yaml.YAMLError, match=f"the key '{key}' stands twice, in {where};"):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("base: &b {p: 1, q: 2}\nuse: {<<: *b, p: 3}", {"use": {"p": 3, "q": 2}}),
        ("a: {b: &b {<<: {p: 1}, p: 2}}\nuse: {<<: *b, p: 4}", {"use": {"p": 4}}),
        ("base: &b {p: 1}\nc: &c {q: 2}\nuse: {<<: [*b, *c], q: 3}", {"use": {"p": 1, "q": 3}}),
        ("use:\n  - {a: 1}\n  - {a: 2}", {"use": [{"a": 1}, {"a": 2}]}),
    ],
)
def test_merged_keys_and_keys_of_other_mappings_are_no_repeats(text: str, value: Any) -> None:
    assert parse_yaml(text)["use"] == value["use"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4_000", 4000),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5e5", 500000.0),
        ("0", 0),
        ("-12", -12),
        ("0.25", 0.25),
        ("+3", 3),
        ("1_0.5", 10.5),
        ("'010'", "010"),
        ("a1:00", "a1:00"),
    ],
)
def test_plain_decimal_numbers_and_text_stay(text: str, value: Any) -> None:
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("010", "8 or 10"),
        ("-010", "-8 or -10"),
        ("08", "8"),
        ("007", "7"),
        ("0x10", "16"),
        ("0o17", "15"),
        ("0b11", "3"),
        ("1:00", "60"),
        ("1:00:00", "3600"),
        ("1:00.5", "60.5"),
    ],
)
def test_other_notations_are_refused_with_the_decimal_form(text: str, decimal: str) -> None:
    with pytest.raises(yaml.YAMLError, match=rf"{text} in line 2 .*; write {decimal}, or '{text}'"):
        parse_yaml(f"a: 1\nb: {text}")
    with pytest.raises(SweepError, match=f"--set label.window: .*write {decimal}, or"):
        parse_spec(raw_spec(), [f"label.window={text}"])


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_as_it_is(number: float) -> None:
    assert parse_yaml(f"a: {number!r}") == {"a": number}


@pytest.mark.parametrize("boolean", ["true", "on", "no"])
@pytest.mark.parametrize(
    "key",
    [
        "stages.0.grid.points",
        "label.window",
        "label.threshold",
        "resources.cpu",
        "axes.x.min",
        "workload.data.limit",
        "resources.points_per_trial",
    ],
)
def test_a_boolean_is_no_number(key: str, boolean: str) -> None:
    with pytest.raises(SweepError, match=rf"{key}: takes a number, not true or false"):
        parse_spec(raw_spec(), [f"{key}={boolean}"])
    in_list = [f"stages.0.grid.points=[4, {boolean}]"]
    with pytest.raises(SweepError, match="takes a number"):
        parse_spec(raw_spec(), in_list)


def test_a_file_with_a_repeated_key_names_file_and_lines(tmp_path: Path) -> None:
    text = Path("sweeps/quickstart.yaml").read_text()
    file = tmp_path / "twice.yaml"
    file.write_text(text + "\nname: other\n")
    with pytest.raises(SweepError, match=r"twice\.yaml .*the key 'name' stands twice, in lines"):
        load_spec(file)
