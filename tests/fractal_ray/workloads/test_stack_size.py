"""Stack sizes: the number of points trained together doubles as long as that is faster."""

import pytest

from fractal_ray.workloads.nanochat.stack_size import (
    MOST,
    PARAMETERS,
    SHORT,
    StackSize,
    most_copies,
)


def settle(seconds_of: dict[int, float], most: int) -> StackSize:
    """Record the seconds of each size until the size no longer moves."""
    size = StackSize("auto", most)
    for _ in range(30):
        size.record(size.now, seconds_of[size.now])
    return size


@pytest.mark.parametrize(
    ("seconds_of", "most", "best"),
    [
        ({1: 10, 2: 6, 4: 4, 8: 3.8, 16: 9}, 16, 8),
        ({1: 10, 2: 6, 4: 4, 8: 2, 16: 1}, 16, 16),
        ({1: 10, 2: 6, 4: 4, 8: 2, 16: 1}, 4, 4),
        ({1: 10, 2: 9.9, 4: 9.85}, 16, 1),
        ({1: 10, 2: 11, 4: 10}, 16, 1),
        ({1: 10, 2: 11, 4: 5, 8: 4.95, 16: 6}, 16, 4),
        ({1: 10}, 1, 1),
    ],
)
def test_it_stops_where_more_no_longer_pay(
    seconds_of: dict[int, float], most: int, best: int
) -> None:
    assert settle(seconds_of, most).now == best


def test_one_slow_try_decides_nothing() -> None:
    size = StackSize("auto", 8)
    for seconds in (10.0, 10.0, 10.0, 50.0, 50.0, 5.0):
        size.record(size.now, seconds)
    assert size.now == 4


def test_fewer_points_than_asked_for_tell_nothing() -> None:
    size = StackSize("auto", 8)
    for _ in range(3):
        size.record(1, 10.0)
    assert size.now == 2
    for _ in range(SHORT - 1):
        size.record(1, 0.001)
    assert size.now == 2


def test_a_size_that_is_never_there_is_given_up() -> None:
    """Give up a stack of four, which tiles of three points never fill."""
    size = StackSize("auto", 8)
    seconds_of = {1: 10.0, 2: 6.0, 3: 5.0}
    for _ in range(60):
        size.record(min(3, size.now), seconds_of[min(3, size.now)])
    assert size.now == 2


def test_a_given_number_stays() -> None:
    size = StackSize(6, 6)
    size.record(6, 1.0)
    size.record(6, 1.0)
    assert (size.now, size.capacity) == (6, 6)


def test_large_models_go_alone() -> None:
    assert most_copies(1) == most_copies(0) == MOST
    assert most_copies(PARAMETERS // 5) == 4
    assert most_copies(PARAMETERS + 1) == 1
