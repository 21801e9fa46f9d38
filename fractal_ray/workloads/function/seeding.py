"""Random numbers and settings of the process: set before each call of a function, put back after.

A run must not depend on what ran before it on its worker. torch is not imported here: a function
that does not use it does not wait for it. Where a call imports torch, it is seeded at its import.
"""

import contextlib
import functools
import importlib.abc
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np


def seed_all(seed: int) -> None:
    """Seed `random`, numpy and, if it is imported, torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - functions use the global generator
    torch = loaded_torch()
    if torch is not None:
        _seed_torch(torch, seed)


def _seed_torch(torch: Any, seed: int) -> None:
    if _has_accelerator():
        torch.manual_seed(seed)
    else:  # several times as fast
        torch.default_generator.manual_seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    torch = sys.modules["torch"]
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def loaded_torch() -> Any:
    """Return torch if it is imported; None otherwise, or while it is being imported."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "manual_seed") and hasattr(torch, "get_num_threads") else None


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Put the states of the global generators back at the end; for a user's own process."""
    torch = loaded_torch()
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    put_back = None if torch is None else partial(torch.set_rng_state, torch.get_rng_state())
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        if put_back is not None:
            put_back()


@contextlib.contextmanager
def isolated(seed: int, threads: int) -> Iterator[None]:
    """Seed the generators, and put settings of numpy and torch back at the end.

    Parameters
    ----------
    seed
        Seed of all generators.
    threads
        CPU threads of torch inside.
    """
    seed_all(seed)
    errors, torch = np.geterr(), loaded_torch()
    before = None if torch is None else _settings(torch)
    if before is not None and before[1] != threads:
        sys.modules["torch"].set_num_threads(threads)
    at_import = None if "torch" in sys.modules else _AtImportOfTorch(seed, threads)
    if at_import is not None:
        sys.meta_path.insert(0, at_import)
    try:
        yield
    finally:
        if at_import is not None:
            before = at_import.settings
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(at_import)
        if np.geterr() != errors:
            np.seterr(**errors)
        if before is not None:
            _put_back(sys.modules["torch"], before)


def _settings(torch: Any) -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        _default_device(torch),
        torch.backends.cudnn.benchmark,
    )


def _default_device(torch: Any) -> str:
    """Return the default device; without asking torch, which makes a tensor, if none was set."""
    context = getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None)
    if context is not None and getattr(context, "device_context", None) is None:
        return "cpu"
    return str(torch.get_default_device())


def _put_back(torch: Any, before: tuple[Any, ...]) -> None:
    now = _settings(torch)
    if now == before:
        return
    dtype, threads, grad, deterministic, device, benchmark = before
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(grad)
    if now[3] != deterministic:  # the call imports a large part of torch
        torch.use_deterministic_algorithms(deterministic)
    if now[4] != device:
        # Not None: `get_default_device` of torch 2.9 fails after it.
        torch.set_default_device(device)
    torch.backends.cudnn.benchmark = benchmark


class _AtImportOfTorch(importlib.abc.MetaPathFinder):
    """Finder that seeds torch when a call imports it, and keeps its settings."""

    def __init__(self, seed: int, threads: int) -> None:
        self._seed, self._threads = seed, threads
        self.settings: tuple[Any, ...] | None = None

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return the spec of torch with a loader that calls back; None for other modules."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        if spec is not None and spec.loader is not None:
            spec.loader = _CallingLoader(spec.loader, self._imported)
        return spec

    def _imported(self, torch: Any) -> None:
        self.settings = _settings(torch)
        _seed_torch(torch, self._seed)
        torch.set_num_threads(self._threads)


class _CallingLoader(importlib.abc.Loader):
    """Loader that calls a function with the module after its execution."""

    def __init__(self, loader: Any, done: Callable[[Any], None]) -> None:
        self._loader, self._done = loader, done

    def create_module(self, spec: Any) -> ModuleType | None:
        """Create the module as the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then call the function."""
        self._loader.exec_module(module)
        self._done(module)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the loader: readers of source text use some."""
        return getattr(self._loader, name)


def free_card() -> None:
    """Free the memory that torch keeps on the card."""
    torch = loaded_torch()
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
