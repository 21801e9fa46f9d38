"""The preparation of a function in the driver: its source, its identity, and its shared data."""

import hashlib
import importlib.metadata
import json
import os
import pickle
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.workloads.base import Prepared
from fractal_ray.workloads.function.call import declared_arguments
from fractal_ray.workloads.function.content import add_content
from fractal_ray.workloads.function.modules import module_roots
from fractal_ray.workloads.function.notebook import notebook_source, unpicklable
from fractal_ray.workloads.function.settings import NOTEBOOK, FunctionSettings
from fractal_ray.workloads.function.ship import LoadedFunction, also_known_as, loaded
from fractal_ray.workloads.function.source import (
    Source,
    read_source,
    with_modules,
)
from nanochat.errors import shortened

NUMERICS: Final = "function-1"
"""Version of the rules by which a function is called, so that old rows are not taken for new."""
_LARGEST_TEXT: Final = 1 << 18


@dataclass(frozen=True)
class Shared:
    """Data of all workers: the source of the function, and the value of its `prepare`.

    Parameters
    ----------
    source
        Files of the function.
    fingerprint
        Fingerprint of the workload.
    pickled, buffers
        The value of `prepare`, pickled apart from its arrays: it may hold objects of the
        function's own classes, which a worker knows only after the import. Arrays are read-only.
    function
        The function of a notebook, or its bytes; None for one that is imported.
    """

    source: Source
    fingerprint: str
    pickled: bytes = field(repr=False)
    buffers: tuple[NDArray[np.uint8], ...] = field(repr=False)
    function: Any = field(default=None, repr=False)

    def loaded(self) -> LoadedFunction:
        """Return the function, imported or unpickled in this process."""
        if self.function is None:
            return loaded(self.source)
        if isinstance(self.function, bytes):
            return loaded(self.source, make=partial(pickle.loads, self.function))
        return LoadedFunction(self.source, make=lambda: self.function)

    def packed(self, dumps: Callable[[Any], bytes]) -> "Shared":
        """Return these data with a function of a notebook as bytes.

        Raises
        ------
        SweepError
            If the function cannot be pickled; the message names what it holds.
        """
        if self.function is None:
            return self
        try:
            return replace(self, function=dumps(self.function))
        except Exception as error:
            name = self.source.function
            part = unpicklable(self.function, dumps) or shortened(error)
            raise SweepError(
                f"{name} cannot be sent to workers: {part}. Make it inside of {name} or in"
                ' prepare(), or run with engine="local"'
            ) from error

    def value(self) -> Any:
        """Return the value of `prepare`, with read-only arrays."""
        return pickle.loads(self.pickled, buffers=list(self.buffers))


def prepare_function(spec: FunctionSettings) -> Prepared:
    """Read and import a function, call `prepare`, and return what workers need.

    Raises
    ------
    SweepError
        If a file is missing, the import fails, or `call` names no function that can be called.
    """
    held = spec.held_function
    if held is not None:
        declared_arguments(held, spec.call)
        source = notebook_source(held, spec.folder, spec.inputs)
        function = LoadedFunction(source, make=lambda: held)
    elif spec.call.startswith(f"{NOTEBOOK}:"):
        raise SweepError(
            f"workload.call: {spec.call} was defined in a notebook or a script; run the sweep from"
            " there (fractal_ray.Sweep.from_function)"
        )
    else:
        function = _imported(spec, read_source(spec.call, spec.folder, spec.inputs))
    declared = declared_arguments(function.function, spec.call)
    value = _shared_value(spec, function) if "shared" in declared else None
    source = function.source
    fingerprint = _fingerprint(source, value)
    pickled, buffers = _pickled(spec, function, value)
    facts = {"function": {"call": spec.call, "packages": _versions(source.imported)}}
    shared = Shared(source, fingerprint, pickled, buffers, held)
    return Prepared(fingerprint, shared, facts, kept_texts(source))


def _imported(spec: FunctionSettings, source: Source) -> LoadedFunction:
    """Import the function, and add the modules to its source that only the import shows."""
    place = spec.inside(spec.file) if spec.file is not None else "."
    roots = module_roots(os.path.dirname(place), spec.folder)  # noqa: PTH120
    try:
        function = loaded(source, tuple(roots))
    except ImportError as error:
        cause = error.__cause__
        line = f" ({_place_of(cause)})" if cause is not None and _place_of(cause) else ""
        raise SweepError(f"workload.call: {shortened(error)}{line}") from error
    if more := function.imported_from_originals():
        also_known_as(function, with_modules(source, more, roots))
    return function


def _place_of(error: BaseException) -> str:
    """Return the file and line of an error in a module of the user's own."""
    place, step = "", error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if "fractal-ray-function-" in name:
            place = f"{os.path.basename(name)}, line {step.tb_lineno}"  # noqa: PTH119
        step = step.tb_next
    return place


def _shared_value(spec: FunctionSettings, function: LoadedFunction) -> Any:
    """Return the value of the function `prepare` of the module, called with what it declares."""
    prepare = function.names.get("prepare")
    if prepare is None:
        raise SweepError(
            f"{spec.call} declares the argument shared, and its module has no function prepare()"
            " that makes it"
        )
    name = f"{spec.call.rpartition(':')[0]}:prepare"
    declared = declared_arguments(prepare, name, ("params", "seed"))
    arguments = {"params": dict(spec.settings), "seed": spec.seed}
    with function.active(spec.folder or "."):
        try:
            return prepare(**{each: arguments[each] for each in declared})
        except Exception as error:
            line = f" ({place})" if (place := _place_of(error)) else ""
            raise SweepError(
                f"{name} failed: {type(error).__name__}: {shortened(error)}{line}"
            ) from error


def _pickled(
    spec: FunctionSettings, function: LoadedFunction, value: Any
) -> tuple[bytes, tuple[NDArray[np.uint8], ...]]:
    buffers: list[pickle.PickleBuffer] = []
    with function.active():
        try:
            pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        except Exception as error:
            raise SweepError(
                f"the value of prepare() for {spec.call} cannot be sent to workers:"
                f" {shortened(error)}"
            ) from error
    arrays = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
    for array in arrays:
        array.flags.writeable = False
    return pickled, tuple(arrays)


# Identity -------------------------------------------------------------------------------------


def _fingerprint(source: Source, value: Any) -> str:
    facts = [NUMERICS, source.function, sorted(source.digests.items())]
    digest = hashlib.sha256(json.dumps(facts).encode())
    if value is not None:
        add_content(digest, value)
    return digest.hexdigest()[:32]


def kept_texts(source: Source) -> dict[str, dict[str, str | None]]:
    """Return digest and text of each file, for the dataset; None for bytes and long texts."""
    texts = {name: dict(part) for name, part in source.parts.items()}
    for name, digest in source.digests.items():
        if name in texts:
            continue
        content = source.files.get(name.partition(" ")[2])
        texts[name] = {"digest": digest, "text": None if content is None else _text(content)}
    return texts


def _text(content: bytes) -> str | None:
    if len(content) > _LARGEST_TEXT:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages that a function imports; they are not compared."""
    versions = {"python": platform.python_version()}
    for name in names:
        version = getattr(sys.modules.get(name), "__version__", None)
        if not isinstance(version, str):
            try:
                version = importlib.metadata.version(name)
            except (importlib.metadata.PackageNotFoundError, ValueError):
                continue
        versions[name] = version
    return versions
