"""The source of a function: its module, the local modules that this imports, and data files.

Everything is found by reading, nothing is imported. A local module is one outside of the standard
library and of site-packages.
"""

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from typing import Any, Final

from fractal_ray.errors import SweepError
from nanochat.errors import quoted

_OURS: Final = ("fractal_ray", "nanochat")
_INSTALLED: Final = ("site-packages", "dist-packages")
_MOST_BYTES: Final = 1 << 30
_OUTSIDE: Final = "_path"
"""Folder, in a copy of the source, for modules that are not below the folder of the spec."""


@dataclass(frozen=True)
class Source:
    """Files of a function, as they were when the sweep was started; plain and picklable.

    Parameters
    ----------
    module, function
        Name under which the module is imported, and name of the function in it.
    main
        Path of the module's file in `files`; None for a module that is installed.
    files
        Content of all local modules and data files, by path relative to the base folder.
    modules
        Path in `files` of each local module, by its dotted name.
    search
        Folders, relative to the base folder, in which imports are found; the first comes first.
    folder
        Folder of the spec relative to the base folder: the current one during a call.
    elsewhere
        Digests of declared files with absolute paths, which every worker has to see.
    imported
        Names of installed packages that the local modules import.
    """

    module: str
    function: str
    main: str | None
    files: Mapping[str, bytes] = field(repr=False)
    modules: Mapping[str, str]
    search: tuple[str, ...]
    folder: str
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    imported: tuple[str, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file by the name that messages use."""
        modules = set(self.modules.values())
        named = {
            f"{'module' if path in modules else 'file'} {path}": hashlib.sha256(content).hexdigest()
            for path, content in self.files.items()
        }
        return {**named, **{f"file {path}": digest for path, digest in self.elsewhere.items()}}

    @property
    def digest(self) -> str:
        """Return one digest of the files and of the names under which they are imported."""
        facts = [self.module, self.function, self.search, self.folder, sorted(self.digests.items())]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def read_source(call: str, folder: str, inputs: Iterable[str]) -> Source:
    """Find and read the files of a function.

    Parameters
    ----------
    call
        ``FILE.py:NAME`` or ``MODULE:NAME``.
    folder
        Folder of the spec; "" for the current one.
    inputs
        Declared files and folders.

    Raises
    ------
    SweepError
        If a file does not exist, or is no Python.
    """
    place, _, function = call.rpartition(":")
    home, inputs = _absolute(folder or "."), list(inputs)
    if place.endswith(".py"):
        file = _absolute(Path(home, Path(place).expanduser()))
        if not Path(file).is_file():
            raise SweepError(
                f"workload.call: there is no file {file}; the path is relative to the spec"
                + ("" if folder else ", or to the current folder where a dataset is named")
            )
        roots = _search_path([_parent(file), home])
        name = _module_name(Path(file).stem)
    else:
        roots, name = _search_path([home]), place
        file = _file_of(place, roots) or _installed_file(place)
        if file is None:
            raise SweepError(f"workload.call: there is no module {quoted(place)} in {home}")
    base = _base(home, file if not Path(place).is_absolute() else home, inputs)
    paths = _Paths(base, roots)
    installed = not place.endswith(".py") and _is_installed(file)
    found, imported = ({name: file}, set()) if installed else _local_modules(name, file, roots)
    content: dict[str, bytes] = {}
    modules = {}
    for dotted, path in found.items():
        modules[dotted] = paths.inside(path)
        content[modules[dotted]] = Path(path).read_bytes()
    elsewhere = {}
    for path in _listed(home, inputs):
        if path.startswith(base + os.sep):
            content[os.path.relpath(path, base)] = _read(path)
        else:
            elsewhere[path] = hashlib.sha256(_read(path)).hexdigest()
    _check_size(content)
    return Source(
        module=name,
        function=function,
        main=None if installed else modules[name],
        files=content,
        modules=modules,
        search=paths.search(home),
        folder=os.path.relpath(home, base),
        elsewhere=elsewhere,
        imported=tuple(sorted(imported)),
    )


def with_modules(source: Source, loaded: Mapping[str, str], base_roots: Iterable[str]) -> Source:
    """Return a source with local modules that only an import has shown, by name and path."""
    search, files, modules = list(source.search), dict(source.files), dict(source.modules)
    for dotted, path in loaded.items():
        root = _root_of(path, base_roots)
        place = f"{_OUTSIDE}_imported/{os.path.relpath(path, root)}"
        modules[dotted], files[place] = place, Path(path).read_bytes()
    if loaded:
        search.append(f"{_OUTSIDE}_imported")
    return Source(
        **{**_fields(source), "files": files, "modules": modules, "search": tuple(search)}
    )


def _fields(source: Source) -> dict[str, Any]:
    return {name: getattr(source, name) for name in source.__dataclass_fields__}


def is_local(path: str | None) -> bool:
    """Return True for the path of a module of the user's own."""
    return path is not None and Path(path).is_absolute() and not _is_installed(path)


def module_roots(source_file_folder: str, folder: str) -> list[str]:
    """Return the folders in which the local modules of a function are searched."""
    return _search_path([source_file_folder, _absolute(folder or ".")])


def _absolute(path: str | Path) -> str:
    """Return an absolute path without "..", with links as they are."""
    return os.path.normpath(Path(path).absolute())


def _parent(path: str) -> str:
    return str(Path(path).parent)


# Files ----------------------------------------------------------------------------------------


class _Paths:
    """Places of files in a copy of the source."""

    def __init__(self, base: str, roots: list[str]) -> None:
        self._base, self._roots = base, roots
        self._used: dict[str, str] = {}

    def inside(self, path: str) -> str:
        """Return the place of a file of a module."""
        root = _root_of(path, self._roots)
        if path.startswith(self._base + os.sep):
            below = root if root.startswith(self._base) else self._base
            self._used[root] = os.path.relpath(below, self._base)
            return os.path.relpath(path, self._base)
        place = f"{_OUTSIDE}{self._roots.index(root) if root in self._roots else ''}"
        self._used[root] = place
        return f"{place}/{os.path.relpath(path, root)}"

    def search(self, home: str) -> tuple[str, ...]:
        """Return the folders in which the copies are found, in the order of `roots`."""
        used = [self._used[root] for root in self._roots if root in self._used]
        return tuple(dict.fromkeys([*used, os.path.relpath(home, self._base)]))


def _root_of(path: str, roots: Iterable[str]) -> str:
    """Return the folder of the search path that a file was found in: the first above it."""
    return next((r for r in roots if path.startswith(r + os.sep)), _parent(path))


def _base(home: str, file: str, inputs: Iterable[str]) -> str:
    """Return the folder above the spec and all files that it names by relative paths."""
    paths = [home, _parent(file)] if is_local(file) else [home]
    paths += [
        _parent(_absolute(Path(home, each)))
        for each in inputs
        if not Path(each).expanduser().is_absolute()
    ]
    common = os.path.commonpath(paths)
    return home if common == os.sep else common


def _listed(home: str, inputs: Iterable[str]) -> Iterator[str]:
    """Yield the absolute path of every declared file, those below declared folders included."""
    for index, each in enumerate(inputs):
        path = Path(_absolute(Path(home, Path(each).expanduser())))
        if path.is_dir():
            yield from (str(file) for file in sorted(path.rglob("*")) if file.is_file())
        elif path.is_file():
            yield str(path)
        else:
            raise SweepError(f"workload.files.{index}: there is no file {path}")


def _read(path: str) -> bytes:
    if Path(path).stat().st_size > _MOST_BYTES:
        _refuse_size(Path(path).stat().st_size, path)
    return Path(path).read_bytes()


def _check_size(content: Mapping[str, bytes]) -> None:
    if (size := sum(map(len, content.values()))) > _MOST_BYTES:
        _refuse_size(size, "the files")


def _refuse_size(size: int, name: str) -> None:
    raise SweepError(
        f"workload.files: {name} of {size:,} bytes; at most {_MOST_BYTES:,} are sent to workers."
        " Leave it out, put it where every worker sees it, and name its path and its version in"
        " workload.settings"
    )


# Modules --------------------------------------------------------------------------------------


def _module_name(stem: str) -> str:
    """Return the name under which a file is imported: its stem, if no other module has it."""
    plain = "".join(each if each.isalnum() else "_" for each in stem)
    taken = plain in sys.stdlib_module_names or plain in _OURS or not plain.isidentifier()
    return f"function_{plain}" if taken else plain


def _search_path(first: Iterable[str]) -> list[str]:
    """Return the folders of local modules: `first`, then those of the search path of Python."""
    others = (_absolute(each or ".") for each in sys.path)
    paths = [*first, *(each for each in others if Path(each).is_dir())]
    return [each for each in dict.fromkeys(paths) if not _is_installed(each)]


def _is_installed(path: str) -> bool:
    """Return True for the standard library, site-packages, and the packages of this project."""
    parts = Path(path).parts
    ours = tuple(str(Path(__file__).parents[3] / name) for name in _OURS)
    if any(each in _INSTALLED for each in parts) or path.startswith(ours):
        return True
    return any(
        path == home or path.startswith(home + os.sep)
        for home in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    )


def _local_modules(name: str, file: str, roots: list[str]) -> tuple[dict[str, str], set[str]]:
    """Return all local modules that a module needs, by name, and the other names it imports."""
    found: dict[str, str] = {}
    imported: set[str] = set()
    waiting = [*_with_parents(name)]
    while waiting:
        dotted = waiting.pop()
        top = dotted.partition(".")[0]
        if dotted in found or top in _OURS or top in sys.stdlib_module_names:
            continue
        origin = file if dotted == name else _file_of(dotted, roots)
        if origin is None or _is_installed(origin):
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


def _file_of(dotted: str, roots: Iterable[str]) -> str | None:
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
            folders = [_parent(origin)]
        else:
            return None
    return None


def _regular(base: str) -> str | None:
    """Return the file of a package or of a module, given its path without an ending."""
    candidates = [str(Path(base, "__init__.py")), f"{base}.py"]
    candidates += [f"{base}{suffix}" for suffix in EXTENSION_SUFFIXES]
    return next((each for each in candidates if Path(each).is_file()), None)


def _installed_file(dotted: str) -> str | None:
    """Return the file of an installed module, without importing its package."""
    path: Any = None
    origin = None
    for name in _with_parents(dotted):
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
    return origin
