"""The YAML of specs: YAML 1.1 without the forms that are read otherwise than they look.

A key that stands twice in a mapping is refused, and so is a number that is not plain decimal:
octal (``010``), hexadecimal, binary and base 60 (``1:00``). ``1e-6`` and ``.5`` are numbers.

A text is limited in its length, its depth, and in what it becomes when every alias is replaced by
its value: a few hundred bytes of aliases can stand for gigabytes.
"""

import re
from typing import Any, Final

import yaml
from yaml.composer import ComposerError

from nanochat.errors import quoted, shortened

LONGEST_TEXT: Final = 1_000_000
"""Largest number of characters of a spec, also with every alias replaced by its value."""
MOST_VALUES: Final = 20_000
"""Largest number of values in a spec, counted in the same way."""
DEEPEST: Final = 50
"""Largest depth to which lists and mappings may be nested."""

_DECIMAL = re.compile(r"[-+]?(0|[1-9][\d_]*)")
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """The loader of specs."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, tuple[int, int]] = {}  # values and characters of complete nodes

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a value, and refuse one that is too deep, too large, or inside itself."""
        line, is_alias = self.peek_event().start_mark.line + 1, self.check_event(yaml.AliasEvent)
        if self._depth >= DEEPEST:
            raise _refusal(f"lists and mappings stand more than {DEEPEST} deep in line {line}")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _refusal(f"the alias in line {line} stands inside the value that it repeats")
        if not is_alias:
            values, letters = self._sizes[id(node)] = self._size(node)
            if values > MOST_VALUES or letters > LONGEST_TEXT:
                raise _refusal(
                    f"{values:,} values of {letters:,} characters in line {line}, with every alias"
                    f" replaced; at most {MOST_VALUES:,} values of {LONGEST_TEXT:,} characters"
                )
        return node

    def _size(self, node: Any) -> tuple[int, int]:
        """Return the values and characters of a node, with its aliases replaced."""
        if isinstance(node, yaml.ScalarNode):
            return 1, len(node.value)
        pairs = isinstance(node, yaml.MappingNode)
        below = [each for pair in node.value for each in pair] if pairs else node.value
        sizes = [self._sizes[id(each)] for each in below]
        return 1 + sum(values for values, _ in sizes), sum(letters for _, letters in sizes)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Construct a value, and refuse a scalar that is none of its tag."""
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep)
        try:
            return super().construct_object(node, deep)
        # PyYAML's own constructors assume that the text fits the tag.
        except (ValueError, LookupError, AttributeError, OverflowError) as error:
            line, kind = node.start_mark.line + 1, node.tag.rpartition(":")[2]
            raise _refusal(f"{quoted(node.value)} in line {line} is no {kind}") from error

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
                raise _refusal(
                    f"the key {quoted(key.value)} stands twice, in {where}; keep one of them"
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
        For text that is not YAML or is too large, a key that stands twice in a mapping, and a
        number that is not plain decimal. The message names the lines.
    """
    if len(text) > LONGEST_TEXT:
        raise _refusal(f"{len(text):,} characters; at most {LONGEST_TEXT:,}")
    return yaml.load(text, Loader=_Loader)


def _refusal(message: str) -> ComposerError:
    return ComposerError(None, None, message)


def _not_decimal(node: yaml.ScalarNode, values: list[str]) -> ComposerError:
    return _refusal(
        f"{shortened(node.value)} in line {node.start_mark.line + 1} is not a plain decimal number;"
        f" write {' or '.join(values)}, or {quoted(node.value)} in quotes where text is meant"
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
