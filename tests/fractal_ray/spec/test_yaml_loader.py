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


def bomb(first: str, levels: int = 9) -> list[str]:
    """Return lines of nested aliases; the last anchor stands for 9 ** levels times the first."""
    aliases = ",".join(["*a{}"] * 9)
    return [f"a0: &a0 {first}"] + [
        f"a{n}: &a{n} [{aliases.replace('{}', str(n - 1))}]" for n in range(1, levels + 1)
    ]


SPEC = """
name: base
workload: {kind: map, set: weierstrass}
axes:
  x: {param: x, scale: linear, min: 0, max: 1}
  y: {param: y, scale: linear, min: -2, max: 2}
stages:
  - grid: {points: 9}
resources: {cpu: 1}
"""
LONG = "9" * 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n".join([*bomb("[x,x]"), SPEC]), "with every alias replaced; at most 20,000 values"),
        ("\n".join([*bomb("{k: v}"), SPEC]), "with every alias replaced; at most 20,000 values"),
        (f"a: &a {'x' * 200_000}\nb: [*a, *a, *a, *a, *a]", "of 1,000,00"),
        ("{a: &p {b: [*p]}}", "the alias in line 1 stands inside the value that it repeats"),
        (f"{SPEC}extra: {'[' * 500}{']' * 500}", "stand more than 50 deep in line 10"),
        (SPEC + "x" * 1_000_000, "at most 1,000,000"),
        (SPEC.replace("points: 9", "points: 2024-13-45"), "'2024-13-45' in line 8 is no timestamp"),
        (SPEC.replace("points: 9", "points: 2024-01-01 25:61:61"), "is no timestamp"),
        (SPEC.replace("points: 9", 'points: !!bool "maybe"'), "'maybe' in line 8 is no bool"),
        (SPEC.replace("points: 9", 'points: !!float "abc"'), "'abc' in line 8 is no float"),
        (SPEC.replace("points: 9", 'points: !!int ""'), "line 8"),
        (SPEC.replace("points: 9", 'points: !!int "abc"'), "line 8"),
        (SPEC.replace("points: 9", 'points: !!timestamp "x"'), "'x' in line 8 is no timestamp"),
        (SPEC.replace("points: 9", f"points: {'9' * 5000}"), "in line 8 is no int"),
        (SPEC.replace("points: 9", f"points: {LONG}"), "points along a side"),
        (
            SPEC.replace("weierstrass}", f"weierstrass, parameters: {{stretch_x: {LONG}}}}}"),
            "below 2^53; given <",
        ),
        (SPEC + "".join(f"k{n}: {n}\n" for n in range(500)), "and 480 more mistakes"),
        (SPEC.replace("  - grid: {points: 9}", "  - grid: {points: 9}\n" * 300), "stages"),
    ],
    ids=lambda value: value[-30:],
)
def test_a_file_that_no_person_writes_is_refused_in_few_words(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(SweepError) as refusal:
        load_spec(file)
    message = str(refusal.value)
    assert words in message
    assert len(message) < 5000


@pytest.mark.parametrize("low", ["-1.7e308", "5e-324"])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_an_axis_over_all_floats_is_accepted_or_refused_in_words(low: str, scale: str) -> None:
    axis = f"scale: {scale}, min: {low}, max: 1.7e308"
    try:
        parse_spec(parse_yaml(SPEC.replace("scale: linear, min: 0, max: 1", axis)))
    except SweepError as refusal:
        assert "axes.x" in str(refusal)


@pytest.mark.parametrize(
    "setting",
    [
        "name=" + "[" * 1000,
        "name=" + "x" * 10**5,
        ".".join(["a"] * 1000) + "=1",
        "stages." + "9" * 5000 + ".grid=1",
        "stages.0.grid.points=!!bool x",
        "x" * 10**6,
        "y" * 10**5 + "=1",
        "axes.x.min=" + "9" * 400,
        "name={a: &a [*a]}",
        "name={" + "a: {" * 40 + "}" * 41,
    ],
    ids=lambda setting: setting[:20],
)
def test_a_setting_that_no_person_writes_is_refused_in_few_words(setting: str) -> None:
    with pytest.raises(SweepError) as refusal:
        parse_spec(parse_yaml(SPEC), [setting])
    assert len(str(refusal.value)) < 3000


def test_deep_nesting_in_a_stored_spec_is_refused() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(SweepError, match="origin is nested too deeply"):
        parse_spec({**parse_yaml(SPEC), "name": deep}, origin="origin")
