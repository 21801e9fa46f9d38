"""Work spread over processes."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from nanochat.prepare.ordered import ordered_map


def _work(shared: Any, item: Any) -> Any:
    if item == "bad":
        raise ValueError(item)
    return shared, item, os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_items(workers: int) -> None:
    results = list(ordered_map(_work, range(20), "same", workers))
    assert [(shared, item) for shared, item, _ in results] == [("same", n) for n in range(20)]
    here = {pid == os.getpid() for _, _, pid in results}
    assert here == {workers == 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_not_all_read_ahead_and_errors_come_through(workers: int) -> None:
    taken = []

    def items() -> Iterator[Any]:
        for item in [0, 1, "bad", *range(3, 1000)]:
            taken.append(item)
            yield item

    with pytest.raises(ValueError, match="bad"):
        list(ordered_map(_work, items(), None, workers))
    assert len(taken) < 10
