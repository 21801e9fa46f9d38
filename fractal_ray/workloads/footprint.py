"""What a run takes of a GPU."""

from collections.abc import Callable

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
