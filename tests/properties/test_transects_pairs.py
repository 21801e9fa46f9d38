"""Transects and pairs: the points they ask for do not depend on the order of arrival."""

import random
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner
from fractal_ray.planners.pairs import PairPlanner
from fractal_ray.planners.transects import TransectPlanner, count_flips

Answer = Callable[[Point], Outcome | None]


def frame(scale: str) -> Frame:
    low = 1e-5 if scale == "log" else -2.0
    x = Axis("a", "log" if scale == "log" else "linear", low, 3.0)
    return Frame(2, x, Axis("b", "linear", 0.0, 1.0), 3, 3)


def answer_of(seed: int, fails: float) -> Answer:
    """Make a random function of a point: stripes of random widths, and failures."""
    rng = random.Random(seed)
    edges = sorted(rng.random() for _ in range(rng.randint(0, 30)))

    def answer(point: Point) -> Outcome | None:
        if random.Random(f"{seed} {point}").random() < fails:
            return None
        stripe = sum(edge < point.y for edge in edges)
        return (Outcome.TRAINED, Outcome.DIVERGED, Outcome.NOT_IMPROVED)[stripe % 3]

    return answer


def drive(planner: Planner, answer: Answer, rng: random.Random) -> list[Point]:
    """Ask in random batches and tell in random order, as uneven workers do."""
    asked: list[Point] = []
    flying: list[Point] = []
    while not planner.done:
        points = planner.ask(rng.randint(0, 40))
        assert len(points) <= 40
        asked += points
        flying += points
        rng.shuffle(flying)
        count = rng.randint(0, len(flying))
        told, flying = flying[:count], flying[count:]
        planner.tell([(point, answer(point)) for point in told])
    assert not flying
    assert not planner.backlog
    assert not planner.ask(10)
    return asked


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 3),
    levels=st.integers(1, 9),
    dense=st.integers(0, 6),
    audit=st.sampled_from([0.05, 0.5, 1.0]),
    fails=st.sampled_from([0.0, 0.1, 1.0]),
    scale=st.sampled_from(["log", "linear"]),
    order=st.integers(0, 2**32),
)
def test_transects_do_not_depend_on_the_order(
    seed: int,
    count: int,
    levels: int,
    dense: int,
    audit: float,
    fails: float,
    scale: str,
    order: int,
) -> None:
    answer, where = answer_of(seed, fails), frame(scale)
    seen = []
    for rng in (random.Random(order), random.Random(order + 1)):
        planner = TransectPlanner(
            where,
            count,
            levels,
            seed,
            lambda outcome: outcome is Outcome.TRAINED,
            dense=dense,
            audit=audit,
        )
        asked = drive(planner, answer, rng)
        assert len({(p.level, p.ix, p.iy) for p in asked}) == len(asked)
        assert all(where.x.min <= p.x <= where.x.max for p in asked)
        assert all(where.y.min <= p.y <= where.y.max for p in asked)
        flips = count_flips(planner)
        assert (flips.found <= flips.estimate).all()
        assert (flips.found <= 2 ** np.arange(levels + 1)).all()
        seen.append((set(asked), flips.estimate.tolist(), flips.undecided.tolist()))
    assert seen[0] == seen[1]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 20),
    distances=st.lists(st.integers(1, 48), min_size=1, max_size=8, unique=True),
    scale=st.sampled_from(["log", "linear"]),
    order=st.integers(0, 2**32),
)
def test_pairs_do_not_depend_on_the_order(
    seed: int, count: int, distances: list[int], scale: str, order: int
) -> None:
    where = frame(scale)
    asked = [
        drive(PairPlanner(where, count, distances, seed), answer_of(seed, 0.1), rng)
        for rng in (random.Random(order), random.Random(order + 1))
    ]
    assert asked[0] == asked[1]
    assert len({(p.level, p.ix, p.iy) for p in asked[0]}) == 2 * count * len(distances)
    assert all(where.x.min <= p.x <= where.x.max for p in asked[0])
    assert all(where.y.min <= p.y <= where.y.max for p in asked[0])
