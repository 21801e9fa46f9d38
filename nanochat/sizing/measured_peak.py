"""Measured peak memory of a training step, for comparison with the estimate of `sizing/memory.py`.
Importing this loads no torch.
"""

import os
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from nanochat.errors import NanochatError
from nanochat.model.config import GPTConfig
from nanochat.sizing.memory import ASSUMPTIONS, estimate_memory
from nanochat.sizing.summary import GB, Measured


def measure_peak(shape: GPTConfig, batch_size: int) -> Measured:
    """Measure the peak memory of two training steps in a fresh process, on the GPU if any.

    Two, because the optimizer states of the first come after its peak.

    Raises
    ------
    NanochatError
        Where the estimate is above what is free on the device, or the step takes more than that.
    """
    # A fork server, because Linux lets a started program inherit the peak of the one that starts
    # it; the server is small.
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        try:
            return pool.submit(_measure_here, shape, batch_size).result()
        except BrokenProcessPool as error:
            raise NanochatError(
                f"the step at batch {batch_size:,} was killed, most likely for lack of memory"
            ) from error


def _measure_here(shape: GPTConfig, batch_size: int) -> Measured:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
    estimate = sum(estimate_memory(shape, batch_size, ASSUMPTIONS[device]).values())
    if estimate > free:
        raise NanochatError(
            f"a step at batch {batch_size:,} takes an estimated {estimate / GB:,.1f} GB on the "
            f"{device}; {free / GB:,.1f} GB are free"
        )
    # Every part of torch takes memory of its own at its first use.
    _train(GPTConfig(8, 8, 1, 1, 1, 8), 1, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = _peak(device)
    try:
        _train(shape, batch_size, device)
    except torch.OutOfMemoryError as error:
        raise NanochatError(f"out of GPU memory at batch {batch_size:,}") from error
    return Measured(device, _peak(device) - before, estimate, free)


def _train(shape: GPTConfig, batch_size: int, device: str) -> None:
    """Train a new model for two steps on random tokens: full rows, every group trained."""
    import numpy as np
    import torch

    from nanochat.data.examples import Examples
    from nanochat.model.gpt import GPT
    from nanochat.train.batches import make_batches
    from nanochat.train.finetune import finetune
    from nanochat.train.recipe import GROUPS, Recipe

    recipe = Recipe(
        dtype="bfloat16" if device == "cuda" else "float32",
        device_batch_size=batch_size,
        num_iterations=2,
        trainable_param_groups=GROUPS,
        deterministic=False,
    )
    with torch.device(device):
        model = GPT(shape)
    model.init_weights(torch.Generator(device).manual_seed(0))
    row = shape.sequence_len + 1  # the last token is only predicted
    ids = np.random.default_rng(0).integers(shape.vocab_size, size=batch_size * row, dtype=np.int32)
    offsets = np.arange(batch_size + 1, dtype=np.int64) * row
    examples = Examples(ids, np.ones(len(ids), np.uint8), offsets)
    finetune(model, make_batches(examples, recipe, 0, device), recipe)


def _peak(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def free_memory() -> int:
    """Return the free bytes for this process: of the machine, or of its container if fewer.

    On Linux; elsewhere all of the machine's memory.
    """
    try:
        free = _field(Path("/proc/meminfo"), "MemAvailable:") * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        cache = _field(group / "memory.stat", "inactive_file")  # the kernel frees it on demand
    except (OSError, KeyError, ValueError):  # in no container, or "max": no limit
        return free
    return min(free, max(0, limit - used + cache))


def _field(path: Path, name: str) -> int:
    """Return the number after `name` in a file of lines; KeyError without it."""
    pairs = (line.split()[:2] for line in path.read_text().splitlines())
    return int({pair[0]: pair[1] for pair in pairs if len(pair) == 2}[name])
