"""Planners: the points they ask for do not depend on the order of results."""

import random

from hypothesis import given
from hypothesis import strategies as st

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Planner
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.program import Program


def frame(index: int = 0, nx: int = 4, ny: int = 3) -> Frame:
    return Frame(index, Axis("a", "log", 1e-3, 1.0), Axis("b", "linear", 0.0, 1.0), nx, ny)


def drive(planner: Planner, rng: random.Random) -> list[Point]:
    """Ask for random numbers of points, tell results in random order."""
    asked: list[Point] = []
    flying: list[Point] = []
    for _ in range(10_000):
        if planner.done:
            return asked
        points = planner.ask(rng.randint(1, 7))
        asked += points
        flying += points
        rng.shuffle(flying)
        count = rng.randint(0 if points else 1, len(flying))
        told, flying = flying[:count], flying[count:]
        planner.tell([(point, rng.choice([*Outcome, None])) for point in told])
    raise AssertionError("the planner never ends")


@given(st.randoms(use_true_random=False), st.integers(1, 12), st.integers(1, 12))
def test_a_grid_asks_for_each_node_once(rng: random.Random, nx: int, ny: int) -> None:
    asked = drive(GridPlanner(frame(0, nx, ny)), rng)
    assert len(asked) == len(set(asked)) == (nx + 1) * (ny + 1)


@given(st.randoms(use_true_random=False))
def test_a_program_runs_its_stages_in_order(rng: random.Random) -> None:
    makers = [lambda k=k: GridPlanner(frame(k, 2 + k, 3)) for k in range(3)]
    program = Program([(f"{k}:grid", maker) for k, maker in enumerate(makers)])
    frames = [point.frame for point in drive(program, rng)]
    assert frames == sorted(frames)
    assert [frames.count(k) for k in range(3)] == [(3 + k) * 4 for k in range(3)]


def test_a_stage_is_made_when_the_one_before_is_done() -> None:
    seen: list[bool] = []
    first = GridPlanner(frame(0, 1, 1))

    def second() -> Planner:
        seen.append(first.done)
        return GridPlanner(frame(1))

    program = Program([("0:grid", lambda: first), ("1:grid", second)])
    assert program.stage == "0:grid"
    program.tell([(point, Outcome.TRAINED) for point in program.ask(10)])
    assert program.stage == "1:grid"
    assert not program.done
    assert seen == [True]


def test_coarse_points_come_first() -> None:
    asked = GridPlanner(frame(0, 8, 8)).ask(81)
    first = {(point.ix, point.iy) for point in asked[:4]}
    assert first == {(0, 0), (8, 0), (0, 8), (8, 8)}
