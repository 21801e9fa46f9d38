"""The local modules that a module needs, found by reading: nothing is imported.

A local module is one outside of the standard library and of site-packages.
"""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from typing import Any, Final

from fractal_ray.errors import SweepError

_OURS: Final = ("fractal_ray", "nanochat")
_INSTALLED: Final = ("site-packages", "dist-packages")


def is_local(path: str | None) -> bool:
    """Return True for the path of a module of the user's own."""
    return path is not None and Path(path).is_absolute() and not is_installed(path)


def module_roots(source_file_folder: str, folder: str) -> list[str]:
    """Return the folders in which the local modules of a function are searched."""
    return search_path([source_file_folder, absolute(folder or ".")])


def absolute(path: str | Path) -> str:
    """Return an absolute path without "..", with links as they are."""
    return os.path.normpath(Path(path).absolute())


def parent(path: str) -> str:
    return str(Path(path).parent)


def module_name(stem: str) -> str:
    """Return the name under which a file is imported: its stem, if no other module has it."""
    plain = "".join(each if each.isalnum() else "_" for each in stem)
    taken = plain in sys.stdlib_module_names or plain in _OURS or not plain.isidentifier()
    return f"function_{plain}" if taken else plain


def search_path(first: Iterable[str]) -> list[str]:
    """Return the folders of local modules: `first`, then those of the search path of Python."""
    others = (absolute(each or ".") for each in sys.path)
    paths = [*first, *(each for each in others if Path(each).is_dir())]
    return [each for each in dict.fromkeys(paths) if not is_installed(each)]


def is_installed(path: str) -> bool:
    """Return True for the standard library, site-packages, and the packages of this project."""
    if any(each in _INSTALLED for each in Path(path).parts):
        return True
    ours = (str(Path(__file__).parents[3] / name) for name in _OURS)
    homes = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *ours)
    return any(path == home or path.startswith(home + os.sep) for home in homes)


def local_modules(
    names: Mapping[str, str | None], roots: list[str]
) -> tuple[dict[str, str], set[str]]:
    """Return the files of local modules and of all that they import, and the other names.

    Parameters
    ----------
    names
        Files of modules by dotted name; None to search for it.
    roots
        Folders in which local modules are searched.
    """
    found: dict[str, str] = {}
    imported: set[str] = set()
    waiting = [each for name in names for each in _with_parents(name)]
    while waiting:
        dotted = waiting.pop()
        top = dotted.partition(".")[0]
        if dotted in found or top in _OURS or top in sys.stdlib_module_names:
            continue
        origin = names.get(dotted) or file_of(dotted, roots)
        if origin is None or is_installed(origin):
            imported.add(top)
            continue
        found[dotted] = origin
        waiting.extend(_imports(dotted, origin))
    tops = {dotted.partition(".")[0] for dotted in found}
    return {n: path for n, path in found.items() if not Path(path).is_dir()}, imported - tops


def _imports(name: str, path: str) -> Iterator[str]:
    """Yield the dotted names that a module imports anywhere, also in its functions."""
    if not path.endswith(".py"):
        return
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except (SyntaxError, ValueError) as error:
        raise SweepError(f"{path} is not valid Python: {error}") from error
    package = name if path.endswith(f"{os.sep}__init__.py") else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*above, *([node.module] if node.module else [])] if node.level else []
            origin = ".".join(parts) if node.level else str(node.module)
            yield from _with_parents(origin)
            yield from (f"{origin}.{alias.name}" for alias in node.names if origin)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            yield from _with_parents(node.args[0].value)


def _with_parents(dotted: str) -> Iterator[str]:
    parts = [part for part in dotted.split(".") if part]
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def file_of(dotted: str, roots: Iterable[str]) -> str | None:
    """Return the file of a local module, the folder of a namespace package, or None."""
    folders, parts = list(roots), dotted.split(".")
    for index, part in enumerate(parts):
        namespaces = []
        for folder in folders:
            base = str(Path(folder, part))
            if (origin := _regular(base)) is not None:
                break
            if Path(base).is_dir():
                namespaces.append(base)
        else:
            origin = None
        if origin is None and index == 0 and namespaces and PathFinder.find_spec(part) is not None:
            spec = PathFinder.find_spec(part)
            if spec is not None and spec.origin is not None:
                return None  # an installed package, beside a folder of data with its name
        if index == len(parts) - 1:
            return origin if origin is not None else next(iter(namespaces), None)
        if origin is None:
            folders = namespaces
        elif origin.endswith("__init__.py"):
            folders = [parent(origin)]
        else:
            return None
    return None


def _regular(base: str) -> str | None:
    """Return the file of a package or of a module, given its path without an ending."""
    candidates = [str(Path(base, "__init__.py")), f"{base}.py"]
    candidates += [f"{base}{suffix}" for suffix in EXTENSION_SUFFIXES]
    return next((each for each in candidates if Path(each).is_file()), None)


def installed_file(dotted: str) -> str | None:
    """Return the file of an installed module, without importing its package."""
    path: Any = None
    origin = None
    for name in _with_parents(dotted):
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
    return origin
