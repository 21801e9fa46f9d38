"""Process-wide settings of torch, changed for the time of a call and put back after it."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_deterministic: Any = torch.utils.deterministic
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def isolated(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Run a block with its own torch settings and restore the old ones after it.

    Whatever happens inside, afterwards the random numbers of the CPU and of `device`, the
    algorithm, cuDNN, and TF32 settings and the number of threads are as they were. These belong to
    the process: never run two such blocks at once in threads of one process.

    Parameters
    ----------
    device
        Device on which the block computes.
    deterministic
        Inside: deterministic algorithms only, no TF32, no cuDNN benchmark; on a CPU one thread,
        because the order of a sum depends on the number of threads. Otherwise on a GPU any
        algorithm, TF32 in float32 products, and cuDNN's fastest kernels; on a CPU as many threads
        as the process has.
    """
    gpus = [device] if device.type == "cuda" else []
    saved = _save()
    try:
        with torch.random.fork_rng(devices=gpus):
            if deterministic:
                _be_deterministic(device)
            elif device.type == "cuda":
                _be_fast()
            yield
    finally:
        _restore(saved)


def _be_deterministic(device: torch.device) -> None:
    torch.use_deterministic_algorithms(True)
    # Torch would fill every new tensor with NaN, to expose reads of unwritten memory.
    _deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if device.type == "cpu":
        torch.set_num_threads(1)
    else:
        os.environ.setdefault(_CUBLAS, ":4096:8")  # cuBLAS refuses determinism without it


def _be_fast() -> None:
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True


def _save() -> tuple:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        _deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        os.environ.get(_CUBLAS),
    )


def _restore(saved: tuple) -> None:
    algorithms, warn_only, fill, benchmark, cudnn, cudnn_tf32, matmul, threads, workspace = saved
    torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
    _deterministic.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = cudnn
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
    torch.set_float32_matmul_precision(matmul)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if workspace is None:
        os.environ.pop(_CUBLAS, None)


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_LARGEST = 32 << 20  # largest value that glibc accepts
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Let this process keep the memory that a step frees for the next one, up to a gigabyte.

    Otherwise the C library gives tensors of some megabytes back to the system at every step, and
    takes them again page by page. For the whole process, and for good; nothing where the C library
    is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, _KEPT)
