"""A function that is defined in a notebook: its source, its closure, and the globals it reads.

They are its identity. Local modules that it uses are files of its source, like those of a function
in a file.
"""

import ast
import dis
import functools
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from fractal_ray.errors import SweepError
from fractal_ray.workloads.function.content import add_content
from fractal_ray.workloads.function.modules import is_local
from fractal_ray.workloads.function.settings import NOTEBOOK
from fractal_ray.workloads.function.source import Source, read_modules
from nanochat.errors import quoted, shortened

Parts = dict[str, dict[str, str | None]]
"""Digest and text of each part of a function, by the name that messages use."""
_LONGEST: Final = 2000


def place_of(function: Any) -> tuple[str, str] | None:
    """Return `call` and the folder of its spec for a function of a module; None for others.

    Others are functions of a notebook or of the script that runs, nested functions, lambdas, and
    functions that their module knows under another name.
    """
    module, name = inspect.getmodule(function), getattr(function, "__qualname__", "")
    if module is None or module.__name__ == NOTEBOOK or getattr(module, name, None) is not function:
        return None
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        return None
    if "." not in module.__name__ and is_local(str(Path(file).absolute())):
        return f"{Path(file).name}:{name}", str(Path(file).absolute().parent)
    depth = module.__name__.count(".") + (Path(file).name == "__init__.py")
    return f"{module.__name__}:{name}", str(Path(file).absolute().parents[depth])


def notebook_source(function: Any, folder: str, inputs: tuple[str, ...]) -> Source:
    """Return the source of a function of a notebook.

    Parameters
    ----------
    function
        The function.
    folder
        Folder that `inputs` are relative to.
    inputs
        Declared data files.

    Raises
    ------
    SweepError
        If the text of the function is not known.
    """
    parts: Parts = {}
    modules: set[str] = set()
    _add(function, f"source of {_name(function)}", parts, modules)
    if "shared" in inspect.signature(function).parameters:
        prepare = _globals(function).get("prepare")
        if prepare is not None:
            _add(prepare, "source of prepare", parts, modules)
    if (batch := getattr(function, "batch", None)) is not None:
        _add(batch, f"source of {_name(function)}.batch", parts, modules)
    return read_modules(NOTEBOOK, _name(function), sorted(modules), folder, inputs, parts)


def unpicklable(function: Any, dumps: Callable[[Any], bytes]) -> str:
    """Return the name of what a function holds that cannot be sent to workers; "" without one."""
    for kind, name, value in _held(function):
        try:
            dumps(value)
        except Exception as error:
            return f"{kind} {name}, {quoted(value)}: {shortened(error)}"
    return ""


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _globals(function: Any) -> Mapping[str, Any]:
    return getattr(inspect.unwrap(function), "__globals__", {})


def _add(value: Any, name: str, parts: Parts, modules: set[str]) -> None:
    """Add a function or a class with all that it uses."""
    if name in parts:
        return
    if isinstance(value, functools.partial):
        parts[name] = _data((value.args, value.keywords))
        _add(value.func, f"source of {_name(value.func)}", parts, modules)
        return
    if inspect.isclass(value):
        _add_class(value, name, parts, modules)
        return
    try:
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError) as error:
        raise SweepError(
            f"{name} is not known: {shortened(error)}. Define the function in a cell of the"
            " notebook or in a file"
        ) from error
    parts[name] = _text_part(text)
    for kind, inner, held in _held(value):
        _add_held(kind, inner, held, parts, modules)


def _add_class(value: type, name: str, parts: Parts, modules: set[str]) -> None:
    """Add a class with its bases; without methods its attributes are its text."""
    methods = [each for each in vars(value).values() if isinstance(each, FunctionType)]
    texts = [text for method in methods if (text := _class_text(value, method))]
    plain = {key: each for key, each in vars(value).items() if not key.startswith("__")}
    parts[name] = _text_part(texts[0]) if texts else _data(plain)
    for base in value.__bases__:
        if base is not object:
            _add_held("base", base.__name__, base, parts, modules)
    for method in methods:
        for kind, inner, held in _held(method):
            if held is not value:
                _add_held(kind, inner, held, parts, modules)


def _class_text(value: type, method: FunctionType) -> str:
    """Return the text of a class around one of its methods; `inspect` looks into files only."""
    lines = linecache.getlines(method.__code__.co_filename)
    if not lines:
        return ""
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.ClassDef) and node.name == value.__name__:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first <= method.__code__.co_firstlineno <= (node.end_lineno or 0):
                return textwrap.dedent("".join(lines[first - 1 : node.end_lineno]))
    return ""


def _text_part(text: str) -> dict[str, str | None]:
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "text": text}


def _add_held(kind: str, name: str, value: Any, parts: Parts, modules: set[str]) -> None:
    if isinstance(value, ModuleType):
        modules.add(value.__name__)
        return
    if isinstance(value, FunctionType) or inspect.isclass(value):
        module = inspect.getmodule(value)
        if module is not None and module.__name__ != NOTEBOOK and _is_found(value, module):
            modules.add(module.__name__)
        else:
            _add(value, f"source of {_name(value)}", parts, modules)
        return
    if f"{kind} {name}" not in parts:
        parts[f"{kind} {name}"] = _data(value)


def _is_found(value: Any, module: ModuleType) -> bool:
    return getattr(module, _name(value), None) is value


def _data(value: Any) -> dict[str, str | None]:
    digest = hashlib.sha256()
    add_content(digest, value)
    return {"digest": digest.hexdigest(), "text": repr(value)[:_LONGEST]}


def _held(function: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield kind, name and value of what a function reads: globals, closure, defaults."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return
    space = function.__globals__
    for name in sorted(_names(code)):
        if name in space:
            yield "global", name, space[name]
            if isinstance(space[name], ModuleType):  # `package.module` is read by attribute
                yield from _submodules(space[name], code)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
        if content is not function:
            yield "closure", name, content
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not parameter.empty:
            yield "default", name, parameter.default
    for name in sorted(_imported(code)):
        module = _module(name)
        if module is not None:
            yield "import", name, module


def _names(code: CodeType) -> set[str]:
    """Return all names that a code object and the code inside it look up."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _submodules(package: ModuleType, code: CodeType) -> Iterator[tuple[str, str, Any]]:
    for name in sorted(_names(code)):
        inner = vars(package).get(name)
        if isinstance(inner, ModuleType) and is_local(vars(inner).get("__file__")):
            yield "global", name, inner


def _imported(code: CodeType) -> set[str]:
    """Return the names of modules that a function imports when it runs."""
    names = {
        str(each.argval) for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME"
    }
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return names.union(*map(_imported, inner))


def _module(name: str) -> ModuleType | None:
    """Return a stand-in for a module that a function imports later."""
    return ModuleType(name) if name else None
