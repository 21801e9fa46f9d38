"""A function from its source on any machine: a private copy of its files, imported from there.

An edit of the original files thus changes no run of a sweep that goes on, and a worker needs none
of them.
"""

import atexit
import contextlib
import hashlib
import importlib
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fractal_ray.errors import nearest
from fractal_ray.workloads.function.modules import is_local
from fractal_ray.workloads.function.source import Source

_PREFIX: Final = f"fractal-ray-function-{socket.gethostname()}-"
_LOADED: Final[dict[str, "LoadedFunction"]] = {}
"""Functions that this process has imported, by the digest of their source."""


class LoadedFunction:
    """A function that was imported from a copy of its source.

    Parameters
    ----------
    source
        The source.
    originals
        Folders of the original files, which are searched last: modules that only an import shows
        are found there. Only the driver has them.
    make
        Function that returns the function inside of the copy; None imports it from there.

    Raises
    ------
    ImportError
        If the import fails; the message has its reason, the cause its traceback.
    """

    def __init__(
        self,
        source: Source,
        originals: tuple[str, ...] = (),
        make: Callable[[], Any] | None = None,
    ) -> None:
        self.source = source
        self.folder = _copy(source)
        self._path = [str(Path(self.folder, each)) for each in source.search]
        self._current = str(Path(self.folder, source.folder))
        self._modules: dict[str, ModuleType] = {}
        if make is not None:
            with self.active():
                self.function = make()
            self.names: Mapping[str, Any] = getattr(self.function, "__globals__", {})
            return
        with self.active(also=originals):
            module = self._import()
        self.names = vars(module)
        place = source.main or source.module
        if not hasattr(module, source.function):
            functions = [name for name, value in self.names.items() if isfunction(value)]
            listed = ", ".join(functions) or "none"
            raise ImportError(
                f"{place} has no {source.function!r}"
                f"{nearest(source.function, functions) or f'; its functions: {listed}'}"
            )
        self.function: Any = getattr(module, source.function)

    def _import(self) -> ModuleType:
        source = self.source
        try:
            if source.main is None or not self._is_plain_file():
                return importlib.import_module(source.module)
            path = Path(self.folder, source.main)
            spec = importlib.util.spec_from_file_location(source.module, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[source.module] = module
            spec.loader.exec_module(module)
            return module
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            text = f"{type(error).__name__}: {error}"
            raise ImportError(
                f"{source.main or source.module} cannot be imported: {text}"
            ) from error

    def _is_plain_file(self) -> bool:
        return "." not in self.source.module

    @contextlib.contextmanager
    def active(self, folder: str | None = None, also: tuple[str, ...] = ()) -> Iterator[None]:
        """Make the modules of the function importable, and a folder the current one.

        Parameters
        ----------
        folder
            The current folder inside; None for that of the spec in the copy.
        also
            Folders that are searched after all others.
        """
        names = {*self._modules, *self.source.modules}
        others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        sys.modules.update(self._modules)
        path, count = list(sys.path), len(sys.modules)
        sys.path[:] = [*self._path, *path, *(each for each in also if each not in path)]
        here = _current_folder()
        os.chdir(folder or self._current)
        try:
            yield
        finally:
            if here is not None:
                os.chdir(here)
            sys.path[:] = path
            if len(sys.modules) != count:
                self._take(list(sys.modules)[count:])
            for name in self._modules:
                sys.modules.pop(name, None)
            sys.modules.update(others)

    def _take(self, names: Iterable[str]) -> None:
        """Keep the local modules among those that were just imported as those of the function."""
        for name in names:
            module = sys.modules[name]
            path = vars(module).get("__file__")
            if name in self.source.modules or is_local(path) or _is_namespace(module, self.folder):
                self._modules[name] = module

    def imported_from_originals(self) -> dict[str, str]:
        """Return the files of local modules that are not in the copy, by name."""
        paths = {name: vars(module).get("__file__") for name, module in self._modules.items()}
        return {
            name: path
            for name, path in paths.items()
            if path is not None and not path.startswith(self.folder + os.sep)
        }


def loaded(
    source: Source, originals: tuple[str, ...] = (), make: Callable[[], Any] | None = None
) -> LoadedFunction:
    """Return the function of a source, imported or made once in a process."""
    function = _LOADED.get(source.digest)
    if function is None:
        function = LoadedFunction(source, originals, make)
        _LOADED[source.digest] = function
    return function


def also_known_as(function: LoadedFunction, source: Source) -> None:
    """Give a function that is imported to those who ask for another form of its source."""
    function.source = source
    _LOADED[source.digest] = function


def check_elsewhere(source: Source) -> None:
    """Refuse to run where a declared file with an absolute path is missing, or has other bytes.

    Raises
    ------
    RuntimeError
        The message names the file.
    """
    for path, digest in source.elsewhere.items():
        if not Path(path).is_file():
            raise RuntimeError(f"workload.files: {path} is not on this worker")
        if hashlib.sha256(Path(path).read_bytes()).hexdigest() != digest:
            raise RuntimeError(f"workload.files: {path} on this worker has other bytes")


def _is_namespace(module: ModuleType, folder: str) -> bool:
    """Return True for a namespace package of the copy."""
    # Not by getattr, which some modules answer with objects of their own.
    places = list(vars(module).get("__path__") or [])
    return bool(places) and all(str(place).startswith(folder) for place in places)


def _current_folder() -> str | None:
    """Return the current folder; None if it has been deleted."""
    try:
        return os.getcwd()  # noqa: PTH109 - Path.cwd is slower
    except FileNotFoundError:
        return None


def _copy(source: Source) -> str:
    """Write the files of a source into a new private folder."""
    _remove_old_copies()
    folder = os.path.realpath(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    _at_exit(os.getpid(), lambda: _remove(folder))
    for name, content in source.files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in (*source.search, source.folder):
        Path(folder, name).mkdir(parents=True, exist_ok=True)
    return folder


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _remove_old_copies()  # workers of a Ray that this process started were killed


def _at_exit(process: int, call: Callable[[], None]) -> None:
    """Call a function at the end of this process, but not at that of a copy that `fork` made."""
    atexit.register(lambda: call() if os.getpid() == process else None)


def _remove_old_copies() -> None:
    """Remove copies that processes of this machine left which were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid() and not _is_alive(int(process)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
