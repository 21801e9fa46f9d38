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
    """Seconds of CPU that a call takes, all threads: the machine is likely to be shared."""
    start = time.process_time()
    run()
    return time.process_time() - start


def child_seconds(run: Callable[[], object]) -> float:
    """Seconds of CPU of the processes that a call starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: of the CPU there, on a GPU by the clock until its work is done."""
    if device.type == "cpu":
        return cpu_seconds(run)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def taking_turns(ways: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way in every repeat: what else the machine does meets all ways alike."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            taken[way].append(run())
    return taken


def free_device(device: torch.device) -> None:
    """Give up what is no longer used, and begin to count the peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """Of each repeat for itself."""
    return [one / other for one, other in zip(slow, fast, strict=True)]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, least and largest."""
    least, largest = (format(pick(values), form) for pick in (min, max))
    return f"{statistics.median(values):{form}} ({least} to {largest})"


def row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def header(*titles: str) -> None:
    row(titles)
    row(["---"] * len(titles))


def about(device: torch.device) -> str:
    """Versions, processor and threads."""
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    else:
        threads = torch.get_num_threads()
        where = f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s'[: threads > 1]}"
    python = f"Python {platform.python_version()}"
    return f"{platform.system()}, {python}, torch {torch.__version__}, {where}"


def processor() -> str:
    """Its name where the system tells (Linux)."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(
                line.split(":")[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
