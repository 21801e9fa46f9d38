"""Properties of the live map and the counts of a running sweep."""

import random
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_ray.engine.tally import Tally
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.program import Program
from fractal_ray.planners.side_by_side import SideBySide


def frame(number: int, low: float, cells: int) -> Frame:
    """Return a frame whose axes begin at `low`."""
    sides = (Axis(name, "linear", low, low + 1.0) for name in "xy")
    return Frame(number, *sides, cells_x=cells, cells_y=cells)


def outcome_of(point: Point) -> Outcome:
    """Return an outcome that differs between neighbours."""
    return list(Outcome)[int(97 * point.x + 61 * point.y) % 3]


def state_after(frames: Sequence[Frame], order: random.Random, share: float) -> tuple[object, ...]:
    """Answer a share of the points of frames filled side by side, in a random order."""
    program = Program([("0:grid", lambda: SideBySide([GridPlanner(each) for each in frames]))])
    tally = Tally()
    points = program.ask(10**6)
    answered = points[: round(share * len(points))]
    order.shuffle(answered)
    for point in answered:
        run = point.x, point.y
        filled = program.frames
        program.tell([(point, outcome_of(point))])
        tally.add_run(run, "0:grid", outcome_of(point))
        tally.answer(run, "0:grid", filled, point, outcome_of(point))
    return tally.thumbnail.rows(program.frame), tally.outcomes(), tally.shared_nodes


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
    st.floats(0.0, 1.0),
)
def test_the_map_and_the_counts_do_not_depend_on_the_order(
    cells: list[int], order: random.Random, share: float
) -> None:
    frames = [frame(1000 + k, k / 2, count) for k, count in enumerate(cells)]
    states = [state_after(frames, order, share) for _ in range(3)]
    assert all(one == other for one, other in pairwise(states))
