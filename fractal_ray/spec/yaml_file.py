"""The reader of a sweep's YAML file, which also validates it.

It reports all mistakes at once, one line each: the key, its value, and the allowed values.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from fractal_ray.errors import SweepError, nearest, reading
from fractal_ray.spec.nearby import no_spec_at
from fractal_ray.spec.shipped import shipped_spec
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.workloads import KINDS
from fractal_ray.spec.yaml_loader import DEEPEST, LONGEST_TEXT, parse_yaml
from fractal_ray.workloads.model import Model
from nanochat.errors import quoted, shortened
from nanochat.files.git_lfs import is_pointer, pointer_message

_MOST_PROBLEMS = 20


def load_spec(path: str | Path, overrides: Iterable[str] = ()) -> SweepSpec:
    """Read and validate a spec.

    Parameters
    ----------
    path
        The YAML file, or the name of a shipped spec where there is no such file.
    overrides
        ``"axes.x.max=0.1"``: dotted key, then a YAML value; applied in order before validation.

    Raises
    ------
    SweepError
        The message names every mistake, one per line.
    """
    file = Path(path)
    with reading(path):
        if not file.is_file():
            shipped = None if file.exists() else shipped_spec(path)
            if shipped is None:
                raise SweepError(no_spec_at(file))
            file = shipped
        if is_pointer(file):
            raise SweepError(pointer_message(file))
        with file.open(encoding="utf-8") as stream:
            text = stream.read(LONGEST_TEXT + 1)
    try:
        raw = parse_yaml(text)
    except yaml.YAMLError as error:
        raise SweepError(f"{file} is not valid YAML: {shortened(error)}") from error
    if not isinstance(raw, dict):
        raise SweepError(f"{file} must hold a mapping (name, workload, axes, stages, ...)")
    return parse_spec(raw, overrides, origin=str(file), context={"folder": str(file.parent)})


def parse_spec(
    raw: Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    origin: str = "spec",
    context: Mapping[str, Any] = MappingProxyType({}),
) -> SweepSpec:
    """Apply overrides to a mapping and validate it.

    Parameters
    ----------
    raw, overrides
        The mapping, and changes as in `load_spec`.
    origin
        Name of the mapping in messages.
    context
        Facts outside of the text (`WorkloadSection.context`): `folder`, the folder that paths of a
        workload `function` are relative to, and `function`, that of a notebook.

    Raises
    ------
    SweepError
        The message names every mistake, one per line.
    """
    with reading(origin):  # deep nesting, and numbers that no float holds
        changed = copy.deepcopy(dict(raw))
        for override in overrides:
            _apply(changed, override)
        try:
            return SweepSpec.model_validate(changed, context=dict(context))
        except ValidationError as error:
            # pydantic also counts a list as empty when none of its items is valid.
            problems = [p for p in error.errors() if not (p["type"] == "too_short" and p["input"])]
            lines = [f"  {_explain(problem)}" for problem in problems[:_MOST_PROBLEMS]]
            if more := problems[_MOST_PROBLEMS:]:
                lines.append(f"  and {len(more):,} more mistakes")
            raise SweepError("\n".join([f"{origin} is not a valid sweep:", *lines])) from error


def _apply(raw: dict[str, Any], override: str) -> None:
    key, sep, text = override.partition("=")
    if not sep:
        raise SweepError(
            f"--set takes key=value, for example axes.x.max=0.1; given {quoted(override)}"
        )
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise SweepError(
            f"--set {shortened(key)}: {quoted(text)} is not a valid YAML value: {shortened(error)}"
        ) from error
    *path, last = key.strip().split(".")
    key = shortened(key)
    if len(path) > DEEPEST:
        raise SweepError(f"--set {key}: {len(path)} keys below one another; at most {DEEPEST}")
    node: Any = raw
    for part in path:
        node = _child(node, part, key)
    if isinstance(node, list):
        node[_index(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise SweepError(f"--set {key}: there is nothing to set below a plain value")


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, key)]
    if not isinstance(node, dict):
        raise SweepError(f"--set {key}: there is nothing to set below a plain value")
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _index(node: list[Any], part: str, key: str) -> int:
    if part.isdecimal() and len(part) < 10 and int(part) < len(node):
        return int(part)
    raise SweepError(
        f"--set {key}: {quoted(part)} is not one of the list's places 0..{len(node) - 1}"
    )


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    # pydantic puts the workload's kind between its key and the keys below.
    spoken = location[:1] + location[2:] if location[:1] == ["workload"] else location
    where = shortened(".".join(spoken)) or "sweep"
    if problem["type"] == "union_tag_invalid":
        tag, kinds = problem["ctx"]["tag"], ", ".join(KINDS)
        return f"workload.kind: {quoted(tag)} is no workload{nearest(tag, KINDS)}; allowed: {kinds}"
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1])
        known = f"; allowed: {', '.join(sorted(allowed))}" if allowed else ""
        near = nearest(location[-1], allowed)
        if not near and len(location) == 3 and location[0] == "workload":
            place = KINDS[location[1]].place_of(location[-1])
            near = f"; did you mean workload.{place}?" if place else ""
        return f"{where}: unknown key{near}{known}"
    if problem["type"] == "missing" and location in (["axes", "x"], ["axes", "y"]):
        return f"{where}: missing; a sweep has two axes (for a function, seed may be one of them)"
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] == "model_type":
        keys = ", ".join(_keys_at(location))
        given = quoted(problem["input"])
        return f"{where}: takes a mapping{f' of {keys}' if keys else ''}; given {given}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "value_error":
        return message if message.startswith(("axes.", "stages.")) else f"{where}: {message}"
    return f"{where}: {message}; given {quoted(problem['input'])}"


def _keys_at(location: list[str]) -> list[str]:
    """Return the keys that the model at a place of the spec allows."""
    model: type[Model] = SweepSpec
    if location[:1] == ["workload"]:
        model, location = KINDS[location[1]], location[2:]
    schema: Any = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for part in location:
        schema = _resolve(schema, definitions)
        items = schema.get("items") if part.isdigit() else schema.get("properties", {}).get(part)
        if items is None:
            return []
        schema = items
    return list(_resolve(schema, definitions).get("properties", {}))


def _resolve(schema: Any, definitions: Any) -> Any:
    for option in [schema, *schema.get("anyOf", []), *schema.get("allOf", [])]:
        if "$ref" in option:
            return definitions[option["$ref"].rsplit("/", 1)[-1]]
    return schema
