"""Nodes that seeds check, on grids and refined lattices, and in columns of data."""

import numpy as np

from fractal_ray.analysis.advice.best import find_best
from fractal_ray.analysis.advice.cliff import find_cliff
from fractal_ray.analysis.advice.law_results import Column
from fractal_ray.analysis.advice.results import BestPoint, Refusal
from fractal_ray.analysis.advice.seed_nodes import checked_nodes
from fractal_ray.analysis.advice.surface import State, Surface

NONE = Refusal("no_best", "none")


def _surface(measured: np.ndarray) -> Surface:
    """Return a bowl around (3, 2) that breaks from column 6 on."""
    ny, nx = measured.shape
    v, u = np.mgrid[0:ny, 0:nx].astype(float)
    broken = np.where(u >= 6, 0, 1).astype(np.int8)
    state = np.where(broken == 1, State.TRAINED, State.DEGRADED)
    return Surface(
        loss=np.where(measured & (broken == 1), 1 + (u - 3) ** 2 + (v - 2) ** 2, np.nan),
        state=np.where(measured, state, State.NOT_RUN).astype(np.int8),
        broken=broken,
        measured=measured,
        x=np.arange(nx, dtype=float),
        y=np.arange(ny, dtype=float),
        x_name="lr",
        y_name="tokens",
        x_scale="linear",
        y_scale="linear",
    )


def test_best_neighbours_and_both_sides_of_the_cliff() -> None:
    surface = _surface(np.ones((5, 9), dtype=bool))
    best = find_best(surface)
    assert isinstance(best, BestPoint) and best.node == (2, 3)
    nodes = checked_nodes(surface, best, find_cliff(surface, best.node))
    assert nodes == {
        (1, 3): ("neighbour",),
        (2, 2): ("neighbour",),
        (2, 3): ("best",),
        (2, 4): ("neighbour",),
        (2, 5): ("unbroken side",),
        (2, 6): ("broken side",),
        (3, 3): ("neighbour",),
    }


def test_neighbours_on_a_refined_lattice_are_runs_and_none_lies_outside() -> None:
    measured = np.zeros((5, 9), dtype=bool)
    measured[::2, ::2] = True
    measured[:, 5:7] = True
    surface = _surface(measured)
    best = find_best(surface, node=None)
    assert isinstance(best, BestPoint)
    nodes = checked_nodes(surface, best, find_cliff(surface, best.node))
    assert all(measured[node] for node in nodes)
    corner = _surface(np.ones((3, 9), dtype=bool))
    best = find_best(corner)
    assert isinstance(best, BestPoint) and best.node == (2, 3)
    roles = checked_nodes(corner, best, find_cliff(corner, best.node)).values()
    assert sum("neighbour" in each for each in roles) == 3


def test_each_column_of_data_has_a_best_and_a_cliff() -> None:
    surface = _surface(np.ones((5, 9), dtype=bool))
    open_end = Column(3.0, None, 1.0, 2.0, None, 4.0, None, None, "unbroken")
    columns = (Column(1.0, None, 2.0, 3.0, None, 5.0, 6.0, None, ""), open_end)
    nodes = checked_nodes(surface, NONE, NONE, columns, "tokens")
    assert nodes == {
        (1, 3): ("best",),
        (1, 5): ("unbroken side",),
        (1, 6): ("broken side",),
        (3, 2): ("best",),
    }
