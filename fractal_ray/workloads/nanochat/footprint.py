"""What a run takes of a GPU: its memory, and its time."""

from collections.abc import Callable, Iterable
from time import perf_counter

from fractal_ray.workloads.base import Footprint


def measure(run: Callable[[], object]) -> Footprint:
    """Call `run` and tell what it took, in a process that has used the card for nothing else."""
    import torch

    run()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    # Reserved, not allocated: what the allocator holds is not there for other workers.
    besides = total - free - torch.cuda.memory_reserved()
    return Footprint(torch.cuda.max_memory_reserved(), max(0, besides), total)


def busy_share(steps: Callable[[], object]) -> float | None:
    """Share of the wall time of `steps` in which the card works, above 0 and at most 1.

    Processes on a card take turns (without NVIDIA's MPS), so 1 / share is the most that any number
    of them can do of what one does. CUDA events cannot tell it: between two of them the card may
    have waited for the processor. So the kernels and copies of one call are taken from the profiler
    and set against the wall time of another call, which the profiler does not slow down.

    Parameters
    ----------
    steps
        Does the same work at every call, as many usual steps as take some tenths of a second. It
        is called three times: at the first, kernels are chosen, compiled and loaded.

    Returns
    -------
    float or None
        None where the profiler saw nothing, as without the right to use it.
    """
    import torch
    from torch.profiler import DeviceType, ProfilerActivity, profile

    steps()
    torch.cuda.synchronize()
    start = perf_counter()
    steps()
    torch.cuda.synchronize()
    wall = perf_counter() - start
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        steps()
        torch.cuda.synchronize()
    # Annotations span the gaps between the kernels that they are about.
    working = _covered(
        (event.time_range.start, event.time_range.end)
        for event in seen.events() or ()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    return min(1.0, working / 1e6 / wall) if working else None


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: kernels of several streams overlap."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
