"""The YAML of specs: YAML 1.1 without the forms that are read otherwise than they look.

A key that stands twice in a mapping is refused, and so is a number that is not plain decimal:
octal (``010``), hexadecimal, binary and base 60 (``1:00``). ``1e-6`` and ``.5`` are numbers.
"""

import re
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

_DECIMAL = re.compile(r"[-+]?(0|[1-9][\d_]*)")
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """The loader of specs."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, and refuse a key that stands twice in it.

        Keys that `<<` merges in may be overridden: they are added to the node later.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            first = lines.get((key.tag, key.value))
            if first is not None:
                where = f"line {line}" if first == line else f"lines {first} and {line}"
                raise ComposerError(
                    None, None, f"the key {key.value!r} stands twice, in {where}; keep one of them"
                )
            lines[key.tag, key.value] = line
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Construct an integer that is written as a plain decimal number."""
        text = node.value
        if not _DECIMAL.fullmatch(text):
            raise _not_decimal(node, _integer_values(text))
        return int(text.replace("_", ""))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Construct a float that is not written in base 60."""
        if ":" in node.value:
            raise _not_decimal(node, [f"{_base_60(node.value):g}"])
        return super().construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
# Numbers of an exponent without a point, as everybody writes a learning rate.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
# YAML 1.1 takes 08 and 0o17 for text, which pydantic would then read as numbers.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?0(\d+|o[0-7]+)$"), list("-+0")
)


def parse_yaml(text: str) -> Any:
    """Parse YAML text.

    Raises
    ------
    yaml.YAMLError
        For text that is not YAML, a key that stands twice in a mapping, and a number that is not
        plain decimal. The message names the lines.
    """
    return yaml.load(text, Loader=_Loader)


def _not_decimal(node: yaml.ScalarNode, values: list[str]) -> ConstructorError:
    return ConstructorError(
        None,
        None,
        f"{node.value} in line {node.start_mark.line + 1} is not a plain decimal number;"
        f" write {' or '.join(values)}, or {node.value!r} in quotes where text is meant",
    )


def _integer_values(text: str) -> list[str]:
    """Return the decimal numbers that an integer in another notation may stand for."""
    sign = "-" if text.startswith("-") else ""
    digits = text.lstrip("+-").replace("_", "")
    if ":" in digits:
        return [f"{sign}{_base_60(digits):g}"]
    if digits[:2] in ("0x", "0b", "0o"):
        return [f"{sign}{int(digits, 0)}"]
    values = [int(digits, 8)] if set(digits) <= set("01234567") else []
    return [f"{sign}{value}" for value in dict.fromkeys([*values, int(digits)])]


def _base_60(text: str) -> float:
    """Return the value of a number in base 60, such as 1:00:00 (3,600)."""
    sign = -1 if text.startswith("-") else 1
    value = 0.0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        value = 60 * value + float(part)
    return sign * value
