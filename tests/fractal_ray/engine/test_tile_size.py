"""Tile sizes: the number of points that a worker takes at a time."""

from hypothesis import given
from hypothesis import strategies as st

from fractal_ray.engine.tile_size import TileSize

MEASURED = st.lists(st.floats(1e-4, 100.0), max_size=8)


@given(MEASURED, st.integers(1, 300), st.integers(1, 16), st.integers(0, 5000))
def test_a_tile_has_multiples_of_what_advances_together(
    each: list[float], together: int, slots: int, backlog: int
) -> None:
    size = TileSize(None, 2.0, together)
    for seconds in each:
        points = size.next(backlog, slots)
        assert points >= together
        assert points % together == 0
        size.record(seconds * points, points)


def test_slow_points_still_come_together() -> None:
    size = TileSize(None, 2.0, 4)
    for _ in range(5):
        size.record(40.0, 4)
    assert size.next(100, 2) == 4


def test_less_where_memory_forbids_it() -> None:
    size = TileSize(None, 2.0, 8)
    size.at_most(3)
    assert size.next(100, 2) == 3
