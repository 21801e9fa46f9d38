"""Labels and boundary cells on lattices small enough to check by eye."""

from dataclasses import replace

import numpy as np
import pytest

from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import (
    NOT_DIVERGED,
    NOT_TRAINED,
    OUTCOME_CODES,
    POSSIBLE,
    Raster,
    boundary_cells,
    labels,
)
from fractal_ray.plane.outcome import Outcome

T, N, D, U = 0, 1, 2, -1


def raster(outcome: list[list[int]]) -> Raster:
    codes = np.array(outcome, dtype=np.int8)
    ny, nx = codes.shape
    return Raster(
        outcome=codes,
        loss=np.where(codes == U, np.nan, 1.0),
        x=np.logspace(-3, 0, nx),
        y=np.linspace(0, 1, ny),
        x_name="matrix_lr",
        y_name="num_tokens",
        x_scale="log",
        y_scale="linear",
    )


def cells(rows: list[list[int]]):
    return boundary_cells(np.array(rows, dtype=np.int8))


def test_every_outcome_has_its_own_code() -> None:
    stored = {Outcome.TRAINED: 0, Outcome.NOT_IMPROVED: 1, Outcome.DIVERGED: 2}
    assert {**OUTCOME_CODES, **stored} == OUTCOME_CODES
    assert set(OUTCOME_CODES) == set(Outcome)
    assert len(set(POSSIBLE)) == max(POSSIBLE) + 1


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("trainable", [[1, 0], [0, -1]]), ("stable", [[1, 1], [0, -1]])],
)
def test_labels(boundary: str, expected: list[list[int]]) -> None:
    found = labels(raster([[T, N], [D, U]]), boundary)
    assert found.dtype == np.int8
    assert found.tolist() == expected


def test_one_of_two_outcomes_has_a_label_where_both_have_it() -> None:
    either = replace(raster([[T, T], [D, U]]), inferred=np.array([[True, True], [False, False]]))
    either.outcome[0] = [NOT_TRAINED, NOT_DIVERGED]
    assert labels(either, "trainable").tolist() == [[0, -1], [0, -1]]
    assert labels(either, "stable").tolist() == [[-1, 1], [0, -1]]
    assert either.known.tolist() == [[True, True], [True, False]]


def test_unknown_boundary_names_the_allowed_ones() -> None:
    with pytest.raises(SweepError, match=r"'stabel'.*trainable, stable.*did you mean 'stable'"):
        labels(raster([[T]]), "stabel")


def test_raster_refuses_arrays_of_another_lattice() -> None:
    good = raster([[T, N, D], [D, U, T]])
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        Raster(good.outcome.T, good.loss.T, good.x, good.y, "a", "b", "log", "log")
    with pytest.raises(ValueError, match="'ln'"):
        Raster(good.outcome, good.loss, good.x, good.y, "a", "b", "ln", "log")
    assert good.known.tolist() == [[True, True, True], [True, False, True]]


def test_one_different_corner_marks_the_cells_around_it_and_no_rim() -> None:
    found = cells([[1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert found.mixed.tolist() == [[False, True, True], [False, True, True], [False] * 3]
    assert (found.n_mixed, found.n_unknown, found.total) == (4, 0, 9)


def test_cell_with_a_missing_corner_is_mixed_only_if_the_rest_disagrees() -> None:
    found = cells([[1, 1, 1], [0, -1, 1]])
    assert found.mixed.tolist() == [[True, False]]
    assert found.known.tolist() == [[True, False]]
    assert (found.n_mixed, found.n_unknown) == (1, 1)


def test_missing_points_are_not_filled_from_their_neighbours() -> None:
    split_by_a_hole = cells([[1, -1, 0], [1, -1, 0]])
    assert not split_by_a_hole.mixed.any()
    assert split_by_a_hole.n_unknown == 2


def test_all_alike_has_no_boundary() -> None:
    assert cells([[1] * 5] * 4).n_mixed == 0
    assert cells([[0] * 5] * 4).n_mixed == 0


def test_lattice_without_cells() -> None:
    assert cells([[1, 0, 1]]).mixed.shape == (0, 2)
    with pytest.raises(ValueError, match="ny, nx"):
        boundary_cells(np.zeros(4, dtype=np.int8))
