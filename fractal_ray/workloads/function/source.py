"""The source of a function: its module, the local modules that this imports, and data files.

Everything is found by reading, nothing is imported. A local module is one outside of the standard
library and of site-packages.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fractal_ray.errors import SweepError
from fractal_ray.workloads.function.modules import (
    absolute,
    file_of,
    installed_file,
    is_installed,
    is_local,
    local_modules,
    module_name,
    parent,
    search_path,
)
from nanochat.errors import quoted

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
    parts
        Digest and text of what else is part of a function, such as globals of a notebook, by name.
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
    parts: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict, repr=False)

    @property
    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file by the name that messages use."""
        modules = set(self.modules.values())
        named = {
            f"{'module' if path in modules else 'file'} {path}": hashlib.sha256(content).hexdigest()
            for path, content in self.files.items()
        }
        elsewhere = {f"file {path}": digest for path, digest in self.elsewhere.items()}
        return {**named, **elsewhere, **{k: str(v["digest"]) for k, v in self.parts.items()}}

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
    home, inputs = absolute(folder or "."), list(inputs)
    name, file, roots = _module_of(place, folder)
    if not place.endswith(".py") and is_installed(file):
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        parts = {f"module {name}": {"digest": digest, "text": None}}
        source = _read_all(name, function, {}, roots, home, _base(home, None, inputs), inputs)
        return replace(source, imported=(name.partition(".")[0],), parts=parts)
    found, imported = local_modules({name: file}, roots)
    base = _base(home, None if Path(place).is_absolute() else file, inputs)
    source = _read_all(name, function, found, roots, home, base, inputs)
    return replace(source, main=source.modules[name], imported=tuple(sorted(imported)))


def module_files(call: str, folder: str) -> tuple[str, ...]:
    """Return the absolute paths of a function's module and of the local modules that it imports.

    Parameters
    ----------
    call, folder
        As in `read_source`.

    Raises
    ------
    SweepError
        If a file does not exist, or is no Python.
    """
    name, file, roots = _module_of(call.rpartition(":")[0], folder)
    if not call.rpartition(":")[0].endswith(".py") and is_installed(file):
        return ()
    return tuple(local_modules({name: file}, roots)[0].values())


def _module_of(place: str, folder: str) -> tuple[str, str, list[str]]:
    """Return name and file of the module at a place, and the folders of its imports."""
    home = absolute(folder or ".")
    if place.endswith(".py"):
        file = absolute(Path(home, Path(place).expanduser()))
        if not Path(file).is_file():
            raise SweepError(
                f"workload.call: there is no file {file}; the path is relative to the spec"
                + ("" if folder else ", or to the current folder where a dataset is named")
            )
        roots = search_path([parent(file), home])
        name = module_name(Path(file).stem)
    else:
        roots, name = search_path([home]), place
        file = file_of(place, roots) or installed_file(place)
        if file is None:
            raise SweepError(f"workload.call: there is no module {quoted(place)} in {home}")
    return name, file, roots


def read_modules(
    module: str,
    function: str,
    names: Iterable[str],
    folder: str,
    inputs: Iterable[str],
    parts: Mapping[str, Mapping[str, str | None]],
) -> Source:
    """Read the local modules among names, those that they import, and data files.

    Parameters
    ----------
    module, function
        Names of a function that is in no file.
    names
        Dotted names of modules that it uses.
    folder, inputs
        As in `read_source`.
    parts
        What else is part of the function.
    """
    home, inputs = absolute(folder or "."), list(inputs)
    roots = search_path([home])
    found, imported = local_modules(dict.fromkeys(names), roots)
    base = _base(home, None, inputs)
    source = _read_all(module, function, found, roots, home, base, inputs)
    return replace(source, imported=tuple(sorted(imported)), parts=parts)


def _read_all(
    module: str,
    function: str,
    found: Mapping[str, str],
    roots: list[str],
    home: str,
    base: str,
    inputs: list[str],
) -> Source:
    """Read local modules, given their files by name, and declared files."""
    paths = _Paths(base, roots)
    content: dict[str, bytes] = {}
    modules, elsewhere = {}, {}
    for dotted, path in found.items():
        modules[dotted] = paths.inside(path)
        content[modules[dotted]] = Path(path).read_bytes()
    for path in _listed(home, inputs):
        if path.startswith(base + os.sep):
            content[os.path.relpath(path, base)] = _read(path)
        else:
            elsewhere[path] = hashlib.sha256(_read(path)).hexdigest()
    _check_size(content)
    here = os.path.relpath(home, base)
    return Source(module, function, None, content, modules, paths.search(home), here, elsewhere)


def with_modules(source: Source, loaded: Mapping[str, str], base_roots: Iterable[str]) -> Source:
    """Return a source with local modules that only an import has shown, by name and path."""
    search, files, modules = list(source.search), dict(source.files), dict(source.modules)
    for dotted, path in loaded.items():
        root = _root_of(path, base_roots)
        place = f"{_OUTSIDE}_imported/{os.path.relpath(path, root)}"
        modules[dotted], files[place] = place, Path(path).read_bytes()
    if loaded:
        search.append(f"{_OUTSIDE}_imported")
    return replace(source, files=files, modules=modules, search=tuple(search))


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
    return next((r for r in roots if path.startswith(r + os.sep)), parent(path))


def _base(home: str, file: str | None, inputs: Iterable[str]) -> str:
    """Return the folder above the spec and all files that it names by relative paths."""
    paths = [home, parent(file)] if file is not None and is_local(file) else [home]
    paths += [
        parent(absolute(Path(home, each)))
        for each in inputs
        if not Path(each).expanduser().is_absolute()
    ]
    common = os.path.commonpath(paths)
    return home if common == os.sep else common


def _listed(home: str, inputs: Iterable[str]) -> Iterator[str]:
    """Yield the absolute path of every declared file, those below declared folders included."""
    for index, each in enumerate(inputs):
        path = Path(absolute(Path(home, Path(each).expanduser())))
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
