"""Other ways to find a border: the baselines of benchmarks/refine.py."""

import importlib.util
import itertools
import sys
from collections.abc import Callable

import numpy as np
from refine_cases import (
    CASES,
    CELLS,
    OFFSETS,
    START,
    Bools,
    Case,
    means,
    mixed,
    refined,
    score,
    truth,
)
from scipy.interpolate import LinearNDInterpolator


def others_table(learner_points: int) -> None:
    """Compare methods; Learner2D gets refinement's points, but at most `learner_points`."""
    print("| set | way | recall | share | precision | D found |")
    print("|---|---|---|---|---|---|")
    ways: dict[str, Callable[[Bools], tuple[Bools, int]]] = {
        "dense": lambda labels: (mixed(labels), labels.size),
        "oracle: corners of true cells": oracle,
        "coarse grid, every 8th, nearest": lambda labels: coarse(labels, 8),
        "coarse grid, every 4th, nearest": lambda labels: coarse(labels, 4),
        "Mariani-Silver from 32 x 32": mariani_silver,
    }
    with_learner = importlib.util.find_spec("adaptive") is not None
    if not with_learner:
        print("Learner2D is left out: pip install '.[bench]' has it", file=sys.stderr)
    for case in CASES:
        for way, run in ways.items():
            _row(case, way, [score(*run(labels), labels) for labels in _truths(case)])
        if with_learner:
            points = min(int(refined(case, 0, 1, 0.02)[1].sum()), learner_points)
            labels = truth(case, 0)
            _row(case, f"Learner2D, {points} points", [score(*learner(labels, points), labels)])


def _truths(case: Case) -> list[Bools]:
    return [truth(case, number) for number in range(len(OFFSETS))]


def _row(case: Case, way: str, rows: list[list[float]]) -> None:
    recall, share, precision, d, _ = means(rows)
    print(
        f"| {case.title} | {way} | {recall:.4f} | {share:.2f} % | {precision:.3f} | {d:.3f} |",
        flush=True,
    )


def oracle(labels: Bools) -> tuple[Bools, int]:
    cells = mixed(labels)
    corners = np.zeros_like(labels)
    for dy, dx in itertools.product((0, 1), repeat=2):
        corners[dy : CELLS + dy, dx : CELLS + dx] |= cells
    return cells, int(corners.sum())


def coarse(labels: Bools, step: int) -> tuple[Bools, int]:
    nearest = (np.arange(CELLS + 1) + step // 2) // step * step
    nearest = np.minimum(nearest, CELLS)
    return mixed(labels[np.ix_(nearest, nearest)]), (CELLS // step + 1) ** 2


def mariani_silver(labels: Bools) -> tuple[Bools, int]:
    """Fill squares whose rim has one label with it, and cut the others in four.

    From the same 32 x 32 squares as refinement: the rim of the whole frame alone shows nothing.
    """
    run, filled, side = np.zeros_like(labels), labels.copy(), CELLS // START
    todo = [(y, x, side) for y in range(0, CELLS, side) for x in range(0, CELLS, side)]
    while todo:
        y, x, side = todo.pop()
        square = labels[y : y + side + 1, x : x + side + 1]
        inside = np.zeros(square.shape, dtype=np.bool_)
        inside[1:-1, 1:-1] = True
        run[y : y + side + 1, x : x + side + 1] |= ~inside
        rim = square[~inside]
        if rim.all() or not rim.any():
            filled[y : y + side + 1, x : x + side + 1] = rim[0]
        elif side > 1:
            half = side // 2
            todo += [(y + i, x + j, half) for i in (0, half) for j in (0, half)]
    return mixed(filled), int(run.sum())


def learner(labels: Bools, points: int) -> tuple[Bools, int]:
    """Run python-adaptive's default loss down to the lattice only, with points snapped to it."""
    import adaptive  # type: ignore[import-not-found]

    loss = adaptive.learner.learner2D.resolution_loss_function(min_distance=1 / CELLS)
    subject = adaptive.Learner2D(
        lambda xy: 0.0, bounds=[(0, CELLS), (0, CELLS)], loss_per_triangle=loss
    )
    run = np.zeros_like(labels)
    for _ in range(points):
        (xy,), _ = subject.ask(1)
        column, row = (round(value) for value in xy)
        run[row, column] = True
        subject.tell(xy, float(labels[row, column]))
    between = LinearNDInterpolator(np.argwhere(run), labels[run].astype(np.float64))
    y, x = np.indices(labels.shape)
    return mixed(between(y, x) > 0.5), int(run.sum())
