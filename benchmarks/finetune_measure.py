"""Clocks and tables of benchmarks/finetune.py."""

import gc
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch


def cpu_seconds(run: Callable[[], object]) -> float:
    """Measure the CPU seconds of a call, all threads: the machine is likely to be shared."""
    start = time.process_time()
    run()
    return time.process_time() - start


def child_seconds(run: Callable[[], object]) -> float:
    """Measure the CPU seconds of the processes that a call starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Measure a call: CPU seconds on a CPU, wall seconds until the work is done on a GPU."""
    if device.type == "cpu":
        return cpu_seconds(run)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def taking_turns(ways: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measure the ways in turns, so that other load on the machine slows all of them alike."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            taken[way].append(run())
    return taken


def free_device(device: torch.device) -> None:
    """Free unused memory, and reset the count of the peak."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """Compute the ratio of each repeat."""
    return [one / other for one, other in zip(slow, fast, strict=True)]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Format the median, the least and the largest."""
    least, largest = (format(pick(values), form) for pick in (min, max))
    return f"{statistics.median(values):{form}} ({least} to {largest})"


def row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def header(*titles: str) -> None:
    row(titles)
    row(["---"] * len(titles))


def about(device: torch.device) -> str:
    """Describe the machine: versions, processor and threads."""
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    else:
        threads = torch.get_num_threads()
        where = f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s'[: threads > 1]}"
    python = f"Python {platform.python_version()}"
    return f"{platform.system()}, {python}, torch {torch.__version__}, {where}"


def processor() -> str:
    """Read the name of the processor from the system (Linux)."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(
                line.split(":")[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
