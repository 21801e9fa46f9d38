"""Work spread over processes, with the results in the order of the input."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_job: tuple[Callable[[Any, Any], Any], Any] | None = None  # job of this process, if it is a worker


def ordered_map(
    work: Callable[[Any, Item], Result], items: Iterable[Item], shared: Any, workers: int
) -> Iterator[Result]:
    """Yield ``work(shared, item)`` for each item.

    Parameters
    ----------
    work
        A function of a module, which a process can find by its name.
    items
        Read as far ahead as keeps the workers busy, and no further.
    shared
        Sent to each worker once, not with each item.
    workers
        Processes; with 1 the work is done here.
    """
    if workers == 1:
        yield from (work(shared, item) for item in items)
        return
    # A forked child would hold the locks of threads that it does not have.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(work, shared)
    ) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(_run, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(work: Callable[[Any, Any], Any], shared: Any) -> None:
    global _job
    _job = work, shared


def _run(item: Any) -> Any:
    assert _job is not None
    work, shared = _job
    return work(shared, item)
