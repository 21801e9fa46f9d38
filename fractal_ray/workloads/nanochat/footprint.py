"""The use of a GPU by a run: its memory, and its time."""

from collections.abc import Callable, Iterable
from time import perf_counter

from fractal_ray.workloads.base import Footprint


def measure(run: Callable[[], object]) -> Footprint:
    """Call `run` and return its use of memory.

    The process must not have used the card for anything else.
    """
    import torch

    run()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    # Reserved, not allocated memory: other workers cannot use any memory that the allocator holds.
    context = total - free - torch.cuda.memory_reserved()
    return Footprint(torch.cuda.max_memory_reserved(), max(0, context), total)


def busy_share(steps: Callable[[], object]) -> float | None:
    """Measure the share of the wall time of `steps` in which the card works.

    Processes on a card take turns (without NVIDIA's MPS). Together they can therefore do at most
    1 / share times the work of one process. CUDA events cannot measure the share: the card may have
    waited for the processor between two events. The profiler therefore gives the time of the
    kernels and copies of one call, and the wall time is that of another call, which the profiler
    does not slow down.

    Parameters
    ----------
    steps
        Function that does equal work at every call: as many usual steps as take some tenths of a
        second. It is called three times; in the first call kernels are chosen, compiled and loaded.

    Returns
    -------
        A number above 0 and at most 1; None if the profiler saw nothing, for example because it is
        not permitted.
    """
    import torch
    from torch.profiler import DeviceType, ProfilerActivity, profile

    steps()
    torch.cuda.synchronize()
    start = perf_counter()
    steps()
    torch.cuda.synchronize()
    wall = perf_counter() - start
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        steps()
        torch.cuda.synchronize()
    # Annotations are left out: they span the gaps between the kernels that they describe.
    working = _covered(
        (event.time_range.start, event.time_range.end)
        for event in profiled.events() or ()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return min(1.0, working / 1e6 / wall) if working else None


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals; kernels of several streams overlap."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
